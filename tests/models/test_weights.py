"""Weights files: which are found, which are refused before anything changes, and what a network gets."""

import http.server
import json
import shutil
import threading
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from facekit.errors import FacekitError, WeightsError
from facekit.models import weight_files, weights
from facekit.models.backbones import build, describe
from facekit.models.weight_files import find_file, open_checked
from facekit.models.weights import describe_start, save_backbone
from facekit.paths import hash_file


def build_narrow(source="none", size=(32, 32), **settings):
    """The smallest network, whose weights the tests save."""
    return build("MobileNet", size, alpha=0.25, weights=str(source), **settings)


@pytest.fixture(scope="module")
def narrow():
    return build_narrow()


@pytest.fixture(scope="module")
def saved_once(narrow, tmp_path_factory):
    narrow.save_weights(path := tmp_path_factory.mktemp("saved") / "narrow.weights.h5")
    return path


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy of the file, which a test may harm."""
    return Path(shutil.copy(saved_once, tmp_path))


@pytest.fixture(scope="module")
def untouched():
    """The same network with other weights, which no refused file changes; what is refused needs none built for it."""
    return build_narrow()


@pytest.fixture
def refused(untouched):
    """Assert that a source is refused in these words, and that the network stays as it is."""

    def check(message, source):
        before = untouched.get_weights()
        with pytest.raises(WeightsError, match=message):
            weights.load_weights(untouched, "MobileNet", str(source), 0.25)
        assert all(np.array_equal(a, b) for a, b in zip(before, untouched.get_weights(), strict=True))

    return check


def is_same(model, other):
    return all(np.array_equal(a, b) for a, b in zip(model.weights, other.weights, strict=True))


# --- weights from a path --------------------------------------------------------------------------------


def test_weights_go_from_file_to_a_backbone_of_another_size(narrow, saved):
    assert is_same(build_narrow(saved, (64, 48)), narrow)


def test_float16_file_is_widened(shared):
    path = shared / "weights" / "mobilenet_1_0_224_notop.weights.h5"
    model = build("MobileNet", (32, 32), weights=str(path))
    assert hash_file(path) == "2685dbf7261b250cd2ae3712f35663ebeb6ca9c7f78b24afcf820cb9b54f2ea1"
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    with h5py.File(path) as file:
        kernel = file["layers/conv2d/vars/0"]
        assert kernel.dtype == np.float16
        np.testing.assert_array_equal(model.get_layer("conv1").kernel, kernel[()].astype(np.float32))


def test_width_and_network_must_be_those_of_the_file(built, saved):
    with pytest.raises(WeightsError, match="'conv1' has weights of shape 3x3x3x8; expected 3x3x3x32"):
        weights.load_weights(built("MobileNet"), "MobileNet", str(saved))
    with pytest.raises(WeightsError, match="weights of another network, which differ in layer 'conv1_bn'"):
        weights.load_weights(built("ResNet18"), "ResNet18", str(saved))


def keep_first(path, count):
    """Leave a Keras 3 file the first layers of MobileNet alone: count of those that have weights."""
    with h5py.File(path, "r+") as file:
        for key, group in list(file["layers"].items()):
            if "name" in group["vars"].attrs and group["vars"].attrs["name"] not in MOBILENET_LAYERS[:count]:
                del file[f"layers/{key}"]


MOBILENET_LAYERS = ["conv1", "conv1_bn"]
for block in range(1, 14):
    MOBILENET_LAYERS += [f"conv_{kind}_{block}{norm}" for kind in ("dw", "pw") for norm in ("", "_bn")]


def test_a_file_may_hold_the_first_layers_alone_and_the_others_start_from_the_seed(narrow, saved):
    keep_first(saved, 50)
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        models.append(build_narrow(saved))
    assert is_same(*models)
    random = ["conv_dw_13", "conv_dw_13_bn", "conv_pw_13", "conv_pw_13_bn"]
    start = f"MobileNet, conv1 to conv_pw_12_bn from {Path(saved).name}, conv_dw_13 to conv_pw_13_bn new"
    assert describe_start(models[0], "MobileNet") == {"random": random, "start": start}
    for layer in models[0].layers:
        if layer.weights:
            same = all(map(np.array_equal, layer.get_weights(), narrow.get_layer(layer.name).get_weights()))
            assert same == (layer.name not in random or layer.name.endswith("bn")), layer.name  # new norms are 0 and 1 again


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (
            "conv_pw_3",
            "differ in layer 'conv_pw_3'; expected 54 layers from 'conv1' on, or the first of them without a gap",
        ),
        ("all", "another network, which differ in layer 'conv1'"),
    ],
)
def test_a_gap_is_refused(refused, saved, missing, message):
    with h5py.File(saved, "r+") as file:
        for key, group in list(file["layers"].items()):
            if missing in ("all", group["vars"].attrs.get("name")):
                del file[f"layers/{key}"]
    refused(message, saved)


def write_older_layout(path, model):
    """Write weights as the files of keras.applications hold them."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


