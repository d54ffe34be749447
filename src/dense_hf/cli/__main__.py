"""`python -m dense_hf.cli`, where the program `dense-hf` is not on the path."""

import sys

from . import main

sys.exit(main())
