"""``python -m morphoscope`` is the command line."""

from morphoscope.cli import main

main()
