"""Real photographs with a planted popularity: CelebA's pictures in UCF Selfie's layout, and a score that we made up.

The trap this prevents: a result on real faces that nobody can judge. Here the truth is known: which attributes the score
hangs on, by how much, and how much of it is noise that no model can explain. The folder says planted wherever it goes, so
that no figure from it is taken for one about people: the weights are ours and mean nothing.
"""

import hashlib
import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.datasets import read_dataset
from facekit.datasets.celeba import UNKNOWN
from facekit.datasets.selfie import ATTRIBUTES
from facekit.errors import DataError, ParameterError
from facekit.manifests import load_manifest
from facekit.synthetic import POPULARITY_BASE, POPULARITY_EFFECTS, POPULARITY_NOISE
from facekit.tables import has_every_picture, read_kind

CEILING = 0.5
BASE = 4.2
# Spaced so that their order can be told, most of them visible at 64 pixels. An open mouth goes with a smile and yet counts
# against it: a chi-square says the one, a regression the other.
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
INTERACTIONS = (("is_female", "smiling", 0.20),)  # added where both are ticked
# UCF Selfie's column -> CelebA's, and the value of CelebA's that ticks it.
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
NEVER = ("baby", "child", "teenager", "senior")  # CelebA does not tell them: -1 in every row
# The other columns, with the share of rows in which chance alone ticks them; they say nothing about the picture.
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
# Of the drawn faces these hang on no other trait, and popularity not on them; the rest goes along with something.
_SYNTHETIC_DRAWN = ("oval_face", "round_face", "heart_face", "wearing_hat")


@dataclass(frozen=True)
class Truth:
    """How the popularity of a folder came about: a score that hangs on attributes, plus normal noise.

    Attributes:
        base: the score without any of the attributes.
        weights: attribute -> what it adds.
        interactions: (attribute, attribute, what is added where both are ticked).
        noise: standard deviation of the noise.
        drawn: columns that were drawn independently of everything and add nothing.
    """

    base: float
    weights: dict[str, float]
    interactions: tuple[tuple[str, str, float], ...]
    noise: float
    drawn: tuple[str, ...]

    def compute_scores(self, table: pd.DataFrame) -> np.ndarray:
        """Return the noiseless popularity of each row, float (n,): what an oracle that knows the formula would say.

        Args:
            table: a selfie table; an attribute that is missing counts as not ticked. On drawn faces an attribute that the
                annotators left open is one too, so that the oracle errs there a little.
        """
        ticks = table[list(ATTRIBUTES)].fillna(0)
        score = self.base + sum(weight * ticks[name] for name, weight in self.weights.items())
        return np.asarray(score + sum(weight * ticks[a] * ticks[b] for a, b, weight in self.interactions), float)

    def compute_ceiling(self, table: pd.DataFrame) -> float:
        """Return the R2 that the noise leaves on rows like these to a model that knows the score, 0 to 1."""
        variance = float(np.var(self.compute_scores(table)))
        return variance / (variance + self.noise**2)

    def compute_effects(self, table: pd.DataFrame) -> pd.Series:
        """Return what each of the 36 attributes adds to the score on average over the rows, 0 for those without weight."""
        effects = pd.Series(self.weights).reindex(ATTRIBUTES, fill_value=0.0)
        for a, b, weight in self.interactions:
            effects[a] += weight * table[b].mean()
            effects[b] += weight * table[a].mean()
        return effects

    def to_dict(self) -> dict:
        """Return the formula as facekit.json and metrics.json hold it."""
        return json.loads(json.dumps(asdict(self)))


