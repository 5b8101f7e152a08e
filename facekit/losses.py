"""The loss and the accuracy of each kind of head.

The traps this prevents: a label nobody knows counted as a no, rare labels drowned by frequent ones, and Keras' losses reduced
over the wrong axis when labels are weighted one by one.
"""

import keras
import numpy as np
from keras import ops


class LabelCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of several labels, the mean over the labels that are known.

    Args:
        weights: what a row counts, label by label, where the label is absent and where it is present, shape (2, labels);
            None: 1 everywhere. See balance.compute_label_weights.
        label_smoothing: share by which targets are pulled towards one half, 0..1.

    Targets are 0, 1, or below 0 where the label is unknown: such a label adds nothing.
    """

    def __init__(self, weights=None, label_smoothing: float = 0.0):
        super().__init__(name="label_crossentropy")
        self.label_weights = None if weights is None else np.asarray(weights, np.float32)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        known = ops.cast(y_true >= 0, y_pred.dtype)
        y_true = ops.cast(y_true, y_pred.dtype) * known
        counts = known
        if self.label_weights is not None:
            absent, present = self.label_weights
            counts = known * (absent + (present - absent) * y_true)
        smoothed = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        losses = ops.binary_crossentropy(smoothed, y_pred)
        return ops.sum(losses * counts, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1)


class LabelAccuracy(keras.metrics.Mean):
    """Share of the known labels that are right at one half."""

    def __init__(self):
        super().__init__(name="binary_accuracy")

    def update_state(self, y_true, y_pred, sample_weight=None):
        counts = ops.cast(y_true >= 0, "float32")
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        return super().update_state(ops.cast(ops.equal(y_true > 0.5, y_pred > 0.5), "float32"), counts)


# Kind of head -> its loss (of label weights and smoothing), and its accuracy; a regression has none.
LOSSES = {
    "regression": lambda weights, smoothing: keras.losses.MeanSquaredError(),
    "binary": LabelCrossentropy,
    "multi-label": LabelCrossentropy,
    "multi-class": lambda weights, smoothing: keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
}
ACCURACIES = {
    "binary": LabelAccuracy,
    "multi-label": LabelAccuracy,
    "multi-class": lambda: keras.metrics.get("categorical_accuracy"),
}
