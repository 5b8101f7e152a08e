"""Trains the small MobileNet that profile `sample` transfers from, on synthetic faces: `make sample-weights`.

Writes the backbone, its SHA256SUMS, and made.json with how it was made and what it reached.
"""

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.paths import hash_file, write_text
from facekit.progress import track
from facekit.synthetic import people
from facekit.synthetic.faces import draw_face
from facekit.synthetic.populations import describe_face

ALPHA = 0.25
SIZE = (96, 96)
# A trait that fewer or more faces show teaches the network nothing but its own rarity.
PREVALENCE = (0.03, 0.97)


def draw_faces(n: int, size: int, *, seed: int, start: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw faces of all datasets' people, with the traits that each shows.

    An image depends on (seed, its number) alone: parts drawn one by one with `start` are the parts of the whole.

    Args:
        n: number of images.
        size: height and width in pixels; takes n * size * size * 3 bytes.
        seed: of the people.
        start: number of the first image.

    Returns:
        uint8 (n, size, size, 3) RGB, and a table of n rows with a column of 0 and 1 (uint8) for each trait.
    """
    images = np.empty((n, size, size, 3), np.uint8)

    def draw(row: int) -> dict[str, bool]:
        face = people.draw_anyone(np.random.default_rng((seed, 105, start + row)))
        images[row] = draw_face(face, size, size)
        return describe_face(face)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        traits = list(track(pool.map(draw, range(n)), "drawing faces", n))
    return images, pd.DataFrame(traits).astype(np.uint8)


def train_sample_backbone(target: Path, *, count: int, epochs: int, seed: int) -> dict:
    """Train on synthetic faces and every trait that can be seen in them, and write the backbone alone.

    Args:
        target: the .weights.h5 file; SHA256SUMS and made.json are written into its folder.
        count: number of faces; every tenth validates.
        epochs: passes over them.
        seed: of the faces, the weights and the order.

    Returns:
        What made.json holds: the traits, and their mean validation accuracy with its majority-class baseline.
    """
    import keras
    from keras import layers

    from facekit.data.augment import ImageDataGenerator
    from facekit.data.batches import Batches
    from facekit.models import backbones, training

    training.set_up(seed=seed)
    images, traits = draw_faces(count, SIZE[0], seed=seed)
    traits = traits.loc[:, traits.mean().between(*PREVALENCE)]
    targets = traits.to_numpy(np.float32)
    validates = np.arange(count) % 10 == 9
    augment = ImageDataGenerator(rotation_range=10, zoom_range=0.1, horizontal_flip=True)
    train = Batches(images, targets, np.flatnonzero(~validates), augment=augment, seed=seed)
    validation = Batches(images, targets, np.flatnonzero(validates))

    base = backbones.build("MobileNet", SIZE, alpha=ALPHA)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(base.output))
    model = keras.Model(base.input, layers.Dense(traits.shape[1], "sigmoid", name="traits")(x))
    model.compile(training.adamw(0.003, epochs, train), "binary_crossentropy", metrics=["binary_accuracy"])
    fit = training.fit(model, train, validation, name="sample backbone", epochs=epochs)

    true = targets[validates]
    made = {
        "command": f"make sample-weights COUNT={count} EPOCHS={epochs} SEED={seed}",
        "traits": list(traits.columns),
        "validation": {
            "faces": len(true),
            "mean_accuracy": round(float(((fit.predict(validation) > 0.5) == true).mean()), 4),
            "majority": round(float(np.maximum(true.mean(0), 1 - true.mean(0)).mean()), 4),
        },
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    # The fit's model is another object where the fit was read from the cache.
    trained = keras.Model(fit.model.input, fit.model.get_layer(base.layers[-1].name).output)
    trained.save_weights(target)
    write_text(target.parent / "SHA256SUMS", f"{hash_file(target)}  {target.name}\n")
    write_text(target.parent / "made.json", json.dumps(made, indent=2) + "\n")
    return made


def main() -> None:
    """Read the command line of `python -m facekit.synthetic.pretrain`."""
    from facekit.models.weight_files import SAMPLE_FILE

    parser = argparse.ArgumentParser(description="Train the small MobileNet of profile sample on synthetic faces.")
    parser.add_argument("--target", type=Path, default=SAMPLE_FILE)
    parser.add_argument("--count", type=int, default=12000, help="number of faces")
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    made = train_sample_backbone(arguments.target, count=arguments.count, epochs=arguments.epochs, seed=arguments.seed)
    print(json.dumps(made["validation"]))


if __name__ == "__main__":
    main()
