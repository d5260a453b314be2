"""``python -m ldae``: the same as the command ``ldae``."""

import sys

from ldae.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
