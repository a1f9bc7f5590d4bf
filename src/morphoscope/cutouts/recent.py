"""What was fetched last, so that threads and rows that want the same share one request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Fetched = TypeVar("Fetched")


class Recent(Generic[Fetched]):
    """The latest results, or why there are none.

    Args:
        most: how many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._found: OrderedDict[str, Future[Fetched]] = OrderedDict()

    def get(self, key: str, fetch: Callable[[], Fetched]) -> Fetched:
        """The result of a key; while one thread fetches it, others that want the same wait."""
        with self._lock:
            future = self._found.get(key)
            first = future is None
            if future is None:
                future = self._found[key] = Future()
                if len(self._found) > self._most:
                    self._found.popitem(last=False)
            self._found.move_to_end(key)
        if first:
            try:
                future.set_result(fetch())
            except BaseException as error:
                future.set_exception(error)
        return future.result()
