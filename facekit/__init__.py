"""facekit: five student reports on faces as eight experiments. Importing it loads nothing heavy: no TensorFlow, no pandas."""

import os
import sys

__version__ = "0.1.0"

# TensorFlow reads this when it is loaded. Where it is missing, TensorFlow decides by the processor: one without AVX-512 can
# then train more slowly (benchmarks/onednn.py measures it) and sums in another order than most.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# As if it were not installed: nbformat would spend seconds on its grammar of web addresses, which no notebook needs.
sys.modules.setdefault("rfc3987_syntax", None)
