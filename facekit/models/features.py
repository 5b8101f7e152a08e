"""Features of a frozen backbone: computed once for all images, and kept on disk."""

import hashlib
import json

import keras
import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from facekit import cluster
from facekit.data.batches import Batches, digest
from facekit.models.training import predict
from facekit.paths import build_key, cache_folder, read_cached

PART = 256 * 64  # images of one unit of work, whose features are one file: what is finished is not computed again


def extract(base: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return each image's global average of the last feature map, read-only float32 (n, channels).

    Cached under a name made of layers, weights and images, so that features of other weights or images are never read.

    Args:
        base: of backbones.build, with its weights loaded.
        images: uint8 RGB, shape (n, height, width, 3); may be a memory map.
    """
    weights = hashlib.sha256("".join(digest(np.atleast_1d(weight.numpy())) for weight in base.weights).encode()).hexdigest()
    layers = [item["config"] for item in json.loads(base.to_json())["config"]["layers"]]
    path = cache_folder("features") / f"{build_key(layers=layers, weights=weights, images=digest(images))}.npy"
    with FileLock(cache_folder("locks") / f"features-{path.stem}.lock"):
        if read_cached(path, lambda path: open_memmap(path, mode="r")) is None:
            model = keras.Model(base.inputs[0], keras.layers.GlobalAveragePooling2D(dtype="float32")(base.outputs[0]))
            parts = {start: path.with_name(f"{path.stem}-{start}.npy") for start in range(0, len(images), PART)}
            jobs = {part.name: (model, images, start, part) for start, part in parts.items() if not part.exists()}
            if cluster.is_used():
                cluster.run_all(_extract_part, {name: cluster.pack(job) for name, job in jobs.items()}, "features")
            else:
                for name, job in jobs.items():
                    _extract_part(name, job)
            np.save(whole := path.with_suffix(".part.npy"), np.concatenate([np.load(part) for part in parts.values()]))
            whole.replace(path)
            for part in parts.values():
                part.unlink()
    return open_memmap(path, mode="r")


def _extract_part(name: str, job: tuple | bytes) -> None:
    model, images, start, path = cluster.unpack(job) if isinstance(job, bytes) else job
    batches = Batches(images, rows=np.arange(len(images))[start : start + PART], batch_size=64)
    np.save(part := path.with_suffix(".part.npy"), predict(model, batches, name="extracting features"))
    part.replace(path)


def cluster_appearance(features: np.ndarray, clusters: int, *, seed: int) -> np.ndarray:
    """Return cluster numbers (n,) of images that look alike, where nobody wrote down who is who.

    k-means on the first 50 principal components of frozen features (n, channels). A split by these clusters is harder than a
    random one, easier than one by true identity.
    """
    components = PCA(min(50, *features.shape), random_state=seed).fit_transform(features)
    return KMeans(clusters, n_init=3, random_state=seed).fit_predict(components)
