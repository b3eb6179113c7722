"""`python -m sfpo`: the `sfpo` command."""

import sys

from sfpo.cli import main

if __name__ == "__main__":
    sys.exit(main())
