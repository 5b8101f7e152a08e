"""Batches: keyed by (seed, epoch, row), one path for every split."""

import numpy as np
import pytest

from facekit.augment import ImageDataGenerator
from facekit.batches import Batches, encode_classes
from facekit.errors import DataError

PICTURES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)


def make_batches(**changes):
    rows = np.arange(2, 10)
    settings = {"rows": rows, "targets": {"row": rows.astype(np.float32)}, "batch_size": 3}
    return Batches(PICTURES, preprocess=lambda pictures: pictures / 255, **{**settings, **changes})


def collect(batches, **stream):
    return [(pictures.numpy(), targets["row"].numpy().tolist()) for pictures, targets in batches.stream(**stream)]


def test_without_a_seed_rows_keep_their_order_and_pictures():
    read = collect(make_batches())
    assert [rows for _, rows in read] == [[2, 3, 4], [5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(read[2][0], PICTURES[8:10].astype(np.float32) / 255)


def test_every_epoch_shows_every_row_once_in_another_order():
    orders = [make_batches(seed=0).draw_order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("workers", [1, 4])
def test_number_of_workers_and_a_late_start_change_nothing(workers):
    augment = ImageDataGenerator(rotation_range=30, horizontal_flip=True)
    whole = collect(make_batches(augment=augment, seed=5), epochs=3, workers=2)
    late = collect(make_batches(augment=augment, seed=5), epochs=3, first_epoch=1, workers=workers)
    assert len(whole) == 9 and len(late) == 6
    for (pictures, rows), (other_pictures, other_rows) in zip(whole[3:], late, strict=True):
        assert rows == other_rows
        np.testing.assert_array_equal(pictures, other_pictures)


def test_an_augmented_picture_does_not_depend_on_its_batch():
    augment = ImageDataGenerator(rotation_range=30)
    small, large = (make_batches(augment=augment, seed=5, batch_size=size) for size in (2, 8))
    np.testing.assert_array_equal(small.read_pictures(np.array([3]), 1), large.read_pictures(np.arange(8), 1)[3:4])


def test_copies_of_a_row_and_epochs_are_augmented_differently():
    augment = ImageDataGenerator(rotation_range=30)
    rows, copies = np.array([4, 4]), np.array([0, 1])
    batches = make_batches(augment=augment, seed=5, rows=rows, targets={"row": rows}, copies=copies)
    first, second = batches.read_pictures(np.arange(2), 0)
    assert np.abs(first - second).max() > 5
    assert np.abs(batches.read_pictures(np.arange(2), 1)[0] - first).max() > 5


def test_augmentation_without_a_seed_is_refused():
    with pytest.raises(DataError, match="augmentation without a seed"):
        make_batches(augment=ImageDataGenerator())


def test_scaling_within_augmentation_is_refused():
    with pytest.raises(DataError, match="augmentation with rescale; expected this in preprocess"):
        make_batches(augment=ImageDataGenerator(rescale=1 / 255), seed=0)


def test_weights_and_auxiliary_numbers_stay_with_their_sample():
    rows = np.arange(2, 10)
    targets = {"row": rows, "other": rows}
    batches = make_batches(targets=targets, weights={"row": rows / 10}, auxiliary=rows[:, None] * [1, 2], seed=3)
    (inputs, targets, weights), *_ = list(batches.stream())
    expected = rows[batches.draw_order(0)[:3]].tolist()
    assert targets["row"].numpy().tolist() == targets["other"].numpy().tolist() == expected
    np.testing.assert_allclose(weights["row"], np.array(expected) / 10)
    assert weights["other"].numpy().tolist() == [1, 1, 1]
    assert inputs["auxiliary"].numpy().tolist() == [[row, 2 * row] for row in expected]
    np.testing.assert_array_equal(inputs["pictures"], PICTURES[expected].astype(np.float32) / 255)


def test_features_go_the_way_of_pictures():
    features = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    batches = Batches(features, np.arange(8), {"row": np.arange(8)}, lambda values: values, batch_size=3)
    np.testing.assert_array_equal(np.concatenate([values for values, _ in batches.stream()]), features[:8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"row": np.ones(3)}}, "head row: 3 weights; expected one for each of 8 rows"),
        ({"weights": {"age": np.ones(8)}}, "weights for head age; expected one of row"),
        ({"auxiliary": np.ones((9, 2))}, "input auxiliary: 9 values; expected one for each of 8 rows"),
    ],
)
def test_weights_and_auxiliary_numbers_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make_batches(**changes)


def test_targets_of_another_length_are_refused():
    with pytest.raises(DataError, match="head row: 3 targets; expected one for each of 8 rows"):
        make_batches(targets={"row": np.zeros(3)})


def test_an_unknown_class_is_named():
    with pytest.raises(DataError, match="label 'c'; expected one of a, b"):
        encode_classes(["a", "c"], ("a", "b"))
