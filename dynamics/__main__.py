"""The command line as ``python -m dynamics`` and ``torchrun -m dynamics``."""

from dynamics.cli import main

main()