def read_truth(root: Path) -> Truth | None:
    """Return how the popularity in a folder of selfies was made, or None for the real one, which nobody knows.

    Args:
        root: a folder that `facekit data plant` wrote, or the drawn sample.

    Raises:
        DataError: the folder says planted, and does not say what.
    """
    kind = read_kind(root)
    if kind == "photographs":
        return None
    if kind == "synthetic":
        return Truth(POPULARITY_BASE, dict(POPULARITY_EFFECTS), (), POPULARITY_NOISE, _SYNTHETIC_DRAWN)
    path = root / "facekit.json"
    try:
        formula = json.loads(path.read_text(encoding="utf-8"))["popularity"]
        interactions = tuple((a, b, float(weight)) for a, b, weight in formula["interactions"])
        truth = Truth(**formula | {"interactions": interactions, "drawn": tuple(formula["drawn"])})
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no formula of the popularity in it", mend="plant the folder again") from error
    unknown = {*truth.weights, *truth.drawn, *(name for pair in interactions for name in pair[:2])} - set(ATTRIBUTES)
    if unknown:
        raise DataError(f"{path}: {sorted(unknown)[0]!r} is no attribute", mend="plant the folder again")
    return truth


def plant_popularity(source: Path, target: Path, *, seed: int = 0, ceiling: float = CEILING) -> bool:
    """Write a folder in UCF Selfie's layout from CelebA's photographs, whole or not at all.

    The pictures are copied byte for byte, whatever their size: what a network sees is resized anyway, and a hard link would
    change with the original.

    Args:
        source: CelebA's folder, with its pictures or a part of them and identity_CelebA.txt.
        target: the folder to make; its parent is made as well.
        seed: of the drawn columns, the noise and the names.
        ceiling: R2, above 0 and at most 1, that the noise leaves to who knows the score, over all rows.

    Returns:
        True; False where the folder was there already, with the same photographs, seed and formula, and is left as it is.

    Raises:
        ParameterError: a ceiling that is none.
        DataError: the source is not CelebA, or lacks identities; the target holds something else, or cannot be written.
    """
    if not 0 < ceiling <= 1:
        raise ParameterError(f"ceiling {ceiling}", expected="above 0 and at most 1")
    source, target = Path(source), Path(target).expanduser().absolute()
    celeba = read_dataset("celeba", source)
    rows = celeba.table.sort_values("path", ignore_index=True)
    nobody = rows["identity"] == UNKNOWN
    if nobody.any():
        raise DataError(
            f"{source}: {nobody.sum():,} of {len(rows):,} pictures without identity, the first {rows['path'][nobody].iloc[0]}",
            expected="one for each in identity_CelebA.txt",
            mend="put that file there: without it one person could stand in two splits",
        )
    selfies, truth = _draw_selfies(rows, ceiling, seed)
    marker = {
        "kind": "planted",
        "dataset": "selfie",
        "seed": seed,
        "ceiling": ceiling,
        "pictures": len(rows),
        "source": {"dataset": "celeba", "kind": celeba.kind, "table": _digest(rows)},
        "popularity": truth.to_dict(),
        "columns": {"mapped": {name: list(pair) for name, pair in MAPPED.items()}, "never": list(NEVER), "drawn": DRAWN},
    }
    if _is_there(target, json.loads(json.dumps(marker))):
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            _write_folder(hidden, source, selfies, marker)
            hidden.chmod(0o755)
            hidden.rename(target)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{target} could not be written: {error}", mend="nothing of it was left") from error
    return True


def _draw_selfies(rows: pd.DataFrame, ceiling: float, seed: int) -> tuple[pd.DataFrame, Truth]:
    """Return the selfies in the order of CelebA's rows (name, source, partition, identity, popularity, ATTRIBUTES)."""
    ticks = pd.DataFrame(0, index=rows.index, columns=list(ATTRIBUTES))
    for name, (column, value) in MAPPED.items():
        ticks[name] = (rows[column] == value).astype(int)
    for name, share in DRAWN.items():
        random = np.random.default_rng((seed, 401, ATTRIBUTES.index(name)))
        ticks[name] = (random.random(len(rows)) < share).astype(int)
    truth = Truth(BASE, WEIGHTS, INTERACTIONS, 0.0, tuple(DRAWN))
    score = truth.compute_scores(ticks)
    # Rounded, so that another machine's last digit does not make it another folder.
    noise = round(float(np.sqrt(score.var() * (1 - ceiling) / ceiling)), 6)
    truth = Truth(BASE, WEIGHTS, INTERACTIONS, noise, tuple(DRAWN))
    popularity = score + np.random.default_rng((seed, 402)).normal(0, noise, len(rows))
    codes = {split: code for code, split in load_manifest("celeba").table("partition").columns["partition"].values.items()}
    made = pd.DataFrame(
        {
            "name": [_name_selfie(path, seed) for path in rows["path"]],
            "source": rows["path"],
            "partition": rows["split"].map(codes),
            "identity": rows["identity"],
            "popularity": [f"{value:.3f}" for value in popularity],
        }
    )
    return made.join(ticks * 2 - 1), truth


