"""Real photographs with a semi-synthetic popularity: CelebA's images in UCF Selfie's layout, and a score that we made up.

Here the truth is known: which attributes the score depends on, by how much, and how much of it is noise that no model can
explain. The folder says `planted` wherever it goes, so that no result from it is taken for one about people.
"""

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from facekit.data.readers.popularity import Truth
from facekit.data.readers.selfie import ATTRIBUTES
from facekit.data.tables import read_dataset
from facekit.errors import DataError
from facekit.paths import expand, read_json
from facekit.synthetic.folders import LARGEST_SEED, MARKER, check_range, write_folder

CEILING = 0.5
BASE = 4.2
# Spaced so that their order shows, most of them visible at 64 pixels. An open mouth correlates with a smile and yet
# counts against it: a chi-square shows the one, a regression the other.
WEIGHTS = {
    "is_female": 0.40,
    "smiling": 0.25,
    "mouth_open": -0.10,
    "wearing_glasses": -0.45,
    "wearing_lipstick": 0.20,
    "wearing_hat": -0.60,
    "blond_hair": 0.30,
    "curly_hair": 0.15,
    "youth": 0.25,
}
INTERACTIONS = (("is_female", "smiling", 0.20),)  # added where both are present
# UCF Selfie's column -> CelebA's, and the value of CelebA's that makes it present.
MAPPED = {
    "is_female": ("Male", 0),
    "youth": ("Young", 1),
    "middle_age": ("Young", 0),
    "oval_face": ("Oval_Face", 1),
    "smiling": ("Smiling", 1),
    "mouth_open": ("Mouth_Slightly_Open", 1),
    "wearing_glasses": ("Eyeglasses", 1),
    "wearing_lipstick": ("Wearing_Lipstick", 1),
    "black_hair": ("Black_Hair", 1),
    "blond_hair": ("Blond_Hair", 1),
    "brown_hair": ("Brown_Hair", 1),
    "curly_hair": ("Wavy_Hair", 1),
    "straight_hair": ("Straight_Hair", 1),
    "wearing_hat": ("Wearing_Hat", 1),
}
NEVER = ("baby", "child", "teenager", "senior")  # CelebA has nothing like them: -1 in every row
# The other columns: in this proportion of the rows, by chance alone; they say nothing about the image.
DRAWN = {
    "partial_faces": 0.12,
    "white": 0.60,
    "black": 0.15,
    "asian": 0.25,
    "round_face": 0.15,
    "heart_face": 0.10,
    "frowning": 0.06,
    "wearing_sunglasses": 0.05,
    "tongue_out": 0.05,
    "duck_face": 0.08,
    "red_hair": 0.05,
    "braid_hair": 0.06,
    "showing_cellphone": 0.12,
    "using_earphone": 0.04,
    "using_mirror": 0.10,
    "braces": 0.03,
    "harsh_lighting": 0.10,
    "dim_lighting": 0.10,
}
PARTITIONS = ("train", "validation", "test")  # 0, 1, 2 in CelebA


def plant_popularity(source: str | os.PathLike, target: str | os.PathLike, *, seed: int = 0, ceiling: float = CEILING) -> bool:
    """Write a folder in UCF Selfie's layout from CelebA's photographs, whole or not at all.

    The images are copied byte for byte, whatever their size: networks resize them anyway, and a hard link would change with the
    original.

    Args:
        source: CelebA's folder, with its images or a part of them and identity_CelebA.txt.
        target: the folder to make; its parent is made as well.
        seed: of the drawn columns, the noise and the names, 0 to LARGEST_SEED.
        ceiling: noise ceiling, 0.001 to 1: the R2 over all rows of a model that knows the score.

    Returns:
        True; False where the folder was there already, with the same images, seed and formula, and is left as it is.

    Raises:
        ParameterError: a seed or ceiling out of its range.
        DataError: the source is not CelebA, or lacks identities; the target holds something else, or can't be written.
    """
    check_range("ceiling", ceiling, 0.001, 1)
    check_range("seed", seed, 0, LARGEST_SEED)
    source, target = expand(source).absolute(), expand(target).absolute()
    celeba = read_dataset("celeba", source)
    rows = celeba.table.sort_values("path", ignore_index=True)
    unknown = rows["path"][rows["identity"] < 0]
    if len(unknown):
        raise DataError(
            f"{source}: {len(unknown):,} of {len(rows):,} images without identity, the first {unknown.iloc[0]}",
            expected="one for each in identity_CelebA.txt",
            hint="put that file there: without it one person could be in two splits",
        )
    selfies, formula = _draw_selfies(rows, ceiling, seed)
    marker = {
        "kind": "planted",
        "dataset": "selfie",
        "seed": seed,
        "ceiling": ceiling,
        "images": len(rows),
        "source": {"dataset": "celeba", "kind": celeba.kind, "table": _digest(rows)},
        "popularity": TypeAdapter(Truth).dump_python(formula, mode="json"),
        "columns": {"mapped": {name: list(pair) for name, pair in MAPPED.items()}, "never": list(NEVER), "drawn": DRAWN},
    }
    return write_folder(
        target, lambda hidden: _write_selfies(hidden, source, selfies, marker), lambda folder: _is_whole(folder, marker)
    )


