"""What fits on a Dask cluster cost and gain on this machine, what an image costs, and from that hours for profile `full`.

    .venv/bin/python benchmarks/scale.py [overhead speedup cost] [--size 96] [--gpu 40] [--bandwidth 10] [--loaders 2]

overhead: 12 small fits (a dense head on features) in this process and on a LocalCluster of 1 and of 2 workers. Before the clock
starts every process has imported TensorFlow and finished a fit of other data. Overhead of a unit is (wall on the cluster less
wall in this process) / 12; beside it the same from processor seconds of all processes, which other programs disturb less.
speedup: 12 fits of a small MobileNet. cost: processor seconds an image, one thread, random weights, all layers trained; from
them the table of hours (scale_hours.py), which is computed and not measured: the lines above it name what is assumed.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs in a checkout that was not installed
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

from scale_hours import Cost, print_hours

UNITS = 12


def make_jobs(count: int, pixels: int = 0, epochs: int = 2, first_seed: int = 0):
    """Yield jobs for `fit_all`: a dense head on 2,000 rows of 256 features, or a small MobileNet on 512 square images."""
    import keras
    import numpy as np

    from facekit.data.batches import Batches
    from facekit.models import backbones, training

    draws = np.random.default_rng(first_seed)
    x = draws.integers(0, 256, (512, pixels, pixels, 3) if pixels else (2000, 256), np.uint8)
    y = draws.integers(0, 2, (len(x), 40)).astype(np.float32)
    for seed in range(first_seed, first_seed + count):
        training.set_up(seed=seed)
        base = backbones.build("MobileNet", (pixels, pixels), alpha=0.25) if pixels else None
        model = add_head(base.input, base.output) if pixels else add_head(*[keras.Input((256,))] * 2)
        data = {"train": Batches(x, y, seed=seed, batch_size=64), "validation": Batches(x[:128], y[:128], batch_size=64)}
        yield data | {"model": model, "name": f"unit {seed}", "epochs": epochs}


def add_head(inputs, output):
    """Return a compiled model that tells 40 attributes."""
    import keras

    output = keras.layers.GlobalAveragePooling2D()(output) if len(output.shape) == 4 else output
    model = keras.Model(inputs, keras.layers.Dense(40, "sigmoid")(output))
    model.compile("adamw", "binary_crossentropy")
    return model


def warm_up(folder: str) -> None:
    """Import TensorFlow and finish a fit in this process, which may be a worker."""
    from facekit.models import training

    os.environ["FACEKIT_CACHE"] = folder
    training.fit(**next(make_jobs(1, first_seed=1000)))


def time_units(jobs, workers: int) -> tuple[float, float]:
    """Return wall and processor seconds, of this process and its workers, in which `fit_all` finishes jobs; 0 workers: here."""
    import psutil

    from facekit import cluster
    from facekit.models import training

    with tempfile.TemporaryDirectory() as folder:
        warm_up(f"{folder}/warm")
        os.environ["FACEKIT_CACHE"] = f"{folder}/cold"
        if workers:
            os.environ[cluster.WORKERS] = str(workers)
            client = cluster.connect()
            for number, worker in enumerate(client.scheduler_info()["workers"]):
                client.run(warm_up, f"{folder}/{number}", workers=[worker])
        family = [psutil.Process(), *psutil.Process().children(recursive=True)]
        before, started = sum(sum(each.cpu_times()[:2]) for each in family), time.monotonic()
        for _ in training.fit_all(jobs):
            pass
        wall, after = time.monotonic() - started, sum(sum(each.cpu_times()[:2]) for each in family)
        if workers:
            client.cluster.close()
            client.close()
            cluster.connect.cache_clear()
            del os.environ[cluster.WORKERS]
    return wall, after - before


def measure_units(what: str, pixels: int = 0, epochs: int = 2) -> None:
    """Print seconds of 12 units in this process and on one and two workers."""
    here = time_units(make_jobs(UNITS, pixels, epochs), 0)
    print(
        f"{what}: here {here[0]:.1f} s wall, {here[1]:.1f} s processor; load of the machine {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for workers in (1, 2):
        wall, spent = time_units(make_jobs(UNITS, pixels, epochs), workers)
        more = f"a unit {(wall - here[0]) / UNITS:+.2f} s wall, {(spent - here[1]) / UNITS:+.2f} s processor"
        times = f"{wall:.1f} s wall, {spent:.1f} s processor, {here[0] / wall:.2f} times as fast"
        print(f"  on {workers} worker{'s' * (workers > 1)}: {times}; {more}", flush=True)


def time_call(call, count: int, repeats: int = 1) -> float:
    """Return processor seconds of a call, the least of several, divided by `count`."""
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        call()
        seconds.append(time.process_time() - started)
    return min(seconds) / count


def measure_cost(options) -> tuple[float, float, dict[str, Cost]]:
    """Print and return what an image costs here: decoded, augmented, and in each network."""
    import numpy as np

    from facekit.data.augment import ImageDataGenerator
    from facekit.data.batches import Batches
    from facekit.data.images import read_image
    from facekit.models import backbones, networks, training
    from facekit.synthetic.faces import write_face
    from facekit.synthetic.people import draw_celebrity

    size, draws, images, count = (options.size, options.size), np.random.default_rng(0), [], 128
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number}.jpg" for number in range(count)]
        for path in paths:
            write_face(path, draw_celebrity(draws), 218, 178)
        decode = time_call(lambda: images.extend(read_image(path, size) for path in paths), count)
    shifts = {"rotation_range": 5, "width_shift_range": 0.05, "height_shift_range": 0.05, "zoom_range": 0.05}
    change = ImageDataGenerator(**shifts, brightness_range=(0.8, 1.2), horizontal_flip=True)
    y = draws.integers(0, 2, (count, 40)).astype(np.float32)
    batches = Batches(np.stack(images), y, batch_size=options.batch, augment=change, seed=0)
    augment = time_call(lambda: [batches[k] for k in range(len(batches))], count, 3)
    print(f"Measured, milliseconds of one core an image, {size[0]} x {size[1]}, batches of {options.batch}:")
    print(f"  decode 178 x 218 and resize {1000 * decode:.2f}, augment {1000 * augment:.2f}")
    costs, (x, y) = {}, batches[0]
    for name in networks.NETWORKS:
        training.set_up(seed=0)
        base = backbones.build(name, size)
        model = add_head(base.input, base.output)
        model.train_on_batch(x, y)  # traces
        model.predict_on_batch(x)
        step = time_call(lambda model=model: model.train_on_batch(x, y), len(x), options.steps)
        predict = time_call(lambda model=model: model.predict_on_batch(x), len(x), options.steps)
        costs[name] = Cost(step, predict, model.count_params())
        print(
            f"  {name:<12} step {1000 * step:8.1f}, predict {1000 * predict:7.1f}, {costs[name].weights:,} weights", flush=True
        )
    return decode, augment, costs


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["overhead", "speedup", "cost"])
    parser.add_argument("--size", type=int, default=96, help="side of the images whose cost is measured, from 75")
    parser.add_argument("--batch", type=int, default=16, help="images of a step whose cost is measured")
    parser.add_argument("--steps", type=int, default=3, help="steps, of which the fastest counts")
    parser.add_argument("--epochs", type=int, default=1, help="epochs of a unit of `speedup`")
    parser.add_argument("--gpu", type=float, default=40, help="assumed: cores of this machine that a small GPU replaces")
    parser.add_argument("--bandwidth", type=float, default=10, help="assumed: GB/s that a GPU exchanges with others")
    parser.add_argument("--all", action="store_true", help="as if every notebook called fit_all")
    parser.add_argument("--loaders", type=int, default=2, help="assumed: threads that augment for a GPU")
    options = parser.parse_args()
    if "overhead" in options.parts:
        measure_units("Overhead, 12 heads")
    if "speedup" in options.parts:
        measure_units("Speed-up, 12 networks", 32, options.epochs)
    if "cost" in options.parts:
        print_hours(options, *measure_cost(options))


if __name__ == "__main__":
    main()
