"""Seconds a training step of MobileNet, with TensorFlow's oneDNN kernels and without.

Run it as `python benchmarks/onednn.py`. facekit asks for these kernels (facekit/__init__.py), because TensorFlow leaves them
out on some processors without AVX-512. Each of the two runs in a process of its own, since the choice is made when TensorFlow
is loaded.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

# So that the command also runs in a checkout that was not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def measure_step(size: int, steps: int, batch_size: int = 32) -> float:
    """Return the median seconds of a step that trains all of MobileNet on random images."""
    import keras
    import numpy as np

    from facekit.models import backbones

    base = backbones.build("MobileNet", (size, size))
    outputs = keras.layers.Dense(40, "sigmoid")(keras.layers.GlobalAveragePooling2D()(base.output))
    model = keras.Model(base.input, outputs)
    model.compile("adamw", "binary_crossentropy")
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch_size, size, size, 3)).astype(np.float32)
    targets = rng.integers(0, 2, (batch_size, 40)).astype(np.float32)
    seconds = []
    for _ in range(3 + steps):  # the first ones trace the graph and fill caches
        started = time.perf_counter()
        model.train_on_batch(images, targets)
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[3:]))


def main() -> None:
    """Measure both, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="side of the images in pixels")
    parser.add_argument("--steps", type=int, default=20, help="steps that are measured")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(measure_step(arguments.size, arguments.steps))
        return
    for chosen, name in (("1", "with oneDNN"), ("0", "without")):
        command = [sys.executable, __file__, "--here", f"--size={arguments.size}", f"--steps={arguments.steps}"]
        environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": chosen, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        print(f"{name}: {float(done.stdout):.3f} s a step of 32 images of {arguments.size}x{arguments.size}")


if __name__ == "__main__":
    main()
