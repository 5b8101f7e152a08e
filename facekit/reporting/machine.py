"""What a run ran on: memory, machine, versions, device; no names of hosts or users."""

import contextlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from facekit import __version__

PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "tensorflow", "tensorflow-cpu", "keras", "opencv-python-headless")


def describe_machine() -> dict[str, Any]:
    """Return what differs between machines, as metrics.json holds it; call it last, since it takes peak memory."""
    versions = {"python": platform.python_version(), "facekit": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    machine = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
    }
    return {"peak_memory_mb": _measure_memory(), "machine": machine, "versions": versions} | _describe_device()


def _measure_memory() -> int | None:
    """Return the peak in MiB of this process, and what its children use now.

    Finished children are not asked: a forked one counts its parent's memory as its own until it starts its program.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            memory += child.memory_info().rss
    return round(memory / 2**20)


def _describe_device() -> dict[str, Any]:
    """Return the device, and a GPU's peak memory; TensorFlow is asked only where it is loaded anyway."""
    tensorflow = sys.modules.get("tensorflow")
    gpus = tensorflow.config.list_physical_devices("GPU") if tensorflow else []
    if not gpus:
        return {"device": "cpu", "peak_gpu_memory_mb": None}
    name = tensorflow.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu")
    peak = tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
    return {"device": name, "peak_gpu_memory_mb": round(peak / 2**20)}
