"""A ninth experiment is a manifest and a reader, a notebook, its profiles and a section of published.yaml, and nothing else."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import numpy as np

from facekit.paths import project_root

MANIFEST = """
kind: dataset
name: lamps
title: Lamps
homepage: https://example.org/lamps
terms: none
citation: nobody
source: {kind: page, url: "https://example.org/lamps", steps: ["Copy the folder to {target}"]}
tables:
  lamps:
    forms: [{path: lamps.csv, separator: comma, header: names}]
    rows: 40
    key: image
    images: ["images/{image}"]
    columns: {image: {}, state: {values: {"on": bright, "off": dark}}}
images: {count: 40}
"""
READER = '''
"""Lamps: lamps.csv with a header, images in images/."""

from facekit.data.manifests import read_manifest
from facekit.data.tables import divide, read_rows


def read_tables(root):
    good, excluded = divide(read_rows(read_manifest("lamps"), "lamps", root))
    return good[["path"]].assign(split="", group=good.index, state=good["state"]), excluded
'''
CELLS = (
    'data = ".facekit/data/lamps"  # folder with lamps.csv\nprofile = "sample"  # name of this set of values\n'
    "rows = 0  # use only so many; 0: all [0..]",
    """
from facekit.data import audit, splits
from facekit.data.images import read_images
from facekit.data.tables import read_dataset
from facekit.evaluation import classification
from facekit.reporting import record

run = record.open_run("lamps", globals())
dataset = read_dataset("lamps", data)
table = dataset.sample(rows, "state", seed=0)
hashes = audit.hash_images(dataset.root, table["path"])
table = splits.split_table(table, "state", validation=0.2, test=0.25, seed=0)
run.set_data(dataset, table, target="state", hashes=hashes, audit=audit.audit_splits(table, hashes, target="state"))
brightness = read_images(dataset.root, table["path"], (8, 8)).mean(axis=(1, 2, 3)) / 255
test = (table["split"] == "test").to_numpy()
y_prob = brightness[test][:, None] * [-1, 1] + [1, 0]
found = classification.measure("test", (table["state"] == "on").to_numpy()[test].astype(int), y_prob, ["off", "on"])
run.add(found)
run.expected()
run.close()
""",
)
PROFILE = "{parameters: {}, expected: [{metric: test/accuracy, value: 1.0, low: 0.9, high: 1.0, minutes: 0.1}]}"
CLAIMS = """
lamps.txt:
  lamps:
    question: Is the lamp on?
    claims:
    - {id: accuracy, kind: value, text: Always right, value: 1.0, unit: share, metric: accuracy, reproduced: test/accuracy}
"""


def test_a_ninth_experiment_needs_only_files_of_its_own(tmp_path):
    root = tmp_path / "project"
    unused = shutil.ignore_patterns("__pycache__", "synthetic", "*.h5")
    shutil.copytree(project_root() / "facekit", root / "facekit", ignore=unused)
    for name in ("data_manifests", "notebooks"):
        shutil.copytree(project_root() / name, root / name)
    (root / "reports").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(project_root() / name, root)
    (root / "data_manifests" / "lamps.yaml").write_text(MANIFEST)
    (root / "facekit" / "data" / "readers" / "lamps.py").write_text(READER)
    (root / "notebooks" / "parameters" / "lamps.yaml").write_text(
        "".join(f"{profile}: {PROFILE}\n" for profile in ("sample", "laptop", "report", "full"))
    )
    register = (project_root() / "reports" / "published.yaml").read_text(encoding="utf-8")
    (root / "reports" / "published.yaml").write_text(register + CLAIMS, encoding="utf-8")
    cells = [nbformat.v4.new_markdown_cell("# Lamps\n\n<!-- summary -->"), *map(nbformat.v4.new_code_cell, CELLS)]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "notebooks" / "lamps.ipynb")
    lamps = tmp_path / "lamps"
    (lamps / "images").mkdir(parents=True)
    random, lines = np.random.default_rng(0), ["image,state"]
    for number in range(40):
        state, level = (("off", 30), ("on", 220))[number % 2]
        write_gray(lamps / "images" / f"{number}.png", random.integers(level - 30, level + 30, (8, 8)))
        lines.append(f"{number}.png,{state}")
    (lamps / "lamps.csv").write_text("\n".join(lines) + "\n")

    environment = os.environ | {"PYTHONPATH": str(root), "FACEKIT_CACHE": str(tmp_path / "cache")}

    def call(*words):
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # One process for all that needs no kernel: Python and its packages load once.
    several = "import sys; from facekit.cli import main\nfor words in sys.argv[1:]: assert main(words.split()) == 0, words"
    shown = call(sys.executable, "-c", several, "data list", f"data verify lamps --root {lamps}")
    assert "lamps: " in shown and "problems: 0" in shown
    assert "facekit run lamps" in call("make", "-n", "lamps", f"PYTHON={sys.executable}")
    call(sys.executable, "-m", "facekit", "run", "lamps", "--data", str(lamps))
    record = json.loads((root / "reports" / "sample" / "lamps" / "metrics.json").read_text())
    accuracy = next(metric for metric in record["metrics"] if metric["name"] == "test/accuracy")
    assert (accuracy["value"], accuracy["n"], record["published"][0]["verdict"]) == (1.0, 10, "within")
    call(sys.executable, "-m", "facekit", "site")
    assert "Is the lamp on?" in (root / "reports" / "index.html").read_text(encoding="utf-8")


def write_gray(path, pixels):
    from PIL import Image

    Image.fromarray(pixels.astype(np.uint8)).save(path)
