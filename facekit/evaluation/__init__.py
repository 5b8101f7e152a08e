"""Metrics with intervals and baselines, paired comparisons, tests of attributes. No TensorFlow is needed here."""
