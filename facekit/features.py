"""What a frozen backbone says about every picture, computed once and kept on disk.

The trap this prevents: features of other weights, another preprocessing or other pictures, read from a stale file. The file's
name is made of all three.
"""

from collections.abc import Callable

import keras
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from facekit.folders import build_key, cache_folder


def extract_features(
    backbone: keras.Model,
    pictures: np.ndarray,
    preprocess: Callable[[np.ndarray], np.ndarray],
    *,
    key: dict,
    batch_size: int = 64,
) -> np.ndarray:
    """Average the backbone's last feature map over each picture; read from disk where that was done before.

    Args:
        backbone: without top, as backbones.build_backbone makes it, with its weights loaded.
        pictures: uint8 RGB, shape (n, height, width, 3); may be a memory map.
        preprocess: float pictures in 0..255 -> what the network takes.
        key: what the features hang on, as JSON can hold it: network, weights' sha256, preprocessing, the pictures' digest.
        batch_size: pictures at a time.

    Returns:
        Read-only float32 array of shape (n, channels).
    """
    size = list(pictures.shape)
    path = cache_folder("features") / f"{build_key(**key, size=size)}.npy"
    if not path.exists():
        pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(backbone.output)
        model = keras.Model(backbone.input, pooled)
        part = path.with_suffix(".part")
        features = np.lib.format.open_memmap(part, "w+", np.float32, (len(pictures), model.output.shape[-1]))
        for start in range(0, len(pictures), batch_size):
            batch = preprocess(pictures[start : start + batch_size].astype(np.float32))
            features[start : start + batch_size] = model.predict_on_batch(batch)
        features.flush()
        part.replace(path)
    return np.load(path, mmap_mode="r")


def cluster_appearance(features: np.ndarray, clusters: int, *, seed: int) -> np.ndarray:
    """Group pictures that look alike (the same person in the same place), where nobody wrote down who is who.

    k-means on the first 50 principal components of frozen features. A split by these clusters is harder than a random one,
    easier than one by true identity.

    Args:
        features: shape (n, channels).
        clusters: how many.
        seed: of the starting points.

    Returns:
        Cluster numbers, int array of shape (n,).
    """
    components = PCA(min(50, *features.shape), random_state=seed).fit_transform(features)
    return KMeans(clusters, n_init=3, random_state=seed).fit_predict(components)
