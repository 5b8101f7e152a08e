"""A look inside a network: what drove a prediction (Grad-CAM)."""

import cv2
import keras
import numpy as np
import tensorflow as tf

from facekit.errors import ParameterError


def compute(model: keras.Model, images: np.ndarray, index=None, output: str = "") -> np.ndarray:
    """Compute which places of each image drove an output: Grad-CAM, Selvaraju et al., arXiv 1610.02391.

    The gradient is taken of the output's value before its sigmoid or softmax: a softmax near 1 has none. For a single sigmoid,
    class 1 is yes, class 0 no.

    Args:
        model: any flat model that takes images alone.
        images: float or uint8 (n, height, width, 3) in 0..255.
        index: class, one for all images or an array (n,) of one each; None: the predicted one.
        output: name of the output's layer; empty: the first.

    Returned is each image's map, float32 (n, height, width), its highest place 1; all 0 where nothing supports the class. It is
    that of the last layer of 5x5 places or more with most channels: one that joins the branches of a block.
    """
    if len(images) > 32:  # all at once may not fit into memory
        parts = np.array_split(np.arange(len(images)), 1 + len(images) // 32)
        index = [index] * len(parts) if np.ndim(index) == 0 else [np.take(index, part) for part in parts]
        return np.concatenate([compute(model, images[p], i, output) for p, i in zip(parts, index, strict=True)])
    head = model.get_layer(output) if output else next(each for each in model.layers if each.output is model.outputs[0])
    binary = head.output.shape[-1] == 1 and getattr(head, "activation", None) is keras.activations.sigmoid
    classes = 2 if binary else head.output.shape[-1]
    if index is not None and np.size(index) and not 0 <= np.min(index) <= np.max(index) < classes:
        raise ParameterError(f"output {head.name}: class {np.min(index)} to {np.max(index)}", expected=f"0 to {classes - 1}")
    inside = [each.output for each in model.layers[::-1] if not isinstance(each, keras.layers.ZeroPadding2D)]
    maps = [each for each in inside if isinstance(each, keras.KerasTensor) and each.ndim == 4]
    shown = max([each for each in maps if min(each.shape[1:3]) >= 5] or maps, key=lambda each: each.shape[-1])
    reader = keras.Model(model.inputs[0], [shown, head.input])
    with tf.GradientTape() as tape:
        # Watched from the images on, because the tape follows nothing through a frozen backbone by itself.
        tape.watch(pixels := tf.convert_to_tensor(images, tf.float32))
        features, scores = reader(pixels, training=False)
        scores = tf.cast(scores, tf.float32)
        if hasattr(head, "kernel"):
            scores = scores @ head.kernel + (0 if head.bias is None else head.bias)
        if binary:
            scores = tf.concat([-scores, scores], axis=1)
        chosen = np.broadcast_to(tf.argmax(scores, axis=1) if index is None else index, len(images))
        score = tf.gather(scores, chosen, axis=1, batch_dims=1)
    features, gradient = (tf.cast(each, tf.float32) for each in (features, tape.gradient(score, features)))
    heat = tf.nn.relu(tf.reduce_sum(tf.reduce_mean(gradient, axis=(1, 2), keepdims=True) * features, axis=-1)).numpy()
    step, first = _locate(reader, shown)
    to_map = np.column_stack([np.diag(1 / step), -first / step])
    options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REPLICATE}
    heat = np.array([cv2.warpAffine(each, to_map, images.shape[2:0:-1], **options) for each in heat])
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), np.finfo(np.float32).tiny)


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a Grad-CAM (any size, 0..1) over its uint8 image, made grey: brighter = more influence; a white line at half."""
    heat = cv2.resize(heat.astype(np.float32), image.shape[1::-1])
    colours = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_MAGMA)[:, :, ::-1]
    laid = (22.5 + 0.225 * image.mean(axis=2, keepdims=True) + 0.55 * colours).astype(np.uint8)
    most = (heat >= 0.5).astype(np.uint8)
    # What lies outside the image does not end the bright place, so there is no line along the image's edge.
    laid[most > cv2.erode(most, np.ones((3, 3), np.uint8))] = 255
    return laid


def _locate(model: keras.Model, shown: keras.KerasTensor) -> tuple[np.ndarray, np.ndarray]:
    """Return how far apart a map's places are and where the first one's centre lies, (x, y) in pixels of the image.

    A map that is only enlarged lies up to half a step beside its image: MobileNet's strides pad at the right and below alone.
    """
    found = {id(model.inputs[0]): (np.ones(2), np.zeros(2))}
    for each in model.operations:  # more than its layers: images[..., ::-1] is an operation
        if before := [tensor for tensor in keras.tree.flatten(each.input) if id(tensor) in found]:
            step, first = found[id(before[0])]
            size = np.array(getattr(each, "kernel_size", getattr(each, "pool_size", (1, 1))))
            stride, padded = np.array(getattr(each, "strides", (1, 1))), 0
            if (padding := getattr(each, "padding", "valid")) == "same":
                padded = np.maximum(size - 1 - (np.array(before[0].shape[1:3]) - 1) % stride, 0) // 2
            elif padding != "valid":  # ZeroPadding2D
                padded = np.array(padding)[:, 0]
            found[id(each.output)] = step * stride[::-1], first + step * ((size - 1) / 2 - padded)[::-1]
    return found[id(shown)]
