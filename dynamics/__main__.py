"""``python -m dynamics``, and so ``torchrun -m dynamics``: the command line."""

from dynamics.cli import main

main()
