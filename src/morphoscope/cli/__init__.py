"""The command line: one thin function per command. Data goes to stdout, progress and notes to stderr.

Exit status: 0 success, 1 failure or partial failure (an image that could not be read), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from morphoscope import interruption
from morphoscope.cli import (
    cutouts,
    data,
    evaluate,
    explorer,
    match,
    measure,
    predict,
    sharing,
    training,
    trees,
)
from morphoscope.errors import MorphoscopeError
from morphoscope.extras import missing_extra
from morphoscope.processes import claim, leave_pandas_out, started
from morphoscope.progress import note, printable
from morphoscope.version import __version__

app = typer.Typer(
    name="morphoscope",
    help="From galaxy images to morphology catalogues you can trust.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data.register(app)
cutouts.register(app)
training.register(app)
evaluate.register(app)
predict.register(app)
match.register(app)
measure.register(app)
sharing.register(app)
trees.register(app)
explorer.register(app)


def _show_version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


NETWORK_COMMANDS = ("calibrate", "demo", "evaluate", "explain", "export", "predict", "study", "train")
"""Commands that run a network: their process is tuned for it (:func:`morphoscope.processes.claim`)."""


@app.callback()
def _main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    leave_pandas_out()
    if context.invoked_subcommand in NETWORK_COMMANDS:
        claim()


def main() -> None:
    """Run the command line; every foreseeable failure is one sentence on stderr."""
    # What Pillow has to say of odd tags is two lines about its own source.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    with interruption.heeded():
        sys.exit(_status())


def _status() -> int:
    """The exit status of a command; what is not foreseen passes."""
    try:
        interruption.pass_on()
        return app(standalone_mode=True)
    except BrokenPipeError:  # the reader closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (SystemExit, KeyboardInterrupt) as end:  # Ctrl-C while typer is still looking at the commands
        if isinstance(end, SystemExit) and end.code != 130:
            raise
    except Exception as error:
        if not interruption.asked():  # compiled code turns an interruption into an error of its own
            return _reported(error)
    note(
        "morphoscope: interrupted; no partial output is left. Continue a training or a catalogue with "
        "--resume"
    )
    return 1


def _reported(error: Exception) -> int:
    """Say what went wrong in one sentence; the error is raised again if it is one of the program."""
    if isinstance(error, ModuleNotFoundError) and not isinstance(error, MorphoscopeError):
        error = missing_extra(error) or error
    if isinstance(error, MorphoscopeError):
        _report(error)
        return error.exit_status
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        note(f"morphoscope: {where}{error.strerror or error}")
        return 1
    raise error


def _report(error: MorphoscopeError) -> None:
    process = started()
    if process is not None and process.rank > 0 and process.local == 0:
        # Rank 0 reports the errors of its own machine; on another machine files may differ.
        print(printable(f"morphoscope: process {process.rank}: {error}"), file=sys.stderr)
    else:
        note(f"morphoscope: {error}")
