"""A look inside a network: its first filters, its feature maps, and where in a picture a prediction comes from.

The traps this prevents: a Grad-CAM of probabilities, which fades to nothing where the network is sure (a softmax near 1
has no slope), one that is stretched to 0..1 although the picture says nothing for the class, and one that is believed
though it shows the picture's edges, whatever the network has learnt.
"""

import cv2
import keras
import numpy as np
import tensorflow as tf
from scipy.stats import rankdata

from facekit.backbones import POOLED
from facekit.errors import ParameterError


def read_filters(model: keras.Model) -> np.ndarray:
    """Return the filters of the first convolution as small pictures.

    Args:
        model: any model with a convolution over RGB.

    Returns:
        float32 array of shape (filters, height, width, 3), each filter stretched to 0..1.
    """
    first = next((layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)), None)
    if first is None:
        raise ParameterError(f"model {model.name}: no convolution", expected="a model with a backbone")
    filters = np.moveaxis(first.kernel.numpy().astype(np.float32), -1, 0)
    low = filters.min(axis=(1, 2, 3), keepdims=True)
    span = filters.max(axis=(1, 2, 3), keepdims=True) - low
    return (filters - low) / np.where(span > 0, span, 1)


def read_activations(model: keras.Model, inputs, layers: list[str], batch_size: int = 32) -> dict[str, np.ndarray]:
    """Return what some layers say about pictures.

    Args:
        model: of models.build_model.
        inputs: what the model takes: preprocessed pictures of shape (n, height, width, 3), or its dict of inputs.
        layers: names of layers of the model.
        batch_size: pictures at a time.

    Returns:
        Layer name -> float32 array of shape (n, ...), for a convolution (n, height, width, channels).

    Raises:
        ParameterError: the model has no layer of that name.
    """
    reader = keras.Model(model.input, {name: _get_layer(model, name).output for name in layers})
    parts = [reader.predict_on_batch(batch) for batch in _split_batches(inputs, batch_size)]
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float32) for name in layers}


def compute_gradcam(
    model: keras.Model, inputs, head: str, class_index: int | np.ndarray = 0, batch_size: int = 32
) -> np.ndarray:
    """Compute where in each picture the last feature map speaks for an output (Grad-CAM).

    The slope is taken of the head's value before its sigmoid or softmax. For a head of one sigmoid class 1 is yes, class 0 no.

    Args:
        model: of models.build_model.
        inputs: what the model takes: preprocessed pictures of shape (n, height, width, 3), or its dict of inputs.
        head: name of the head.
        class_index: output of the head, one for all pictures or one each, shape (n,); 0 for regression.
        batch_size: pictures at a time.

    Returns:
        float32 array of shape (n, height, width): each picture's map in 0..1, its highest place 1; all 0 where nothing
        speaks for the output.

    Raises:
        ParameterError: no such head or class.

    Source: Selvaraju et al., Grad-CAM, https://arxiv.org/abs/1610.02391.
    """
    if head not in model.output_names:
        raise ParameterError(f"head {head!r}", expected=f"one of {', '.join(model.output_names)}")
    layer = model.get_layer(head)
    binary = layer.units == 1 and layer.activation is keras.activations.sigmoid
    classes = 2 if binary else layer.units
    pictures = inputs["pictures"] if isinstance(inputs, dict) else inputs
    chosen = np.broadcast_to(np.asarray(class_index), len(pictures))
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < classes:
        raise ParameterError(f"head {head}: class {chosen.min()} to {chosen.max()}", expected=f"0 to {classes - 1}")
    reader = keras.Model(model.input, {"map": model.get_layer(POOLED).input, "before": layer.input})
    maps, start = [], 0
    for batch in _split_batches(inputs, batch_size):
        size = len(batch["pictures"] if isinstance(batch, dict) else batch)
        maps.append(_weigh_maps(reader, batch, layer, chosen[start : start + size], binary))
        start += size
    height, width = pictures.shape[1:3]
    # Without pictures there is no first map to take the shape from.
    resized = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for part in maps for one in part]
    heat = np.array(resized, dtype=np.float32).reshape(-1, height, width)
    highest = heat.max(axis=(1, 2), keepdims=True, initial=0)
    return heat / np.where(highest > 0, highest, 1)


