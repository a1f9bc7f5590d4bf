"""Tables for the other programs of this machine, such as TOPCAT and Aladin, by SAMP.

The explorer stays registered with the hub from its first message until it ends. A hub hands a message on in a
thread of its own; astropy's drops it, without a word to anybody, if its sender has left by then.
"""

from __future__ import annotations

import contextlib
import importlib
import threading
import warnings
from pathlib import Path
from typing import Any

from morphoscope.errors import MorphoscopeError, reason_of

_TABLE = "table.load.votable"  # the message that asks a program to load a table


class Samp:
    """The explorer as a SAMP client; it looks for a hub when something is first sent."""

    def __init__(self) -> None:
        self._client: Any = None
        self._lock = threading.Lock()

    def send_table(self, table: Path, name: str) -> list[str]:
        """Send a VOTable to every program that takes tables.

        The file must stay until the explorer ends: programs read it when they get to it.

        Returns:
            The names of the programs.

        Raises:
            MorphoscopeError: no hub runs, or no program takes tables.
        """
        with self._lock:
            client = self._connected()
            try:
                takers = client.get_subscribed_clients(_TABLE)
                names = [str(client.get_metadata(each).get("samp.name", each)) for each in takers]
                if not names:
                    raise MorphoscopeError("no program that takes tables is connected to the SAMP hub")
                parameters = {"url": table.as_uri(), "name": name, "table-id": table.as_uri()}
                client.notify_all({"samp.mtype": _TABLE, "samp.params": parameters})
            except MorphoscopeError:
                raise
            except Exception as error:  # whatever a hub that ends just now makes XML-RPC raise
                self._leave()
                raise MorphoscopeError(f"the SAMP hub did not take the table ({reason_of(error)})") from error
            return names

    def close(self) -> None:
        """Leave the hub."""
        with self._lock:
            self._leave()

    def _connected(self) -> Any:
        """The client, registered with a hub that answers: the same as last time if it is still there."""
        if self._client is not None:
            try:
                self._client.get_registered_clients()  # a ping would not say whether we are still known
                return self._client
            except Exception:  # that hub has gone, and maybe another has come
                self._leave()
        samp = samp_module()
        with samp.conf.set_temp("use_internet", False):  # it would look for this machine's name elsewhere
            client = samp.SAMPIntegratedClient(
                name="Morphoscope", description="The explorer of Morphoscope", addr="127.0.0.1"
            )
            try:
                client.connect()
            except Exception as error:  # whatever the hub's lock file and its XML-RPC raise
                raise MorphoscopeError(
                    f"no SAMP hub runs on this machine ({reason_of(error)}); start TOPCAT or Aladin first"
                ) from error
        self._client = client
        return client

    def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # a hub that has gone cannot be left
                client.disconnect()


def samp_module() -> Any:
    """SAMP from pyvo, where astropy's has moved, or else from astropy, whose later versions lack it.

    Raises:
        MorphoscopeError: neither has it.
    """
    for name in ("pyvo.samp", "astropy.samp"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy's: that it has moved
                module = importlib.import_module(name)
                _ = module.SAMPIntegratedClient
                return module
        except (ImportError, AttributeError):
            continue
    raise MorphoscopeError("SAMP needs pyvo, which is not installed; install with: pip install pyvo")
