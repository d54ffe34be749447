"""`python -m dense_hf` is `dense-hf`, and so is `accelerate launch -m dense_hf`, whose processes share the work."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
