"""`python -m facekit`, the same as the command `facekit`."""

from facekit.cli import main

raise SystemExit(main())
