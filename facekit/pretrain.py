"""Trains the small MobileNet that profile `sample` transfers from, on faces that facekit itself draws.

The trap this prevents: a sample that works only after a download, or starts from weights that nobody can make again.
`make sample-weights` writes facekit/weights/: the backbone, its SHA256SUMS, and made.json with what it reached.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from facekit import backbones, models, splits, training
from facekit.augment import ImageDataGenerator
from facekit.batches import Batches
from facekit.synthetic import draw_faces
from facekit.weights import hash_file

ALPHA = 0.25
SIZE = (96, 96)
# A trait that fewer or more faces show teaches the network nothing but its own rarity.
PREVALENCE = (0.03, 0.97)


def train_sample_backbone(target: Path, *, count: int, epochs: int, seed: int) -> dict:
    """Train on drawn faces and every trait that can be seen in them, and write the backbone alone.

    Args:
        target: the .weights.h5 file; SHA256SUMS and made.json are written beside it.
        count: faces drawn.
        epochs: passes over them.
        seed: of the faces, the split, the weights and the order.

    Returns:
        What made.json holds: settings, and the validation rows' mean accuracy over the traits beside the majority's.
    """
    training.configure_device(seed=seed)
    pictures, traits = draw_faces(count, SIZE[0], seed=seed)
    traits = traits.loc[:, traits.mean().between(*PREVALENCE)].astype(np.float32)
    table = pd.DataFrame({"split": "train", "group": np.arange(count), "all": "all"})
    table = splits.split_validation(table, "all", 0.1, seed=seed)
    head = models.Head("traits", "multi-label", tuple(traits.columns))
    spec = models.ModelSpec("MobileNet", SIZE, (head,), alpha=ALPHA, dense=(models.Dense(0, dropout=0.2),))
    model = models.build_model(spec)

    def select(split, **settings):
        rows = np.flatnonzero(table["split"] == split)
        targets = {"traits": traits.to_numpy()[rows]}
        return Batches(pictures, rows, targets, lambda x: backbones.preprocess_pictures("MobileNet", x), **settings)

    augment = ImageDataGenerator(rotation_range=10, zoom_range=0.1, horizontal_flip=True)
    fit = training.FitSettings(epochs, 0.003, "adamw", "cosine", weight_decay=0.01, seed=seed)
    validation = select("validation")
    with tempfile.TemporaryDirectory() as folder:
        training.fit_model(model, spec.heads, select("train", augment=augment, seed=seed), validation, fit, folder=Path(folder))
        true = validation.targets["traits"]
        right = (training.predict_heads(model, validation)["traits"] > 0.5) == true
        made = {
            "command": f"make sample-weights COUNT={count} EPOCHS={epochs} SEED={seed}",
            "traits": list(traits.columns),
            "validation": {
                "faces": len(true),
                "mean_accuracy": round(float(right.mean()), 4),
                "majority": round(float(np.maximum(true.mean(0), 1 - true.mean(0)).mean()), 4),
            },
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        models.save_model(model, spec, Path(folder) / "model", provenance=made, backbone_only=True)
        (Path(folder) / "model" / models.WEIGHTS_NAME).replace(target)
    (target.parent / "SHA256SUMS").write_text(f"{hash_file(target)}  {target.name}\n")
    (target.parent / "made.json").write_text(json.dumps(made, indent=2) + "\n")
    return made


def main() -> None:
    """Read the command line of `python -m facekit.pretrain`."""
    parser = argparse.ArgumentParser(description="Train the small MobileNet of profile sample on synthetic faces.")
    parser.add_argument("--target", type=Path, default=backbones.SAMPLE_FILE)
    parser.add_argument("--count", type=int, default=12000, help="faces to draw")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    made = train_sample_backbone(arguments.target, count=arguments.count, epochs=arguments.epochs, seed=arguments.seed)
    print(json.dumps(made["validation"]))


if __name__ == "__main__":
    main()