def compare_random_weights(
    model: keras.Model, inputs, head: str, class_index: int | np.ndarray = 0, *, draws: int = 3, seed: int
) -> np.ndarray:
    """Check that Grad-CAM hangs on what the network has learnt: compare its maps with those of shuffled weights.

    Near 0, the maps come from the training. Near 1, they would look the same without it and explain nothing.

    Args:
        model: of models.build_model; it stays as it is.
        inputs: as in compute_gradcam; take some dozen pictures, since one map has few independent places.
        head: name of the head.
        class_index: output of the head, one for all pictures or one each.
        draws: how often the weights are shuffled, each array within itself.
        seed: of the shuffling.

    Returns:
        Spearman's rank correlation of both maps, float array of shape (draws, n); nan where one of them is the same all
        over, as where nothing speaks for the output.

    Source: Adebayo et al., Sanity Checks for Saliency Maps, https://arxiv.org/abs/1810.03292.
    """
    learnt = compute_gradcam(model, inputs, head, class_index)
    shuffled = keras.models.clone_model(model)
    rows = []
    for draw in range(draws):
        random = np.random.default_rng((seed, draw))
        shuffled.set_weights([random.permutation(weight.ravel()).reshape(weight.shape) for weight in model.get_weights()])
        other = compute_gradcam(shuffled, inputs, head, class_index)
        rows.append([_correlate_ranks(a.ravel(), b.ravel()) for a, b in zip(learnt, other, strict=True)])
    return np.array(rows)


def _correlate_ranks(a: np.ndarray, b: np.ndarray) -> float:
    varied = np.ptp(a) > 0 and np.ptp(b) > 0
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]) if varied else np.nan


def overlay_map(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a Grad-CAM over its picture: dark to bright, and a white line at half of the most.

    Args:
        picture: uint8 (height, width, 3); it is shown in grey and with little contrast, which the map's must outdo.
        heat: float (any height, any width), 0..1, of the same part of the picture.

    Returns:
        uint8 array of the picture's shape.
    """
    height, width = picture.shape[:2]
    heat = cv2.resize(heat.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    grey = 50 + 0.5 * picture.mean(axis=2, keepdims=True)
    colours = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_MAGMA)[:, :, ::-1]
    laid = (0.45 * grey + 0.55 * colours).astype(np.uint8)
    most = (heat >= 0.5).astype(np.uint8)
    # What lies outside the picture does not end the bright place, so there is no line along the picture's edge.
    laid[most > cv2.erode(most, np.ones((3, 3), np.uint8))] = 255
    return laid


def _weigh_maps(reader, batch, layer, chosen: np.ndarray, binary: bool) -> np.ndarray:
    """Return the part of the weighted feature map above 0, float32 of shape (n, map height, map width)."""
    tensors = {name: tf.convert_to_tensor(values) for name, values in _name_inputs(batch).items()}
    with tf.GradientTape() as tape:
        # Watched from the pictures on, because the tape follows nothing through a frozen backbone by itself.
        tape.watch(tensors["pictures"])
        outputs = reader(tensors if isinstance(batch, dict) else tensors["pictures"], training=False)
        values = tf.cast(outputs["before"], tf.float32) @ layer.kernel + layer.bias
        if binary:
            score = values[:, 0] * tf.constant(np.where(chosen == 1, 1.0, -1.0), tf.float32)
        else:
            score = tf.gather(values, chosen, axis=1, batch_dims=1)
    slope = tf.cast(tape.gradient(score, outputs["map"]), tf.float32)
    weights = tf.reduce_mean(slope, axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * tf.cast(outputs["map"], tf.float32), axis=-1)).numpy()


def _name_inputs(inputs) -> dict:
    return inputs if isinstance(inputs, dict) else {"pictures": inputs}


def _split_batches(inputs, batch_size: int):
    """Cut an array, or each array of a dict, into batches along the first axis."""
    for start in range(0, len(_name_inputs(inputs)["pictures"]), batch_size):
        part = slice(start, start + batch_size)
        yield {name: values[part] for name, values in inputs.items()} if isinstance(inputs, dict) else inputs[part]


def _get_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    if all(layer.name != name for layer in model.layers):
        raise ParameterError(f"layer {name!r}", expected=f"a layer of {model.name}, such as {model.layers[1].name}")
    return model.get_layer(name)
