"""`python -m facekit` is the command `facekit`."""

import sys

from facekit.cli import main

sys.exit(main())
