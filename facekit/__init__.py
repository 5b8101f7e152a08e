"""facekit: five student reports on faces as eight experiments. Importing it loads nothing heavy: no TensorFlow, no pandas."""

import os
import sys

__version__ = "0.1.0"

# TensorFlow reads this when it is loaded. Where it is missing, TensorFlow decides by the processor: one without AVX-512 can
# then train more slowly (benchmarks/onednn.py measures it) and sums in another order than most.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# nbformat checks notebooks with jsonschema, which spends seconds on a grammar of web addresses that no notebook needs; None
# stands for a package that is not installed.
sys.modules.setdefault("rfc3987_syntax", None)
