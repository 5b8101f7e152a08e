"""facekit: five student reports on faces, reproduced as eight experiments.

Importing this package loads nothing heavy: no TensorFlow, no pandas. Import the module that you need.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("facekit")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"
