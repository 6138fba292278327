"""``python -m plml``."""

import sys

from plml.cli import main

sys.exit(main())
