"""The documents' runner; `python -m fptm_ste.tests.run_mnist_equiv` works too."""

import sys

from stillhouse.compat.documents import vision

if __name__ == "__main__":
    raise SystemExit(vision(sys.argv[1:]))
