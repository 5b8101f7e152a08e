"""PyTorch's files, none of whose code is run: what ResNet18 computes from them is what PyTorch computes."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from facekit.errors import WeightsError
from facekit.models.backbones import build
from facekit.models.weight_files import read_torch_file
from facekit.models.weights import describe_start, load_weights


def pickle_tensor(key, count, size, stride, offset=0):
    """Opcodes of one tensor as torch.save writes it: a call of _rebuild_tensor_v2 on a persistent storage."""

    def number(value):
        return b"\x8a\x08" + struct.pack("<q", value)

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
    turned = write_torch_zip(tmp_path / "turned.pth", pickle_tensor("0", 12, (3, 2), (1, 3)), data)
    np.testing.assert_array_equal(read_torch_file(turned)["w"], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (pickle_tensor("0", 12, (2, 3), (10, 1)), r"size \(2, 3\) in a storage of 12"),
        (pickle_tensor("0", 12, (2, 3), (-3, 1), offset=3), "in a storage of 12"),
        (pickle_tensor("0", 12, (2, 3), (3, 1), offset=7), "in a storage of 12"),
        (pickle_tensor("0", 12, (2, 3), (3, 1), offset=-1), "in a storage of 12"),
        (pickle_tensor("0", 12, (-2, 3), (3, 1)), "in a storage of 12"),
        (pickle_tensor("0", 13, (1, 13), (13, 1)), r"size \(1, 13\) in a storage of 12"),
        (pickle_tensor("0", 12, (5,), (1 << 60,)), "in a storage of 12"),  # 4 bytes each: where numpy's check overflows
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


def test_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"conv1.weight": Evil()}, protocol=2))
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
    for layer in [layer for layer in model.layers if layer.weights]:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        stage, *rest = layer.name.split("_", 1)
        name = ".".join([stage, *(part.replace("_", ".") for part in rest)])
        if len(shapes) == 1:
            height, width, inner, outer = shapes[0]
            scale = np.sqrt(2 / (height * width * inner))
            state[f"{name}.weight"] = scale * random.standard_normal((outer, inner, height, width), np.float32)
        else:
            for part, low, high in (("weight", 0.5, 1.5), ("bias", -0.2, 0.2)):
                state[f"{name}.{part}"] = random.uniform(low, high, shapes[0]).astype(np.float32)
            for part, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.5, 2)):
                state[f"{name}.{part}"] = random.uniform(low, high, shapes[0]).astype(np.float32)
            state[f"{name}.num_batches_tracked"] = np.array(7)
    return state


@pytest.fixture(scope="module")
def state(built):
    return make_state(built("ResNet18"))


def test_safetensors_file_is_converted(built, state, tmp_path):
    save_file(state, tmp_path / "resnet18.safetensors")
    model = build("ResNet18", (32, 32), weights=str(tmp_path / "resnet18.safetensors"))
    assert model.get_layer("layer2_0_downsample_0").kernel.shape == (1, 1, 64, 128)
    kernel = model.get_layer("layer4_1_conv2").kernel.numpy()
    assert kernel[2, 0, 5, 7] == state["layer4.1.conv2.weight"][7, 5, 2, 0]
    norm = model.get_layer("layer2_0_downsample_1")
    np.testing.assert_array_equal(norm.moving_variance, state["layer2.0.downsample.1.running_var"])
    with pytest.raises(WeightsError, match="weights of another network"):
        load_weights(built("MobileNet"), "MobileNet", str(tmp_path / "resnet18.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer1.0.bn1.running_var": None}, "layer 'layer1_0_bn1' has weights of shape 64, 64, 64; expected 64, 64, 64, 64"),
        ({"layer1.0.bn1.odd": np.zeros(64)}, "layer 'layer1_0_bn1' has weights of shape 64, 64, 64, 64, 64; expected 64, 64"),
        ({"layer1.2.conv1.weight": np.zeros(1)}, "another network, which differ in layer 'layer1_2_conv1'"),
        ({"conv1.weight": np.zeros((64, 3, 3, 3))}, "layer 'conv1' has weights of shape 3x3x3x64; expected 7x7x3x64"),
        ({"layer3.0.conv1.weight": None}, "which differ in layer 'layer3_0_conv1'"),
        ({"conv1.weight": np.zeros((64, 3, 7, 7), int)}, "layer 'conv1' holds int64; expected floating point numbers"),
        ({"bn1.bias": np.full(64, np.inf, np.float32)}, "layer 'bn1' holds numbers that are not finite"),
    ],
)
def test_state_of_another_network_is_refused(built, state, tmp_path, changes, message):
    changed = {name: value for name, value in (state | changes).items() if value is not None}
    save_file(changed, tmp_path / "resnet18.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_weights(built("ResNet18"), "ResNet18", str(tmp_path / "resnet18.safetensors"))


def test_a_file_may_hold_the_first_layers_alone(state, tmp_path):
    first = {name: value for name, value in state.items() if not name.startswith("layer4")}
    save_file(first, tmp_path / "first.safetensors")
    model = build("ResNet18", (32, 32), weights=str(tmp_path / "first.safetensors"))
    start = describe_start(model, "ResNet18")
    assert start["start"] == "ResNet18, conv1 to layer3 from first.safetensors, layer4 new"
    assert len(start["random"]) == 10
    np.testing.assert_array_equal(model.get_layer("layer3_1_bn2").beta, state["layer3.1.bn2.bias"])


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


def test_resnet18_computes_what_pytorch_computes(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, an extra of developers, is not installed")
    reference = build_torch_resnet18(torch)
    state = make_state(build("ResNet18", (64, 97)), seed=1)
    reference.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
    torch.save(reference.state_dict(), tmp_path / "resnet18.pth")
    model = build("ResNet18", (64, 97), weights=str(tmp_path / "resnet18.pth"), preprocessing="none")
    images = np.random.default_rng(2).normal(size=(2, 64, 97, 3)).astype(np.float32)
    with torch.no_grad():
        expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-4, atol=1e-4 * expected.std())


def test_parameters_are_read_like_tensors(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch, an extra of developers, is not installed")
    buffer = io.BytesIO()
    torch.save({"w": torch.nn.Parameter(torch.arange(3.0))}, buffer)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read_torch_file(tmp_path / "a.pth")["w"], [0, 1, 2])
