"""`python -m facekit` is the command `facekit`."""

from facekit.cli import main

raise SystemExit(main())
