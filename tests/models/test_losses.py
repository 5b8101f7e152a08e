"""Losses: labels that are unknown, weighted, smoothed; expected values worked out by hand."""

import keras
import numpy as np
import pytest

from facekit.models.losses import LabelAccuracy, LabelCrossentropy

LOG = np.log
Y_TRUE = np.array([[1.0, 0.0], [-1.0, 1.0]])
Y_PROB = np.array([[0.8, 0.4], [0.9, 0.5]], np.float32)


def compute(**settings):
    return LabelCrossentropy(**settings).call(Y_TRUE, Y_PROB)


def test_unknown_labels_add_nothing():
    np.testing.assert_allclose(compute(), [-(LOG(0.8) + LOG(0.6)) / 2, -LOG(0.5)], rtol=1e-5)
    np.testing.assert_allclose(LabelCrossentropy().call(-np.ones((1, 2)), Y_PROB[:1]), [0])


def test_labels_are_weighted_by_their_value():
    weights = [[1.0, 2.0], [3.0, 5.0]]  # absent, present
    np.testing.assert_allclose(compute(weights=weights), [-(3 * LOG(0.8) + 2 * LOG(0.6)) / 2, -5 * LOG(0.5)], rtol=1e-5)


def test_smoothing_pulls_towards_one_half():
    first = -(0.95 * LOG(0.8) + 0.05 * LOG(0.2) + 0.05 * LOG(0.4) + 0.95 * LOG(0.6)) / 2
    np.testing.assert_allclose(compute(label_smoothing=0.1), [first, -LOG(0.5)], rtol=1e-5)


def test_a_single_label_may_come_without_its_axis():
    loss, accuracy = LabelCrossentropy(), LabelAccuracy()
    np.testing.assert_allclose(loss(np.array([1.0, 0.0]), Y_PROB[:, :1]), -(LOG(0.8) + LOG(0.1)) / 2, rtol=1e-5)
    accuracy.update_state(np.array([1.0, 0.0]), Y_PROB[:, :1])
    assert float(accuracy.result()) == 0.5


@pytest.mark.parametrize(("sample_weight", "expected"), [(None, 2 / 3), ([1.0, 3.0], 2 / 5)])
def test_accuracy_counts_known_labels(sample_weight, expected):
    accuracy = LabelAccuracy()
    accuracy.update_state(Y_TRUE, Y_PROB, None if sample_weight is None else np.array(sample_weight))
    # A probability of 0.5 is no: correct, correct; unknown, wrong.
    assert float(accuracy.result()) == pytest.approx(expected)


def test_the_configuration_makes_the_same_loss_again():
    loss = LabelCrossentropy([[1.0, 2.0], [3.0, 5.0]], 0.1)
    again = LabelCrossentropy.from_config(loss.get_config())
    np.testing.assert_array_equal(again.call(Y_TRUE, Y_PROB), loss.call(Y_TRUE, Y_PROB))
    assert keras.saving.serialize_keras_object(loss)["config"]["weights"] == [[1, 2], [3, 5]]
