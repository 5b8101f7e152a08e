"""Frozen features: computed once, kept under a key of all that they hang on."""

import numpy as np
import pytest

from facekit import features
from facekit.backbones import build_backbone, preprocess_pictures

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


def preprocess(pictures):
    return preprocess_pictures("MobileNet", pictures)


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("MobileNet", (32, 32), alpha=0.25)


def test_features_are_the_mean_of_the_last_map(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    found = features.extract_features(backbone, PICTURES, preprocess, key={"weights": "a"}, batch_size=2)
    expected = backbone.predict_on_batch(preprocess(PICTURES)).mean(axis=(1, 2))
    assert found.shape == (5, 256)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_key_reads_and_another_key_computes(backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    first = features.extract_features(backbone, PICTURES, preprocess, key={"weights": "a"})
    with monkeypatch.context() as patch:
        patch.setattr(features.keras.Model, "predict_on_batch", lambda *_: pytest.fail("computed again"))
        again = features.extract_features(backbone, PICTURES, preprocess, key={"weights": "a"})
    np.testing.assert_array_equal(first, again)
    features.extract_features(backbone, PICTURES, preprocess, key={"weights": "b"})
    features.extract_features(backbone, PICTURES[:4], preprocess, key={"weights": "a"})
    assert len(list((tmp_path / "features").glob("*.npy"))) == 3


def test_clusters_find_what_looks_alike():
    random = np.random.default_rng(0)
    people = np.repeat(np.arange(3), 10)
    rows = random.normal(size=(3, 8))[people] + random.normal(0, 0.01, (30, 8))
    found = features.cluster_appearance(rows, 3, seed=0)
    assert len(set(zip(people, found, strict=True))) == 3 == len(set(found))