def _name_selfie(path: str, seed: int) -> str:
    """Return a name as UCF Selfie has them, the same for the same photograph and seed."""
    digits = hashlib.sha256(f"{seed} {path.rpartition('/')[2]}".encode()).hexdigest()
    return f"{digits[:32]}_{5 + int(digits[32], 16) % 3}"


def _digest(rows: pd.DataFrame) -> str:
    return hashlib.sha256(rows.to_csv(index=False, lineterminator="\n").encode()).hexdigest()


def _is_there(target: Path, marker: dict) -> bool:
    """Tell whether the folder is there as it would be written; an empty one is removed, anything else refused."""
    if not target.exists():
        return False
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
        return False
    try:
        found = json.loads((target / "facekit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if found != marker:
        raise DataError(
            f"{target} is there and holds something else",
            expected="no such folder, or one planted from the same photographs with the same seed, ceiling and formula",
            mend="choose another folder, or remove this one",
        )
    if not has_every_picture("selfie", target):
        raise DataError(f"{target} is not whole any more", mend="remove it and plant it again")
    return True


def _write_folder(folder: Path, source: Path, selfies: pd.DataFrame, marker: dict) -> None:
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
    (folder / "facekit.json").write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")


def _describe_folder(marker: dict) -> str:
    formula, columns = marker["popularity"], marker["columns"]
    terms = [f"{weight:+.2f} {name}" for name, weight in formula["weights"].items()]
    terms += [f"{weight:+.2f} {a} x {b}" for a, b, weight in formula["interactions"]]
    drawn = ", ".join(f"{name} {share:g}" for name, share in columns["drawn"].items())
    lines = [
        "# Real photographs with a planted popularity",
        "",
        f"{marker['pictures']:,} of CelebA's pictures ({marker['source']['kind']}) in UCF Selfie's layout, byte for byte and",
        "in their own size, which networks change anyway. **The popularity is made up.** Nobody liked or disliked these; the",
        "weights are ours, and nothing found with them says anything about people. CelebA's terms hold: non-commercial",
        "research only, not passed on.",
        "",
        "## The popularity",
        "",
        "With 1 for an attribute that is ticked (1) and 0 for one that is not (-1):",
        "",
        f"    score = {formula['base']:.2f}",
        *(f"            {term}" for term in terms),
        "    popularity = score + noise, rounded to three decimals",
        "",
        f"The noise is normal, its standard deviation {formula['noise']:.6f}. It leaves an R2 of {marker['ceiling']:g} over",
        "all rows to who knows the score. `facekit.json` holds the same for programs.",
        "",
        "## The columns",
        "",
        *(f"- {name}: CelebA's {column} is {value}" for name, (column, value) in columns["mapped"].items()),
        f"- {', '.join(columns['never'])}: never, CelebA does not tell them",
        f"- drawn by chance, independently of the picture and of everything else, in this share of the rows: {drawn}",
        "",
        "Attributes without a weight add nothing to the score, but those from CelebA go along with others that do.",
        "",
        "`rows.csv` says which photograph of CelebA each picture is, its official partition (0 train, 1 validation, 2 test)",
        f"and its identity. Seed {marker['seed']}.",
    ]
    return "\n".join(lines) + "\n"