@pytest.fixture(scope="module")
def older(narrow, tmp_path_factory):
    """A file of that layout which holds the first layers alone."""
    path = write_older_layout(tmp_path_factory.mktemp("older") / "older.h5", narrow)
    assert is_same(build_narrow(path), narrow)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [each.encode() for each in file.attrs["layer_names"]][:8]
    assert "conv1 to conv_dw_1_bn from" in describe_start(build_narrow(path), "MobileNet")["start"]
    return path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer_names", ["conv1", "conv_dw_1"], "differ in layer 'conv1_bn'"),
        ("layer_names", ["conv1", "nowhere"], "cannot be read .*nowhere"),
        ("layer_names", ["/"], "cannot be read"),
        ("layer_names", 5, "cannot be read"),
        ("weight_names", ["conv1"], "cannot be read"),
        ("weight_names", ["/conv1_bn/conv1_bn/beta"], "layer 'conv1' has weights of shape 8; expected 3x3x3x8"),
        ("weight_names", ["conv1/kernel"] * 1000, "layer 'conv1' has weights of shape 3x3x3x8, 3x3x3x8, .*; expected 3x3x3x8;"),
    ],
)
def test_the_layout_of_keras_applications_is_read_by_layers_names(older, refused, tmp_path, name, value, message):
    path = shutil.copy(older, tmp_path)
    with h5py.File(path, "r+") as file:
        (file if name == "layer_names" else file["conv1"]).attrs[name] = value
    refused(message, path)


def test_first_layers_of_resnet50_are_recorded(shared):
    path = shared / "weights" / "resnet50_conv1_to_conv4_notop.h5"
    model = build("ResNet50", (32, 32), weights=str(path))
    about = describe(model, "ResNet50", weights=str(path))["weights"]
    assert about["sha256"] == "063665c282a67dd2d5cb7615e32d190e8bed55e659cf2be99f2173b7832c068f"
    assert about["start"] == "ResNet50, conv1 to conv4 from resnet50_conv1_to_conv4_notop.h5, conv5 new"
    assert (len(about["random"]), about["random"][0], about["random"][-1]) == (20, "conv5_block1_1_conv", "conv5_block3_3_bn")
    with h5py.File(path) as file:
        kernel = file["conv4_block6_3_conv/conv4_block6_3_conv/kernel"][()]
    assert kernel.std() > 0.005
    np.testing.assert_array_equal(model.get_layer("conv4_block6_3_conv").kernel, kernel.astype(np.float32))


@pytest.mark.parametrize("source", ["imagnet", "no/such.weights.h5"])
def test_unknown_weights_list_what_is_known(refused, source):
    refused("is no file; expected imagenet, none, sample, run:PROFILE/TASK", source)


def test_sample_is_the_file_of_the_repository(saved, narrow, monkeypatch):
    assert find_file("sample").parent.name == "models"
    monkeypatch.setattr(weight_files, "SAMPLE_FILE", saved)
    assert is_same(build_narrow("sample"), narrow)


def test_known_digest_is_demanded(refused, saved):
    (saved.parent / "SHA256SUMS").write_text(f"{'0' * 64}  other.h5\n{'1' * 64}  narrow.weights.h5\n")
    refused(f"expected {'1' * 64}", saved)
    (saved.parent / "SHA256SUMS").write_text(f"{hash_file(saved)} *narrow.weights.h5\n")
    build_narrow(saved)


def test_digest_of_the_manifest_is_known(tmp_path):
    path = tmp_path / "mobilenet_1_0_224_notop.weights.h5"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="expected 2685dbf7261b250c"):
        weight_files.check_digest(path)


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


def make_scale_offset(file, other):
    del file[KERNEL]
    file.create_dataset(KERNEL, data=np.zeros((3, 3, 3, 8), "f4"), scaleoffset=3)


def make_checksums(file, other):
    file.create_dataset("further", data=np.zeros(8, "f4"), fletcher32=True)


def make_texts(file, other):
    file["further"] = ["a", "b"]


def make_compound(file, other):
    file["further"] = np.zeros(2, [("a", "f4"), ("b", "i4")])


def make_named_type(file, other):
    file["further"] = np.dtype("f4")


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


