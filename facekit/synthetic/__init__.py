"""Synthetic faces: drawn people in each dataset's own layout, so that every step can be run and tested without a
download.

The trap this prevents: taking the sample for the data. Every folder written here carries `facekit.json`, which says
synthetic, and every figure made from it is labelled so.
"""

from facekit.synthetic.layouts import SAMPLE_COUNTS, write_sample
from facekit.synthetic.populations import POPULARITY_BASE, POPULARITY_EFFECTS, POPULARITY_NOISE
from facekit.synthetic.studio import TRAITS, draw_faces, write_contact_sheet

__all__ = [
    "POPULARITY_BASE",
    "POPULARITY_EFFECTS",
    "POPULARITY_NOISE",
    "SAMPLE_COUNTS",
    "TRAITS",
    "draw_faces",
    "write_contact_sheet",
    "write_sample",
]
