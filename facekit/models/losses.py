"""Loss and accuracy of labels that may be unknown: not counted as a no, and rare ones not drowned by frequent ones."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("facekit")
class LabelCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of one or several labels, the mean over the labels that are known.

    Targets are 0, 1, or below 0 where the label is unknown: such a label adds nothing. `weights`, (2, labels), are of absent
    and present labels, see balance.compute_label_weights; None: 1 everywhere. `label_smoothing`, 0..1, is how far targets are
    pulled towards one half.
    """

    def __init__(self, weights=None, label_smoothing: float = 0.0, name: str = "label_crossentropy"):
        super().__init__(name=name)
        self.label_weights = None if weights is None else np.asarray(weights, np.float32)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        y_true = ops.reshape(ops.cast(y_true, y_pred.dtype), ops.shape(y_pred))  # a single label may come as (n,)
        known = ops.cast(y_true >= 0, y_pred.dtype)
        y_true = y_true * known
        absent, present = (1.0, 1.0) if self.label_weights is None else self.label_weights
        counts = known * (absent + (present - absent) * y_true)
        smoothed = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return ops.sum(ops.binary_crossentropy(smoothed, y_pred) * counts, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1)

    def get_config(self) -> dict:
        """Return the arguments; the key of a fit is made of them."""
        weights = None if self.label_weights is None else self.label_weights.tolist()
        return {"weights": weights, "label_smoothing": self.label_smoothing, "name": self.name}


@keras.saving.register_keras_serializable("facekit")
class LabelAccuracy(keras.metrics.Mean):
    """Proportion of the known labels that are predicted correctly with threshold 0.5."""

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.reshape(y_true, ops.shape(y_pred))
        counts = ops.cast(y_true >= 0, "float32")
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        return super().update_state(ops.cast(ops.equal(y_true > 0.5, y_pred > 0.5), "float32"), counts)