def make_deep_groups(file, other):
    file.create_group("/".join("a" * 2000))


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
        (make_integers, "layer 'conv1' holds int32; expected floating point numbers"),
        (make_not_finite, "layer 'conv1' holds numbers that are not finite"),
        (make_scale_offset, "'layers/conv2d/vars/0' is packed by a filter other than gzip and shuffle"),
        (make_checksums, "'further' is packed by a filter"),
        (make_texts, "'further' is no dataset of plain numbers"),
        (make_compound, "'further' is no dataset of plain numbers"),
        (make_named_type, "cannot be read"),
        (make_missing_layer, "another network, which differ in layer 'conv1'; expected 54 layers .* without a gap"),
        (make_further_layer, "another network, which differ in layer 'predictions'"),
        (make_unnamed_layer, "cannot be read .*name.*; expected a .h5 or .keras file of Keras 3.15 or later"),
        (make_older_layout, "cannot be read .*'layers'"),
        (make_circle, "'layers/conv2d/sub' is reached twice"),
        (make_deep_groups, "is nested too deep"),
        (make_gap, "cannot be read"),
    ],
)
def test_hostile_or_wrong_file_is_refused_before_anything_changes(refused, saved, tmp_path, change, message):
    other = tmp_path / "other.h5"
    shutil.copy(saved, other)
    with h5py.File(saved, "r+") as file:
        change(file, other)
    refused(message, saved)


@pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_hdf5_is_refused(refused, tmp_path, content):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(content)
    refused("cannot be read .*; expected a .h5 or .keras file of Keras 3.15 or later; damaged", path)


# --- weights of another run -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unit(narrow):
    """A network that divides by 255."""
    model = build_narrow(size=(48, 32), preprocessing="unit")
    model.set_weights(narrow.get_weights())
    return model


@pytest.fixture(scope="module")
def saved_reports(unit, tmp_path_factory):
    """A run laptop/celeba, which left that network."""
    reports = tmp_path_factory.mktemp("reports")
    folder = reports / "laptop" / "celeba" / "model"
    save_backbone(unit, folder, "# For transfer", network="MobileNet", alpha=0.25, data={"dataset": "celeba"})
    return reports


@pytest.fixture
def run(saved_reports, tmp_path, monkeypatch):
    """A copy of this run, which a test may harm, as the project's: the folder of its backbone."""
    monkeypatch.setattr(weight_files, "project_root", lambda: tmp_path)
    shutil.copytree(saved_reports, tmp_path / "reports")
    return tmp_path / "reports" / "laptop" / "celeba" / "model"


def test_backbone_of_a_run_is_taken_over_at_another_size(narrow, run):
    model = build_narrow("run:laptop/celeba", (64, 64), preprocessing="unit")
    for found, expected in zip(model.get_weights(), narrow.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected.astype(np.float16) if expected.ndim > 1 else expected)


def test_backbone_is_saved_with_its_model_card_beside_the_run_s_own_models(narrow, tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"task": "celeba", "models": {"model": {"file": "model.keras"}}}))
    save_backbone(narrow, tmp_path, "# For transfer", network="MobileNet", alpha=0.25)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["models"] == {"model": {"file": "model.keras"}}
    assert card["sha256"] == hash_file(tmp_path / "backbone.weights.h5")
    assert (tmp_path / "README.md").read_text() == "# For transfer"


def test_card_says_what_the_backbone_is(run):
    card = json.loads((run / "card.json").read_text())
    assert (card["holds"], card["network"], card["alpha"]) == ("backbone", "MobileNet", 0.25)
    assert card["preprocessing"] == [["Rescaling", 1 / 255, 0.0]]
    assert card["sha256"] == hash_file(run / "backbone.weights.h5")


def test_run_of_another_network_width_or_preprocessing_is_refused(run, refused, unit):
    refused("Rescaling', 0.0039.*expected .*Rescaling', 0.0078", "run:laptop/celeba")
    for name, alpha in (("MobileNet", 1.0), ("ResNet18", 0.25)):
        with pytest.raises(WeightsError, match="MobileNet', 0.25"):
            weights.load_weights(unit, name, "run:laptop/celeba", alpha)


@pytest.mark.parametrize("source", ["run:laptop/smile", "run:celeba", "run:../celeba", "run:laptop/celeba/model"])
def test_a_run_without_a_backbone_is_refused(run, refused, source):
    refused("is no file; expected .*run:PROFILE/TASK of a run that saved its backbone", source)


