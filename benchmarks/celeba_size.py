"""Time and memory of everything before training on a synthetic CelebA of up to its full 202,599 images. Linux.

Run it as `python benchmarks/celeba_size.py`; `--counts 25000 202599 --steps read epoch` is a part. In a temporary folder it
writes CelebA's own text tables, people of 20 images, the official proportions, and hard links to 2,000 synthetic faces. A step
runs in a process of its own, after what it needs, which is not counted. `anon`: MiB that the process itself holds, `before` the
step and the most in looks every 20 ms; `peak` adds libraries and mapped files, which the system drops when it needs room. Links
have few hashes, CelebA many: `distinct` audits and `groups` groups random ones. Last: time as a power of n, 1 if linear.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs in a checkout that was not installed

from facekit.data import audit, augment, images, splits, tables, verify
from facekit.synthetic.layouts import write_sample

PARTITION, DIFFERENT, PER_PERSON, SIZE = (162_770, 19_867, 19_962), 2_000, 20, (64, 64)
STEPS = ("read", "verify", "hash", "audit", "distinct", "groups", "splits", "images", "fingerprint", "epoch")
LINE = "{step:<12}{count:>8,}{seconds:>9.1f}{cpu:>8.1f}{before:>8.0f}{anon:>8.0f}{peak:>10.0f}"


def write_celeba(root: Path, faces: Path, count: int) -> None:
    """Write `count` images, links to `faces`, and the tables that tell of them."""
    (root / "img_align_celeba").mkdir(parents=True)
    partition = np.searchsorted(np.cumsum(PARTITION) * count / sum(PARTITION), np.arange(count), side="right")
    rows = pd.DataFrame({"name": [f"{row + 1:06d}.jpg" for row in range(count)], "partition": partition})
    rows["identity"] = np.cumsum(rows.groupby("partition").cumcount() % PER_PERSON == 0)
    drawn = tables.read_dataset("celeba", faces).table.sample(count, replace=True, random_state=0).set_index(rows["name"])
    names = list(drawn.columns[4:])  # of the attributes, after path, split, group and identity
    for name, path in drawn["path"].items():
        os.link(faces / path, root / "img_align_celeba" / name)
    (root / "list_attr_celeba.txt").write_text(f"{count}\n{' '.join(names)}\n")
    (2 * drawn[names] - 1).to_csv(root / "list_attr_celeba.txt", sep=" ", header=False, mode="a")
    for file, column in (("list_eval_partition", "partition"), ("identity_CelebA", "identity")):
        rows[["name", column]].to_csv(root / f"{file}.txt", sep=" ", header=False, index=False)
    (root / "facekit.json").write_text(json.dumps({"kind": "synthetic"}))


def prepare(step: str, root: Path):
    """Make what a step needs, and return the step as a function."""
    if step in ("read", "verify"):
        return lambda: tables.read_dataset("celeba", root) if step == "read" else verify.verify_dataset("celeba", root)
    table = tables.read_dataset("celeba", root).table
    if step in ("fingerprint", "epoch"):
        from facekit.data.batches import Batches  # and TensorFlow, which no other step needs

        pixels = images.read_images(root, table["path"], SIZE)
        change = augment.ImageDataGenerator(5, zoom_range=0.05, brightness_range=(0.8, 1.2), horizontal_flip=True)
        batches = Batches(pixels, table["Male"].to_numpy(), batch_size=64, augment=change, seed=0)
        return batches.fingerprint if step == "fingerprint" else lambda: any(batches[k] is None for k in range(len(batches)))
    hashes = table[["path"]].assign(phash=np.random.default_rng(0).integers(2**64, size=len(table), dtype=np.uint64))
    hashes["digest"] = hashes["phash"].map("{:064x}".format)
    hashes = audit.hash_images(root, table["path"]) if step == "audit" else hashes
    return {
        "hash": lambda: audit.hash_images(root, table["path"]),
        "images": lambda: images.read_images(root, table["path"], SIZE),
        "splits": lambda: splits.split_table(table, "Male", validation=0.1, test=0.1, seed=0),
        "groups": lambda: audit.find_groups(hashes),
    }.get(step, lambda: audit.audit_splits(table, hashes, "Male"))


def measure(step: str, root: Path) -> dict[str, float]:
    """Run one step in this process and return its seconds, processor seconds and MiB."""
    run = prepare(step, root)

    def look(name: str = "RssAnon") -> float:
        return int(re.search(rf"{name}:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024

    def watch() -> None:
        while not time.sleep(0.02):
            looks.append(look())

    looks, started, spent = [look()], time.monotonic(), time.process_time()
    threading.Thread(target=watch, daemon=True).start()
    run()
    found = {"seconds": time.monotonic() - started, "cpu": time.process_time() - spent}
    return found | {"before": looks[0], "anon": max(looks), "peak": look("VmHWM")}


def main() -> None:
    """Write the datasets, run the steps, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[25_000, 50_000, 101_000, sum(PARTITION)])
    parser.add_argument("--steps", nargs="+", default=STEPS, choices=STEPS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        return print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
    print(f"{'step':<12}{'images':>8}{'seconds':>9}{'CPU s':>8}{'before':>8}{'anon':>8}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory(prefix="celeba-size-") as folder:
        os.environ |= {"FACEKIT_CACHE": f"{folder}/cache", "TF_CPP_MIN_LOG_LEVEL": "3"}
        faces, found = write_sample("celeba", Path(folder, "faces"), count=DIFFERENT), {step: [] for step in options.steps}
        for count in options.counts:
            write_celeba(root := Path(folder, str(count)), faces, count)
            for step in options.steps:
                output = subprocess.check_output([sys.executable, __file__, "--measure", step, root], text=True)
                found[step].append(row := json.loads(output.splitlines()[-1]) | {"count": count})
                print(LINE.format(step=step, **row), flush=True)
    for step, (first, *_, last) in found.items() if len(options.counts) > 1 else ():
        power = np.log(last["cpu"] / first["cpu"]) / np.log(last["count"] / first["count"])
        growth = (last["anon"] - first["anon"]) * 2**20 / (last["count"] - first["count"])
        print(f"{step:<12}CPU seconds grow as n^{power:.2f}, memory by {growth:,.0f} bytes per image")


if __name__ == "__main__":
    main()
