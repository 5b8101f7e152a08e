"""machine.py: what a run ran on, without names."""

import platform

import numpy as np

from facekit.reporting.machine import describe_machine


def test_machine_is_described_without_names():
    found = describe_machine()
    assert set(found) == {"peak_memory_mb", "peak_gpu_memory_mb", "machine", "versions", "device"}
    assert set(found["machine"]) == {"system", "cores", "memory_mb"}
    assert found["peak_memory_mb"] > 20 and found["machine"]["cores"] >= 1
    assert found["versions"]["numpy"] == np.__version__ and found["versions"]["python"] == platform.python_version()
    assert platform.node() not in str(found)
