"""``python -m morphoscope`` is the command line."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it in one sentence, also while it is being imported."""
    # Numpy's OpenBLAS reads it when it is loaded; otherwise its threads spin after each product and take
    # cores from decoding.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # log2 of processor cycles
    try:
        from morphoscope import interruption

        with interruption.heeded():
            try:
                from morphoscope.cli import main as run
            except ImportError as error:  # a compiled package, interrupted while it is imported
                if interruption.asked():
                    raise KeyboardInterrupt from error
                raise
            run()
    except KeyboardInterrupt:
        print("morphoscope: interrupted before anything was begun", file=sys.stderr)
        sys.exit(1)
    finally:  # whatever Python still does at its end has nothing to say to a second Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