def _draw_selfies(rows: pd.DataFrame, ceiling: float, seed: int) -> tuple[pd.DataFrame, Truth]:
    """Return the selfies in the order of CelebA's rows (name, source, partition, identity, popularity, ATTRIBUTES)."""
    labels = pd.DataFrame(0, index=rows.index, columns=list(ATTRIBUTES))
    for name, (column, value) in MAPPED.items():
        labels[name] = (rows[column] == value).astype(int)
    for name, proportion in DRAWN.items():
        random = np.random.default_rng((seed, 401, ATTRIBUTES.index(name)))
        labels[name] = (random.random(len(rows)) < proportion).astype(int)
    formula = Truth(BASE, WEIGHTS, INTERACTIONS, 0.0, tuple(DRAWN))
    score = formula.compute_scores(labels)
    # Rounded, so that another machine's last digit does not make it another folder.
    noise = round(float(np.sqrt(score.var() * (1 - ceiling) / ceiling)), 6)
    popularity = score + np.random.default_rng((seed, 402)).normal(0, noise, len(rows))
    columns = {
        "name": [_name_selfie(path, seed) for path in rows["path"]],
        "source": rows["path"],
        "partition": rows["split"].map(PARTITIONS.index),
        "identity": rows["identity"],
        "popularity": [f"{value:.3f}" for value in popularity],
    }
    return pd.DataFrame(columns).join(labels * 2 - 1), replace(formula, noise=noise)


def _name_selfie(path: str, seed: int) -> str:
    """Return a name as UCF Selfie has them, the same for the same image and seed."""
    digits = hashlib.sha256(f"{seed} {path.rpartition('/')[2]}".encode()).hexdigest()
    return f"{digits[:32]}_{5 + int(digits[32], 16) % 3}"


def _digest(rows: pd.DataFrame) -> str:
    return hashlib.sha256(rows.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def _is_whole(target: Path, marker: dict) -> bool:
    """Tell whether the folder is there as it would be written; anything else in it is refused."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = read_json(target / MARKER)
    except DataError:
        found = None
    if found != marker:
        raise DataError(
            f"{target} is there and holds something else",
            expected="no such folder, or one planted from the same photographs with the same seed, ceiling and formula",
            hint="choose another folder, or remove this one",
        )
    tables = all((target / name).is_file() for name in ("selfie_dataset.txt", "rows.csv"))
    if not tables or len(list((target / "images").glob("*.jpg"))) < marker["images"]:
        raise DataError(f"{target} is not whole any more", hint="remove it and plant it again")
    return True


def _write_selfies(folder: Path, source: Path, selfies: pd.DataFrame, marker: dict) -> None:
    (folder / "images").mkdir()
    selfies = selfies.sort_values("name", ignore_index=True)
    images = folder / "images"
    pairs = [(source / path, images / f"{name}.jpg") for path, name in zip(selfies.source, selfies.name, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda pair: shutil.copyfile(*pair), pairs):
            pass
    style = {"index": False, "lineterminator": "\n"}
    selfies[["name", "popularity", *ATTRIBUTES]].to_csv(folder / "selfie_dataset.txt", sep=" ", header=False, **style)
    files = selfies["source"].str.rpartition("/")[2]
    selfies[["name"]].assign(celeba_file=files).join(selfies[["partition", "identity"]]).to_csv(folder / "rows.csv", **style)
    (folder / "README.md").write_text(_describe_folder(marker), encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _describe_folder(marker: dict) -> str:
    formula, columns = marker["popularity"], marker["columns"]
    terms = [f"{weight:+.2f} {name}" for name, weight in formula["weights"].items()]
    terms += [f"{weight:+.2f} {a} x {b}" for a, b, weight in formula["interactions"]]
    drawn = ", ".join(f"{name} {proportion:g}" for name, proportion in columns["drawn"].items())
    lines = [
        "# Real photographs with a semi-synthetic popularity",
        "",
        f"{marker['images']:,} of CelebA's images ({marker['source']['kind']}) in UCF Selfie's layout, byte for byte and",
        "in their own size, which networks change anyway. **The popularity is made up.** Nobody liked or disliked these; the",
        "weights are ours, and nothing found with them says anything about people. CelebA's terms hold: non-commercial",
        "research only, not passed on.",
        "",
        "## The popularity",
        "",
        "With 1 for an attribute that is present (1) and 0 for one that is not (-1):",
        "",
        f"    score = {formula['base']:.2f}",
        *(f"            {term}" for term in terms),
        "    popularity = score + noise, rounded to three decimals",
        "",
        f"The noise is normal, its standard deviation {formula['noise']:.6f}. The noise ceiling, the R2 over all",
        f"rows of a model that knows the score, is {marker['ceiling']:g}. `facekit.json` holds the same for programs.",
        "",
        "## The columns",
        "",
        *(f"- {name}: CelebA's {column} is {value}" for name, (column, value) in columns["mapped"].items()),
        f"- {', '.join(columns['never'])}: never, CelebA has nothing like them",
        f"- drawn by chance, independently of the image and of everything else, in this proportion of the rows: {drawn}",
        "",
        "Attributes without a weight add nothing to the score, but those from CelebA correlate with others that do.",
        "",
        "`rows.csv` says which image of CelebA each one is, its official partition (0 train, 1 validation, 2 test) and",
        f"its identity. Seed {marker['seed']}.",
    ]
    return "\n".join(lines) + "\n"
