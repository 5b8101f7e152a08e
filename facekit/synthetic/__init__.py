"""Synthetic people in each dataset's own layout, and semi-synthetic popularity: everything runs without a download."""
