"""``python -m meandrift`` is the command ``meandrift``."""

from dynamics.cli import main

if __name__ == "__main__":
    main()