def test_changed_run_is_refused(run, unit):
    with h5py.File(run / "backbone.weights.h5", "r+") as file:
        file[KERNEL][0, 0, 0, 0] = 1
    with pytest.raises(WeightsError, match="sha256"):
        weights.load_weights(unit, "MobileNet", "run:laptop/celeba", 0.25)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"network": "MobileNet", "sha256": 1}'])
def test_broken_card_is_refused(run, unit, text):
    (run / "card.json").write_text(text)
    with pytest.raises(FacekitError, match="card.json.*; expected (a JSON file|network, alpha, preprocessing and sha256)"):
        weights.load_weights(unit, "MobileNet", "run:laptop/celeba", 0.25)


def test_keras_file_with_hostile_weights_is_refused(narrow, tmp_path):
    narrow.save(tmp_path / "model.keras")
    with open_checked(tmp_path / "model.keras") as file:
        assert "layers" in file
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        archive.extractall(tmp_path / "inside")
    with h5py.File(tmp_path / "inside" / "model.weights.h5", "r+") as file:
        make_external_link(file, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "hostile.keras", "w") as archive:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            archive.write(tmp_path / "inside" / name, name)
    with pytest.raises(WeightsError, match="is a ExternalLink"), open_checked(tmp_path / "hostile.keras"):
        pass
    with zipfile.ZipFile(tmp_path / "packed.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 20))
    with pytest.raises(WeightsError, match="model.weights.h5 is compressed"), open_checked(tmp_path / "packed.keras"):
        pass
    (tmp_path / "none.keras").write_bytes(b"no zip")
    with pytest.raises(WeightsError, match="expected a .h5 or .keras file"), open_checked(tmp_path / "none.keras"):
        pass


# --- ImageNet -------------------------------------------------------------------------------------------

IMAGENET = {
    "MobileNet": ("mobilenet_1_0_224_tf_no_top.h5", ""),
    "ResNet18": ("resnet18-f37072fd.pth", "sha256:f37072fd47e89c5e"),
    "DenseNet121": ("densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:30ee3e1110167f94"),
    "ResNet50": ("resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:4d473c1dd8becc15"),
    "InceptionV3": ("inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5", "md5:bcbd6486424b2319"),
}


@pytest.mark.parametrize("name", IMAGENET)
def test_without_network_the_error_names_file_hash_and_place(built, tmp_path, monkeypatch, name):
    def fail(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file, digest = IMAGENET[name]
    with pytest.raises(WeightsError) as caught:
        weights.load_weights(built(name), name, "imagenet")
    assert f"put it at {tmp_path}/models/{file}" in str(caught.value)
    assert f"/{file} (Name or service not known)" in str(caught.value)
    assert digest in str(caught.value)


class Server(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def imagenet(narrow, tmp_path, monkeypatch):
    """A server with MobileNet's ImageNet file in the layout of keras.applications, and an empty KERAS_HOME."""
    path = tmp_path / "served" / "mobilenet_2_5_224_tf_no_top.h5"
    path.parent.mkdir()
    write_older_layout(path, narrow)
    handler = type("Handler", (Server,), {"directory": str(path.parent)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a, **k: handler(*a, directory=str(path.parent), **k))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listed = next(file for file in weights.read_manifest("weights").files if file.network == "MobileNet" and file.url)
    url = f"http://127.0.0.1:{server.server_port}/{listed.path}"
    manifest = type("Manifest", (), {"files": (listed.model_copy(update={"url": url}),)})
    monkeypatch.setattr(weights, "read_manifest", lambda name: manifest)
    monkeypatch.setattr(weight_files, "read_manifest", lambda name: manifest)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    yield path
    server.shutdown()
    server.server_close()


def test_imagenet_file_is_downloaded_once_checked_and_used(narrow, imagenet, tmp_path):
    assert is_same(build_narrow("imagenet"), narrow)
    stored = tmp_path / "keras" / "models" / imagenet.name
    assert hash_file(stored) == hash_file(imagenet)
    imagenet.unlink()
    assert is_same(build_narrow("imagenet"), narrow)
    with h5py.File(stored, "r+") as file:
        del file["conv1"]
        file["conv1"] = h5py.SoftLink("/conv_pw_1")
    with pytest.raises(WeightsError, match="'conv1' is a SoftLink"):
        build_narrow("imagenet")


def test_a_file_that_the_server_lacks_is_one_line(imagenet, refused):
    imagenet.unlink()
    refused("cannot download http://127.0.0.1.*404.*on another machine and put it at", "imagenet")


def test_imagenet_has_four_widths(untouched):
    with pytest.raises(WeightsError, match="in width 0.3; expected one of 0.25, 0.5, 0.75, 1.0"):
        weights.load_weights(untouched, "MobileNet", "imagenet", 0.3)
