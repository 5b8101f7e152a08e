"""Batches: keyed by (seed, epoch, row, copy), whoever fetches them."""

import sys

import keras
import numpy as np
import psutil
import pytest

from facekit.data.augment import ImageDataGenerator
from facekit.data.batches import Batches, digest
from facekit.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
ROWS = np.arange(2, 10)
TURN = ImageDataGenerator(rotation_range=30, horizontal_flip=True)


TARGETS = np.arange(10)


def make_batches(inputs=IMAGES, targets=TARGETS, rows=ROWS, batch_size=3, **settings):
    return Batches(inputs, targets, rows, batch_size=batch_size, **settings)


def test_without_a_seed_rows_keep_their_order_and_images():
    read = [make_batches()[index] for index in range(3)]
    assert [rows.tolist() for _, rows in read] == [[2, 3], [4, 5, 6], [7, 8, 9]]  # as large as each other, but for one row
    np.testing.assert_array_equal(read[2][0], IMAGES[7:10])
    assert {array.dtype for batch in read for array in batch} == {np.dtype("float32")}


def test_every_epoch_shows_every_row_once_in_another_order():
    orders = [make_batches(seed=0).draw_order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


class Recorder(keras.Model):
    """Stores the batches that it is trained on."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.scale = self.add_weight(name="scale")

    def call(self, images):
        return keras.ops.mean(images, axis=(1, 2, 3)) * self.scale

    def train_step(self, data):
        self.seen.append([values.numpy() for values in data])
        return super().train_step(data)


@pytest.mark.parametrize(("workers", "start"), [(0, 0), (1, 0), (2, 0), (2, 1), (4, 0)])
def test_number_of_workers_and_a_late_start_change_nothing_in_fit(workers, start):
    batches, model = make_batches(augment=TURN, seed=5), Recorder()
    batches.workers = workers
    set_epoch = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: setattr(batches, "epoch", epoch))
    model.compile("sgd", "mse", run_eagerly=True)
    settings = {"initial_epoch": start, "callbacks": [set_epoch], "shuffle": False, "verbose": 0}
    model.fit(batches, validation_data=make_batches(), epochs=3, **settings)
    assert len(model.seen) == 3 * (3 - start)
    for number, (images, rows) in enumerate(model.seen):
        batches.epoch = start + number // 3
        expected_images, expected_rows = batches[number % 3]
        assert rows.tolist() == expected_rows.tolist()
        np.testing.assert_array_equal(images, expected_images)


def test_plain_fit_shuffles_every_epoch_anew():
    batches, model = make_batches(seed=5), Recorder()
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(batches, epochs=3, verbose=0)
    epochs = [np.concatenate([rows for _, rows in model.seen[first : first + 3]]).tolist() for first in (0, 3, 6)]
    assert all(sorted(rows) == ROWS.tolist() for rows in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_augmented_image_does_not_depend_on_its_batch():
    small, large = (make_batches(targets=None, augment=TURN, seed=5, batch_size=size) for size in (2, 8))
    pairs = np.concatenate([small[index][0] for index in range(4)])
    np.testing.assert_array_equal(pairs, large[0][0])


def test_copies_of_a_row_and_epochs_are_augmented_differently():
    batches = make_batches(rows=[4, 4], augment=TURN, seed=5)
    first, second = batches[0][0]
    assert np.abs(first - second).max() > 5
    batches.epoch = 1
    assert all(np.abs(image - other).max() > 5 for image in batches[0][0] for other in (first, second))


def test_a_dict_of_inputs_targets_and_weights_stays_with_its_row():
    inputs = {"images": IMAGES, "auxiliary": np.arange(10)[:, None] * [1, 2]}
    targets, weights = {"row": np.arange(10), "other": -np.arange(10)}, {"row": np.arange(10) / 10, "other": np.ones(10)}
    batches = make_batches(inputs, targets, sample_weights=weights, augment=TURN, seed=3)
    x, y, counts = batches[0]
    expected = ROWS[batches.draw_order(0)[:3]].tolist()
    assert y["row"].tolist() == expected and y["other"].tolist() == [-row for row in expected]
    np.testing.assert_allclose(counts["row"], np.array(expected) / 10)
    assert x["auxiliary"].tolist() == [[row, 2 * row] for row in expected]
    assert np.abs(x["images"] - IMAGES[expected]).max() > 5


def test_features_are_read_like_images_and_targets_may_be_missing():
    features = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    batches = Batches(features, batch_size=4)
    assert [len(batches[index]) for index in range(3)] == [1, 1, 1]
    np.testing.assert_array_equal(np.concatenate([batches[index][0] for index in range(3)]), features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": np.zeros(3)}, "targets: 3 rows; expected 10"),
        ({"targets": {"age": np.zeros(3)}}, "targets age: 3 rows; expected 10"),
        ({"sample_weights": np.ones(3)}, "sample_weights: 3 rows; expected 10"),
        ({"inputs": {"images": IMAGES, "auxiliary": np.ones((9, 2))}}, "inputs auxiliary: 9 rows; expected 10"),
        ({"augment": TURN}, "augmentation without a seed"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        make_batches(**settings)


def test_the_fingerprint_covers_all_that_a_batch_depends_on():
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    targets = np.arange(10)
    targets[5] = 0
    settings = [
        {},
        {"inputs": changed},
        {"targets": targets},
        {"rows": ROWS[::-1]},
        {"batch_size": 4},
        {"seed": 1},
        {"seed": 2},
        {"seed": 1, "augment": TURN},
        {"seed": 1, "augment": ImageDataGenerator(rotation_range=31, horizontal_flip=True)},
        {"sample_weights": np.ones(10)},
        {"sample_weights": {"age": np.ones(10)}},
    ]
    fingerprints = [make_batches(**each).fingerprint() for each in settings]
    assert len(set(fingerprints)) == len(settings)
    assert fingerprints == [make_batches(**each).fingerprint() for each in settings]
    other_split = np.arange(10)
    other_split[0] = 7
    assert make_batches(targets=other_split).fingerprint() == fingerprints[0]


def test_a_changed_array_has_another_digest_and_a_fixed_one_is_read_once(tmp_path):
    array = np.zeros((4, 2), np.uint8)
    before = digest(array)
    array[3, 1] = 1
    assert digest(array) != before
    np.save(tmp_path / "images.npy", array)
    fixed = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert digest(fixed) == digest(array) == digest(fixed)
    assert digest(array.reshape(2, 4)) != digest(array)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
def test_images_that_were_read_do_not_stay_in_memory(tmp_path):
    np.save(tmp_path / "images.npy", np.ones((640, 256, 256, 3), np.uint8))  # 126 MB
    batches = make_batches(np.load(tmp_path / "images.npy", mmap_mode="r"), None, None, 32)
    before = psutil.Process().memory_info().shared  # pages of files
    assert all(batches[index][0].min() == 1 for index in range(len(batches)))
    assert psutil.Process().memory_info().shared - before < 20e6
    batches.fingerprint()
    assert psutil.Process().memory_info().shared - before < 20e6
