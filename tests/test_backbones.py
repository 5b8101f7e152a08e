"""The table of networks: what each builds, how it wants its pictures, and which weights it takes or refuses."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from facekit import backbones
from facekit.backbones import (
    BACKBONES,
    build_backbone,
    check_weights_file,
    convert_resnet18,
    load_backbone_weights,
    preprocess_pictures,
    take_backbone,
)
from facekit.errors import ParameterError, WeightsError
from facekit.models import Head, ModelSpec, build_model, save_model
from facekit.torchfiles import read_torch_file
from facekit.weights import find_digest, hash_file, list_shapes

# name: parameters, trainable ones, layers, channels; a picture whose pixels are (255, 0, 51) after preprocessing.
NETWORKS = {
    "ResNet50": (23_587_712, 23_534_592, 175, 2048, (51 - 103.939, -116.779, 255 - 123.68)),
    "InceptionV3": (21_802_784, 21_768_352, 311, 2048, (1.0, -1.0, -0.6)),
    "DenseNet121": (7_037_504, 6_953_856, 427, 1024, ((1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225)),
    "MobileNet": (3_228_864, 3_206_976, 86, 1024, (1.0, -1.0, -0.6)),
    "AgeCNN": (66_348, 65_958, 12, 64, (1.0, 0.0, 0.2)),
    "ResNet18": (11_186_112, 11_176_512, 85, 512, ((1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225)),
}


@pytest.fixture(scope="module")
def built():
    models = {}

    def get(name):
        if name not in models:
            models[name] = build_backbone(name, (BACKBONES[name].minimum_size,) * 2)
        return models[name]

    return get


@pytest.fixture(scope="module")
def narrow():
    """The smallest network, whose weights the tests save."""
    return build_backbone("MobileNet", (32, 32), alpha=0.25)


@pytest.fixture
def saved(narrow, tmp_path):
    path = tmp_path / "narrow.weights.h5"
    narrow.save_weights(path)
    return path


def copy_weights(model):
    return [weight.numpy().copy() for weight in model.weights]


def is_same(weights, model):
    return all(np.array_equal(a, b) for a, b in zip(weights, model.weights, strict=True))


# --- the table ------------------------------------------------------------------------------------------


def test_table_and_test_name_the_same_networks():
    assert set(BACKBONES) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_is_flat_and_has_the_published_size(built, name):
    model = built(name)
    total, trainable, layers, channels, _ = NETWORKS[name]
    assert model.count_params() == total
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert len(model.layers) == layers
    assert model.output_shape[-1] == channels
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.layers[0].name == "pictures"
    assert model.layers[-1].name == BACKBONES[name].last_convolution


def test_counted_layer_names_do_not_depend_on_the_session(built):
    second = build_backbone("InceptionV3", (75, 75))
    assert [layer.name for layer in second.layers] == [layer.name for layer in built("InceptionV3").layers]
    assert second.get_layer("conv2d_93").output.shape[-1] == 192


@pytest.mark.parametrize(("name", "sides"), [("MobileNet", (1, 2)), ("InceptionV3", (1, 3))])
def test_a_stem_of_stride_one_sees_a_small_picture_like_one_of_twice_its_size(built, name, sides):
    size = (BACKBONES[name].minimum_size,) * 2
    fine = build_backbone(name, size, stem_stride=1)
    assert (built(name).output_shape[1], fine.output_shape[1]) == sides
    assert [layer.name for layer in fine.layers] == [layer.name for layer in built(name).layers]
    fine.set_weights(built(name).get_weights())
    ours, theirs = (
        [layer.strides for layer in model.layers if isinstance(layer, keras.layers.Conv2D)] for model in (fine, built(name))
    )
    assert ours == [(1, 1), *theirs[1:]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("VGG16", (64, 64)), "one of ResNet50, InceptionV3"),
        (("InceptionV3", (75, 74)), "input size 75x74 for InceptionV3; expected at least 75x75"),
        (("ResNet50", (64, 64), 0.5), "alpha 0.5 for ResNet50"),
        (("MobileNet", (64, 64), 0.0), "alpha 0.0 for MobileNet"),
    ],
)
def test_what_a_network_does_not_have_is_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        build_backbone(*arguments)


# --- preprocessing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NETWORKS, "unit"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pictures_are_preprocessed_in_a_copy(name, dtype):
    pictures = np.zeros((2, 1, 3, 3), dtype)
    pictures[:] = (255, 0, 51)
    expected = NETWORKS[name][-1] if name != "unit" else (1.0, 0.0, 0.2)
    result = preprocess_pictures(name, pictures)
    assert result.dtype == np.float32
    assert result.shape == (2, 1, 3, 3)
    np.testing.assert_allclose(result[1, 0, 2], expected, atol=1e-5)
    assert (pictures == np.array([255, 0, 51])).all()


def test_scaled_pictures_are_refused_but_black_ones_pass():
    pictures = np.full((1, 4, 4, 3), 200, np.uint8)
    for scaled in (pictures / 255, preprocess_pictures("MobileNet", pictures) - 1, pictures * 3.0):
        with pytest.raises(ParameterError, match="0..255, not yet preprocessed"):
            preprocess_pictures("MobileNet", scaled)
    assert preprocess_pictures("unit", np.zeros((1, 4, 4, 3), np.float32)).max() == 0
    with pytest.raises(ParameterError, match="preprocessing 'imagenet'"):
        preprocess_pictures("imagenet", pictures)


# --- weights from a path --------------------------------------------------------------------------------


def test_weights_go_from_file_to_backbone_and_into_a_whole_model(narrow, saved):
    spec = ModelSpec("MobileNet", (64, 48), (Head("smile", "binary"),), alpha=0.25)
    model = build_model(spec)
    result = load_backbone_weights(model, "MobileNet", str(saved), alpha=0.25)
    assert result == {"source": str(saved), "sha256": hash_file(saved)}
    assert is_same(copy_weights(narrow), take_backbone(model))


def test_float16_file_is_widened(shared):
    path = shared / "weights" / "mobilenet_1_0_224_notop.weights.h5"
    model = build_backbone("MobileNet", (32, 32))
    result = load_backbone_weights(model, "MobileNet", str(path))
    assert result["sha256"] == "2685dbf7261b250cd2ae3712f35663ebeb6ca9c7f78b24afcf820cb9b54f2ea1"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    with h5py.File(path) as file:
        kernel = file["layers/conv2d/vars/0"]
        assert kernel.dtype == np.float16
        np.testing.assert_array_equal(model.get_layer("conv1").kernel, kernel[()].astype(np.float32))


def test_width_and_network_must_be_those_of_the_file(saved, built):
    full = built("MobileNet")
    before = copy_weights(full)
    with pytest.raises(WeightsError, match="'conv1' has weights of shape 3x3x3x8; expected 3x3x3x32"):
        load_backbone_weights(full, "MobileNet", str(saved))
    assert is_same(before, full)
    with pytest.raises(WeightsError, match="weights of another network, with none for 39 layers, such as 'bn1'"):
        load_backbone_weights(built("ResNet18"), "ResNet18", str(saved))


@pytest.mark.parametrize("weights", ["imagnet", "no/such.weights.h5"])
def test_unknown_weights_list_what_is_known(narrow, weights):
    with pytest.raises(WeightsError, match="expected imagenet, none, sample, run:PROFILE/TASK or a file"):
        load_backbone_weights(narrow, "MobileNet", weights, alpha=0.25)


def test_none_changes_nothing(narrow):
    before = copy_weights(narrow)
    assert load_backbone_weights(narrow, "MobileNet", "none", alpha=0.25) == {"source": "none", "sha256": None}
    assert is_same(before, narrow)


def test_sample_is_the_file_of_the_repository(narrow, saved, monkeypatch):
    monkeypatch.setattr(backbones, "SAMPLE_FILE", saved)
    model = build_backbone("MobileNet", (96, 96), alpha=0.25)
    assert load_backbone_weights(model, "MobileNet", "sample", alpha=0.25)["source"] == "sample"
    assert is_same(copy_weights(narrow), model)


def test_known_digest_is_demanded(narrow, saved):
    (saved.parent / "SHA256SUMS").write_text(f"{'0' * 64}  other.h5\n{'1' * 64}  narrow.weights.h5\n")
    assert find_digest(saved) == "1" * 64
    with pytest.raises(WeightsError, match=f"expected {'1' * 64}"):
        load_backbone_weights(narrow, "MobileNet", str(saved), alpha=0.25)
    (saved.parent / "SHA256SUMS").write_text(f"{hash_file(saved)} *narrow.weights.h5\n")
    load_backbone_weights(narrow, "MobileNet", str(saved), alpha=0.25)


def test_digest_of_the_manifest_is_known(tmp_path):
    path = tmp_path / "mobilenet_1_0_224_notop.weights.h5"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="expected 2685dbf7261b250c"):
        check_weights_file(path)


# --- files that must not be loaded ----------------------------------------------------------------------

KERNEL = "layers/conv2d/vars/0"


def make_soft_link(file, other):
    del file[KERNEL]
    file[KERNEL] = h5py.SoftLink("/layers/batch_normalization/vars/0")


def make_external_link(file, other):
    del file[KERNEL]
    file[KERNEL] = h5py.ExternalLink(str(other), KERNEL)


def make_external_group(file, other):
    del file["layers"]
    file["layers"] = h5py.ExternalLink(str(other), "layers")


def make_virtual_dataset(file, other):
    layout = h5py.VirtualLayout(shape=(3, 3, 3, 8), dtype="f4")
    layout[:] = h5py.VirtualSource(str(other), KERNEL, shape=(3, 3, 3, 8))
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def make_external_storage(file, other):
    del file[KERNEL]
    file.create_dataset(KERNEL, (3, 3, 3, 8), "f4", external=[("/etc/passwd", 0, 864)])


def make_wrong_shape(file, other):
    del file[KERNEL]
    file[KERNEL] = np.zeros((3, 3, 3, 9), "f4")


def make_huge_shape(file, other):
    del file[KERNEL]
    file.create_dataset(KERNEL, (1 << 20, 1 << 20, 3, 8), "f4", chunks=(64, 64, 1, 1))


def make_integers(file, other):
    del file[KERNEL]
    file[KERNEL] = np.zeros((3, 3, 3, 8), "i4")


def make_not_finite(file, other):
    file[KERNEL][0, 0, 0, 0] = np.nan


def make_missing_layer(file, other):
    del file["layers/conv2d"]


def make_further_layer(file, other):
    group = file.create_group("layers/dense/vars")
    group.attrs["name"] = "predictions"
    group["0"] = np.zeros((256, 10), "f4")


def make_unnamed_layer(file, other):
    del file["layers/conv2d/vars"].attrs["name"]


def make_older_layout(file, other):
    file.move("layers", "model_weights")


def make_circle(file, other):
    file["layers/conv2d/sub"] = file["layers"]
    del file["layers/conv2d/vars"]


def make_gap(file, other):
    file.move(KERNEL, "layers/conv2d/vars/1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (make_soft_link, "'layers/conv2d/vars/0' is a SoftLink"),
        (make_external_link, "'layers/conv2d/vars/0' is a ExternalLink"),
        (make_external_group, "'layers' is a ExternalLink"),
        (make_virtual_dataset, "'layers/conv2d/vars/0' is a virtual dataset"),
        (make_external_storage, "'layers/conv2d/vars/0' is an external dataset"),
        (make_wrong_shape, "shape 3x3x3x9; expected 3x3x3x8"),
        (make_huge_shape, "shape 1048576x1048576x3x8; expected 3x3x3x8"),
        (make_integers, "'conv2d' holds int32; expected floating point numbers"),
        (make_not_finite, "layer 'conv1' holds numbers that are not finite"),
        (make_missing_layer, "another network, with none for 1 layers, such as 'conv1'"),
        (make_further_layer, "another network, with 1 unknown layers, such as 'predictions'"),
        (make_unnamed_layer, "'conv2d' without a layer name"),
        (make_older_layout, "no group 'layers'"),
        (make_circle, "another network, with none for 1 layers, such as 'conv1'"),
        (make_gap, "cannot be read"),
    ],
)
def test_hostile_or_wrong_file_is_refused_before_anything_changes(narrow, saved, tmp_path, change, message):
    other = tmp_path / "other.h5"
    shutil.copy(saved, other)
    with h5py.File(saved, "r+") as file:
        change(file, other)
    before = copy_weights(narrow)
    with pytest.raises(WeightsError, match=message):
        load_backbone_weights(narrow, "MobileNet", str(saved), alpha=0.25)
    assert is_same(before, narrow)


@pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_refused(narrow, tmp_path, content):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable HDF5 file"):
        load_backbone_weights(narrow, "MobileNet", str(path), alpha=0.25)


# --- weights of another run -----------------------------------------------------------------------------


@pytest.fixture
def run(narrow, saved, tmp_path, monkeypatch):
    """A run laptop/celeba at 48x32 pixels, fed with pictures divided by 255, whose backbone is `narrow`."""
    monkeypatch.setattr(backbones, "project_root", lambda: tmp_path)
    spec = ModelSpec("MobileNet", (48, 32), (Head("male", "binary"),), alpha=0.25, preprocessing="unit")
    model = build_model(spec)
    load_backbone_weights(model, "MobileNet", str(saved), alpha=0.25)
    folder = tmp_path / "reports" / "laptop" / "celeba" / "model"
    save_model(model, spec, folder, provenance={"task": "celeba"})
    return folder


def test_backbone_of_a_run_is_taken_over_at_another_size(narrow, run):
    model = build_backbone("MobileNet", (64, 64), alpha=0.25)
    result = load_backbone_weights(model, "MobileNet", "run:laptop/celeba", alpha=0.25, preprocessing="unit")
    assert result == {"source": "run:laptop/celeba", "sha256": hash_file(run / "weights.weights.h5")}
    assert is_same(copy_weights(narrow), model)


def test_run_of_another_network_width_or_preprocessing_is_refused(narrow, run, built):
    came = "MobileNet of width 0.25, preprocessing unit; expected "
    with pytest.raises(WeightsError, match=f"{came}MobileNet of width 0.25, preprocessing MobileNet"):
        load_backbone_weights(narrow, "MobileNet", "run:laptop/celeba", alpha=0.25)
    with pytest.raises(WeightsError, match=f"{came}MobileNet of width 1.0"):
        load_backbone_weights(built("MobileNet"), "MobileNet", "run:laptop/celeba", preprocessing="unit")
    with pytest.raises(WeightsError, match=f"{came}ResNet18 of width 1.0"):
        load_backbone_weights(built("ResNet18"), "ResNet18", "run:laptop/celeba", preprocessing="unit")


def test_missing_run_names_the_command_that_makes_it(narrow, run):
    with pytest.raises(WeightsError, match="make it first: make smile PROFILE=laptop$"):
        load_backbone_weights(narrow, "MobileNet", "run:laptop/smile", alpha=0.25)
    for odd in ("run:celeba", "run:../celeba", "run:laptop/celeba/model"):
        with pytest.raises(WeightsError, match="expected run:PROFILE/TASK"):
            load_backbone_weights(narrow, "MobileNet", odd, alpha=0.25)


def test_changed_run_is_refused(narrow, run):
    with h5py.File(run / "weights.weights.h5", "r+") as file:
        file[KERNEL][0, 0, 0, 0] = 1
    with pytest.raises(WeightsError, match="sha256"):
        load_backbone_weights(narrow, "MobileNet", "run:laptop/celeba", alpha=0.25, preprocessing="unit")


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 1, "holds": 1, "sha256": 1, "spec": 1}'])
def test_broken_description_is_refused(narrow, run, text):
    (run / "spec.json").write_text(text)
    with pytest.raises(WeightsError, match="expected a model description"):
        load_backbone_weights(narrow, "MobileNet", "run:laptop/celeba", alpha=0.25, preprocessing="unit")


def test_later_schema_is_refused(narrow, run):
    content = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(content | {"schema": 2}))
    with pytest.raises(WeightsError, match="schema 2, holds model; expected schema 1"):
        load_backbone_weights(narrow, "MobileNet", "run:laptop/celeba", alpha=0.25, preprocessing="unit")


# --- ImageNet -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file", "digest"),
    [
        ("MobileNet", "mobilenet_1_0_224_tf_no_top.h5", ""),
        ("ResNet18", "resnet18-f37072fd.pth", "sha256 f37072fd47e89c5e"),
        ("DenseNet121", "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5 30ee3e1110167f94"),
        ("ResNet50", "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5 4d473c1dd8becc15"),
        ("InceptionV3", "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5 bcbd6486424b2319"),
    ],
)
def test_without_network_the_error_names_file_hash_and_place(built, tmp_path, monkeypatch, name, file, digest):
    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    monkeypatch.setattr(backbones.pooch, "retrieve", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_backbone_weights(built(name), name, "imagenet")
    assert f"put it at {tmp_path}/models/{file}" in str(caught.value)
    assert f"/{file} (Name or service not known)" in str(caught.value)
    assert digest in str(caught.value)


def test_imagenet_file_that_is_there_is_used(narrow, tmp_path, monkeypatch):
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "mobilenet_2_5_224_tf_no_top.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, narrow)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    model = build_backbone("MobileNet", (32, 32), alpha=0.25)
    assert load_backbone_weights(model, "MobileNet", "imagenet", alpha=0.25)["sha256"] == hash_file(path)
    assert is_same(copy_weights(narrow), model)
    with h5py.File(path, "r+") as file:
        del file["conv1"]
        file["conv1"] = h5py.SoftLink("/conv_pw_1")
    with pytest.raises(WeightsError, match="'conv1' is a SoftLink"):
        load_backbone_weights(model, "MobileNet", "imagenet", alpha=0.25)


def test_imagenet_has_four_widths(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    model = build_backbone("MobileNet", (32, 32), alpha=0.3)
    with pytest.raises(WeightsError, match="expected alpha 0.25, 0.5, 0.75 or 1.0"):
        load_backbone_weights(model, "MobileNet", "imagenet", alpha=0.3)


# --- PyTorch's files ------------------------------------------------------------------------------------


def pickle_tensor(key, count, size, stride, offset=0):
    """Opcodes of one tensor as torch.save writes it: a call of _rebuild_tensor_v2 on a persistent storage."""

    def number(value):
        return b"J" + struct.pack("<i", value)

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + number(count) + b"tQ"
    shape = b"(" + b"".join(map(number, size)) + b"t(" + b"".join(map(number, stride)) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + shape + b"\x89ccollections\nOrderedDict\n)RtR"


def write_torch_zip(path, tensors: bytes, data=b"", compression=zipfile.ZIP_STORED):
    body = b"\x80\x02ccollections\nOrderedDict\n)R(X\x01\x00\x00\x00w" + tensors + b"u."
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("any/data.pkl", body)
        archive.writestr("any/data/0", data)
    return path


def test_tensors_are_read_without_torch(tmp_path):
    data = np.arange(12, dtype="<f4").tobytes()
    path = write_torch_zip(tmp_path / "a.pth", pickle_tensor("0", 12, (2, 3), (3, 1), offset=6), data)
    state = read_torch_file(path)
    assert list(state) == ["w"]
    np.testing.assert_array_equal(state["w"], [[6, 7, 8], [9, 10, 11]])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (pickle_tensor("0", 12, (2, 3), (1, 2)), "strides"),
        (pickle_tensor("0", 12, (2, 3), (3, 1), offset=7), r"size \(2, 3\) in a storage of 12"),
        (pickle_tensor("0", 12, (2, 3), (3, 1), offset=-1), "in a storage of 12"),
        (pickle_tensor("0", 13, (2, 3), (3, 1)), "storage 0 holds 12 numbers, not 13"),
        (pickle_tensor("../9", 12, (2, 3), (3, 1)), "There is no item named"),
        (b"cbuiltins\neval\n", "it names builtins.eval"),
        (b"ctorch\nload\n", "it names torch.load"),
        (b"ctorch.jit\n_rebuild\n", "it names torch.jit._rebuild"),
        (b"K\x05", "OrderedDict; expected a state dictionary of tensors"),
    ],
)
def test_broken_tensors_and_other_names_are_refused(tmp_path, tensor, message):
    path = write_torch_zip(tmp_path / "a.pth", tensor, bytes(48))
    with pytest.raises(WeightsError, match=message):
        read_torch_file(path)


class Evil:
    def __reduce__(self):
        return os.system, ("touch was-run",)


@pytest.mark.parametrize("layout", ["zip", "plain"])
def test_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path, monkeypatch, layout):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    body = pickle.dumps({"conv1.weight": Evil()}, protocol=2)
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", body)
    else:
        path.write_bytes(body)
    with pytest.raises(WeightsError, match="it names posix.system|it names nt.system"):
        read_torch_file(path)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02K\x01.", b"{" * 1000])
def test_what_is_no_torch_file_is_refused(tmp_path, content):
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a state dictionary of tensors and nothing else"):
        read_torch_file(path)


def test_compressed_archive_is_refused(tmp_path):
    path = write_torch_zip(tmp_path / "bomb.pth", b"N", bytes(1 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="not as torch.save writes it"):
        read_torch_file(path)


def make_state(model, seed=0):
    """Random parameters under torchvision's names, in PyTorch's order of axes, for the layers of a Keras ResNet18."""
    random = np.random.default_rng(seed)
    state = {"fc.weight": np.zeros((10, 512), np.float32), "fc.bias": np.zeros(10, np.float32)}
    for layer, shapes in list_shapes(model.layers).items():
        stage, *rest = layer.split("_", 1)
        name = ".".join([stage, *(part.replace("_", ".") for part in rest)])
        if len(shapes) == 1:
            height, width, inner, outer = shapes[0]
            scale = np.sqrt(2 / (height * width * inner))
            state[f"{name}.weight"] = random.normal(0, scale, (outer, inner, height, width)).astype(np.float32)
        else:
            for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.2, 0.2)):
                state[f"{name}.{part}"] = random.uniform(low, high, shapes[0]).astype(np.float32)
            for part, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.5, 2)):
                state[f"{name}.{part}"] = random.uniform(low, high, shapes[0]).astype(np.float32)
            state[f"{name}.num_batches_tracked"] = np.array(7)
    return state


def test_safetensors_file_is_converted(built, tmp_path):
    model = built("ResNet18")
    state = make_state(model)
    save_file(state, tmp_path / "resnet18.safetensors")
    load_backbone_weights(model, "ResNet18", str(tmp_path / "resnet18.safetensors"))
    assert model.get_layer("layer2_0_downsample_0").kernel.shape == (1, 1, 64, 128)
    kernel = model.get_layer("layer4_1_conv2").kernel.numpy()
    assert kernel[2, 0, 5, 7] == state["layer4.1.conv2.weight"][7, 5, 2, 0]
    norm = model.get_layer("layer2_0_downsample_1")
    np.testing.assert_array_equal(norm.moving_variance, state["layer2.0.downsample.1.running_var"])
    with pytest.raises(WeightsError, match="a PyTorch file for MobileNet"):
        load_backbone_weights(built("MobileNet"), "MobileNet", str(tmp_path / "resnet18.safetensors"))


def test_state_of_another_network_is_refused(built):
    shapes = list_shapes(built("ResNet18").layers)
    state = make_state(built("ResNet18"))
    with pytest.raises(WeightsError, match="no layer1.0.bn1.running_var"):
        convert_resnet18({key: value for key, value in state.items() if key != "layer1.0.bn1.running_var"}, shapes)
    with pytest.raises(WeightsError, match="unknown parameter layer1.2.conv1.weight"):
        convert_resnet18(state | {"layer1.2.conv1.weight": np.zeros(1)}, shapes)
    with pytest.raises(WeightsError, match=r"conv1.weight of shape \(64, 3, 3, 3\)"):
        convert_resnet18(state | {"conv1.weight": np.zeros((64, 3, 3, 3))}, shapes)


def build_torch_resnet18(torch):
    """ResNet18 in plain PyTorch, with torchvision's names."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inner, outer, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outer)
            self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outer)
            self.downsample = None
            if stride != 1:
                self.downsample = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            x = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(x + shortcut)

    class ResNet18(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
            self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
            self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
            self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
            self.fc = nn.Linear(512, 10)

        def forward(self, x):
            x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    return ResNet18().eval()


@pytest.mark.parametrize("zipped", [True, False])
def test_resnet18_computes_what_pytorch_computes(tmp_path, zipped):
    torch = pytest.importorskip("torch", reason="PyTorch, an extra of developers, is not installed")
    reference = build_torch_resnet18(torch)
    model = build_backbone("ResNet18", (64, 97))
    state = {name: torch.from_numpy(np.array(value)) for name, value in make_state(model, seed=1).items()}
    reference.load_state_dict(state)
    path = tmp_path / "resnet18.pth"
    torch.save(reference.state_dict(), path, _use_new_zipfile_serialization=zipped)
    load_backbone_weights(model, "ResNet18", str(path))
    pictures = np.random.default_rng(2).normal(size=(2, 64, 97, 3)).astype(np.float32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(pictures.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model.predict_on_batch(pictures), expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_parameters_are_read_like_tensors(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, an extra of developers, is not installed")
    buffer = io.BytesIO()
    torch.save({"w": torch.nn.Parameter(torch.arange(3.0))}, buffer)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_torch_file(tmp_path / "a.pth")["w"], [0, 1, 2])
