"""Peak memory of a notebook over as many selfies as UCF Selfie holds, and of training steps of the report's network.

Run it as `python benchmarks/selfie_memory.py`. It draws the selfies where they are not there yet (1.3 GB in the cache),
runs `selfie-auxiliary` on them at 200 pixels, so that frozen MobileNet features are extracted and heads are fitted, and
then 20 training steps of ResNet50 at 200 pixels with the first 30 layers frozen. While either runs, the resident memory
of all its processes is added up again and again: the command, the kernel, and whatever they start. Beside it stands the
sum with the pages of the cache's files: the images are read through a memory map, and the system drops such pages as
soon as somebody needs the room. `--count 2000` gives an impression in minutes. Linux or Windows, where a process says what
it has mapped.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
# So that the command also runs in a checkout that was not installed.
sys.path.insert(0, str(ROOT))

UCF_SELFIE = 46_836
LIMIT_MB = 3_000
BATCH_SIZE = 32  # of ResNet50


def measure_command(command: list[str], cache: Path) -> tuple[int, int, float]:
    """Run a command and return its peak without and with the pages of the cache's files, in MiB, and its seconds."""
    peaks, started = (0, 0), time.monotonic()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    watched = psutil.Process(process.pid)

    def watch() -> None:
        nonlocal peaks
        while process.poll() is None:
            total, mapped = 0, 0
            for each in (watched, *list_children(watched)):
                with contextlib.suppress(psutil.Error):  # ended in between
                    total += each.memory_info().rss
                    mapped += sum(part.rss for part in each.memory_maps() if part.path.startswith(str(cache)))
            peaks = max(peaks[0], total - mapped), max(peaks[1], total)
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... ended with {process.returncode}")
    return round(peaks[0] / 2**20), round(peaks[1] / 2**20), time.monotonic() - started


def list_children(process: psutil.Process) -> list[psutil.Process]:
    """Return all processes below one; none where it has just ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def train_steps(folder: Path, steps: int, size: int) -> None:
    """Train ResNet50 with two dense layers of 1,024 on the first images of a folder of selfies."""
    import keras
    import numpy as np
    from keras import layers

    from facekit.data import images, tables
    from facekit.data.batches import Batches
    from facekit.models import backbones

    table = tables.read_dataset("selfie", folder).table.iloc[: steps * BATCH_SIZE]
    targets = np.eye(3, dtype=np.float32)[np.arange(len(table)) % 3]
    rows = np.arange(steps * BATCH_SIZE) % len(table)
    train = Batches(images.read_images(folder, table["path"], (size, size)), targets, rows, batch_size=BATCH_SIZE, seed=0)
    base = backbones.build("ResNet50", (size, size), frozen_layers=30, frozen_batchnorm="batch")
    x = layers.GlobalAveragePooling2D()(base.output)
    for _ in range(2):
        x = layers.Dense(1024, "relu")(x)
    model = keras.Model(base.input, layers.Dense(3, "softmax")(x))
    model.compile("adam", "categorical_crossentropy")
    model.fit(train, verbose=0)


def main() -> None:
    """Draw what is missing, run both and print their peaks; the exit status is 1 where the notebook's is too high."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=UCF_SELFIE, help="selfies to draw and use")
    parser.add_argument("--size", type=int, default=200, help="side of the images that the networks see, in pixels")
    parser.add_argument("--steps", type=int, default=20, help="training steps of ResNet50; 0 leaves them out")
    parser.add_argument("--only-steps", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only_steps:
        train_steps(arguments.only_steps, arguments.steps, arguments.size)
        return
    if not hasattr(psutil.Process, "memory_maps"):
        raise SystemExit("a process does not say here what it has mapped: run this on Linux or Windows")
    from facekit.paths import cache_folder
    from facekit.synthetic.layouts import write_sample

    started = time.monotonic()
    cache = cache_folder()
    folder = write_sample("selfie", cache_folder("data", "benchmark") / f"selfie-{arguments.count}", count=arguments.count)
    print(f"{arguments.count:,} selfies of 306 x 306 in {folder}, {time.monotonic() - started:.0f} s", flush=True)
    settings = {"data": folder, "weights": "none", "alpha": 1.0, "input_size": arguments.size, "epochs": 3, "batch_size": 256}
    with tempfile.TemporaryDirectory() as reports:
        facekit = [sys.executable, "-c", "import sys; from facekit.cli import main; sys.exit(main())"]
        command = [*facekit, "run", "selfie-auxiliary", "--out", reports, "--set"]
        peak, mapped, seconds = measure_command([*command, *(f"{name}={value}" for name, value in settings.items())], cache)
    what = f"selfie-auxiliary, {arguments.count:,} selfies at {arguments.size} px"
    limit = f"at most {LIMIT_MB:,} MiB is asked; {mapped:,} MiB with the pages of mapped images"
    print(f"{what}: peak {peak:,} MiB in {seconds:.0f} s ({limit})", flush=True)
    if arguments.steps:
        options = [f"--steps={arguments.steps}", f"--size={arguments.size}"]
        command = [sys.executable, __file__, f"--only-steps={folder}", *options]
        steps_peak, _, seconds = measure_command(command, cache)
        what = f"ResNet50, {arguments.steps} training steps of {BATCH_SIZE} at {arguments.size} px"
        print(f"{what}: peak {steps_peak:,} MiB in {seconds:.0f} s")
    sys.exit(int(peak > LIMIT_MB))


if __name__ == "__main__":
    main()
