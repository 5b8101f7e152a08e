"""parameters.py: every value has the name, type and range of the notebook, and every path exists, before a kernel starts."""

import json
import re

import pytest
import yaml

from facekit.data.readers.selfie import ATTRIBUTES
from facekit.errors import DataError, FacekitError, ParameterError
from facekit.paths import project_root
from facekit.reporting import parameters
from facekit.reporting.parameters import PROFILES, collect, merge, read_parameters, read_profile, read_yaml

DEFAULTS = """profile = "sample"  # name of this set of values
data = ".facekit/data/tiny"  # folder of the dataset
weights = "none"  # where the weights come from
own_photos = ""  # folder of your own photos; empty: none
epochs = 2  # epochs of the network [1..]
learning_rate = 0.001  # peak learning rate (0..1]
smoothing = 0.1  # label smoothing [0..1)
optimizer = "adam"  # optimiser [adam, sgd, ""]
augment = True  # whether images are augmented
image_size = [64, 64]  # height and width in pixels [32..512]
rates = [0.1, 0.01]  # learning rates to compare (0..1]"""


@pytest.fixture(autouse=True)
def notebooks(tmp_path, monkeypatch):
    monkeypatch.setattr(parameters, "NOTEBOOKS", tmp_path)
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "data" / "tiny").mkdir(parents=True)
    write_notebook(tmp_path)
    write_profiles(tmp_path)
    return tmp_path


def write_notebook(folder, defaults=DEFAULTS):
    cell = {"cell_type": "code", "source": defaults.splitlines(keepends=True), "metadata": {"tags": ["parameters"]}}
    (folder / "tiny.ipynb").write_text(json.dumps({"cells": [cell], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}))


def write_profiles(folder, text="", **profiles):
    (folder / "parameters").mkdir(exist_ok=True)
    content = {name: {"parameters": profiles.get(name, {}), "expected": []} for name in PROFILES}
    (folder / "parameters" / "tiny.yaml").write_text(text or yaml.safe_dump(content))


def test_settings_replace_the_profile_and_the_profile_the_defaults(notebooks):
    write_profiles(notebooks, laptop={"epochs": 7, "learning_rate": 1})
    merged = merge("tiny", "laptop", ["learning_rate=1e-4", "image_size=[96,80]", "augment=false", "smoothing=0"])
    assert merged == {
        "profile": "laptop",
        "data": ".facekit/data/tiny",
        "weights": "none",
        "own_photos": "",
        "epochs": 7,
        "learning_rate": 0.0001,
        "smoothing": 0.0,
        "optimizer": "adam",
        "augment": False,
        "image_size": [96, 80],
        "rates": [0.1, 0.01],
    }


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs=010", 10),
        ("epochs=2.0", 2),
        ("learning_rate=1", 1.0),
        ("smoothing=0", 0.0),
        ("image_size=96, 80", [96, 80]),
        ("image_size=['96','96']", [96, 96]),
        ("rates=1", [1.0]),
        ("optimizer=", ""),
        ("augment=False", False),
    ],
)
def test_a_setting_is_read_by_its_parameters_type(setting, value):
    assert merge("tiny", "sample", [setting])[setting.partition("=")[0]] == value


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("epoch=3", "settings of tiny: unknown parameter 'epoch'; expected one of profile, data, weights"),
        ("epochs", "setting 'epochs'; expected NAME=VALUE"),
        ("epochs=2.5", r"epochs = '2.5'; expected a whole number \[1..\] \(epochs of the network\), such as 2"),
        ("epochs=1:30", "epochs = '1:30'; expected a whole number"),
        ("epochs=true", "epochs = 'true'; expected a whole number"),
        ("epochs=2026-01-01", "epochs = '2026-01-01'; expected a whole number"),
        ("epochs=0", "epochs = '0'; expected a whole number"),
        ("epochs=-1", "epochs = '-1'"),
        ("learning_rate=0", r"learning_rate = '0'; expected a number \(0..1\]"),
        ("learning_rate=-1", "learning_rate = '-1'"),
        ("learning_rate=nan", "learning_rate = 'nan'"),
        ("learning_rate=.inf", "learning_rate = '.inf'"),
        ("smoothing=1", r"smoothing = '1'; expected a number \[0..1\)"),
        ("optimizer=adamw", r"optimizer = 'adamw'; expected text \[adam, sgd"),
        ("augment=2", "augment = '2'; expected true or false"),
        ("image_size=[64,wide]", r"image_size = \['64', 'wide'\]; expected a list of values, each a whole number"),
        ("image_size=[64,8]", "image_size = "),
        ("image_size=" + "[" * 5000, "image_size = "),
        ("image_size=", r"image_size = \[\]; expected a list of values, each a whole number"),
        ("rates=", r"rates = \[\]; expected a list of different values, each a number \(0..1\]"),
        ("rates=0.5,0.50", "rates = .*; expected a list of different values"),
        ("profile=full", "setting profile; give it as --profile or PROFILE"),
        ("data=nowhere", "data = .*nowhere' is not there; expected a folder; see `facekit data list`"),
        ("data=", "data = '' is not there"),
        ("data=.facekit/data/sample/facehack", "is not there; expected a folder; run `make sample`"),
        ("own_photos=nowhere", "own_photos = .*nowhere' is not there"),
        ("own_photos=.facekit/data/tiny", "data/tiny: no image"),
        (
            "own_photos=.facekit/heic",
            "own_photos: no image can be read, such as .*2.heic is no image that can be read, or its header",
        ),
        (
            "weights=nothing.h5",
            "weights = .*nothing.h5': .*nothing.h5 is no file; expected imagenet, none, sample, run:PROFILE/TASK",
        ),
        ("weights=run:laptop/nothing", "'run:laptop/nothing': .* is no file; .*; make nothing PROFILE=laptop"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(notebooks, setting, told):
    (notebooks / "cache" / "heic").mkdir()
    for name in ("1.jpg", "2.heic"):
        (notebooks / "cache" / "heic" / name).write_bytes(b"\0\0\0\x24ftypheic")
    with pytest.raises(FacekitError, match=told) as caught:
        merge("tiny", "sample", [setting])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("epochs", value) for value in (True, 2.5, None, {})), ("rates", 3), ("data", "a\0b"), ("weights", "\0")],
)
def test_a_value_that_is_none_is_refused(name, value):
    with pytest.raises(ParameterError, match=re.escape(f"{name} = {value!r}; expected")):
        merge("tiny", "sample", {name: value})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("epochs: 1:30", "laptop: epochs = '1:30'; expected a whole number"),
        ("epochs: 2026-01-01", "epochs = '2026-01-01'"),
        ("epochs: no", "epochs = 'no'"),
        ("epochs: !!python/object/apply:os.system [ls]", r"epochs = \['ls'\]; expected a whole number"),
        ("epoch: 3", "tiny.yaml, laptop: unknown parameter 'epoch'"),
        ("epochs: [", "expected a YAML file"),
        (r'own_photos: "a\0b"', r"own_photos = 'a\\x00b'; expected text"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_line(notebooks, line, told):
    others = "".join(f"{name}: {{parameters: {{}}, expected: []}}\n" for name in PROFILES if name != "laptop")
    write_profiles(notebooks, text=f"laptop:\n  parameters: {{{line}}}\n  expected: []\n{others}")
    with pytest.raises(FacekitError, match=told) as caught:
        merge("tiny", "laptop")
    assert "\n" not in str(caught.value)


def test_octal_in_a_profile_is_ten_and_null_is_nothing(notebooks):
    others = "".join(f"{name}: {{parameters: {{}}, expected: []}}\n" for name in PROFILES if name != "laptop")
    row = "{metric: test/accuracy, value: null, low: ~, high: 0.9, minutes: 1.5}"
    write_profiles(notebooks, text=f"laptop:\n  parameters: {{epochs: 010, optimizer: sgd}}\n  expected: [{row}]\n{others}")
    assert merge("tiny", "laptop")["epochs"] == 10
    (expected,) = read_profile("tiny", "laptop").expected
    assert (expected.metric, expected.value, expected.low, expected.high) == ("test/accuracy", None, None, 0.9)
    assert not expected.includes(0.5)
    assert expected.model_copy(update={"low": 0.4}).includes(0.5)


@pytest.mark.parametrize(
    "row", ["low: 0.9, value: 0.8, high: 0.7", "low: 0.9, value: null, high: 0.7", "low: 0.7, value: 0.6, high: 0.8"]
)
def test_an_expected_range_without_its_value_is_refused(notebooks, row):
    write_profiles(notebooks)
    text = (notebooks / "parameters" / "tiny.yaml").read_text()
    write_profiles(notebooks, text=text.replace("expected: []", f"expected: [{{metric: a, {row}}}]", 1))
    with pytest.raises(DataError, match=r"tiny.yaml: .*expected.0: not low <= value <= high, received ") as caught:
        merge("tiny", "sample")
    assert "\n" not in str(caught.value)


def test_ranges_that_the_cell_leaves_open_are_in_the_profiles_file(notebooks):
    write_notebook(notebooks, DEFAULTS + "\nunits = [64]  # units of the dense layers")
    assert merge("tiny", "sample", ["units=-1"])["units"] == [-1]
    text = (notebooks / "parameters" / "tiny.yaml").read_text()
    write_profiles(notebooks, text=f'allowed: {{units: "[1..]"}}\n{text}')
    assert merge("tiny", "sample", ["units=1,2"])["units"] == [1, 2]
    with pytest.raises(ParameterError, match=r"units = \['0'\]; expected a list of values, each a whole number \[1..\] \("):
        merge("tiny", "sample", ["units=0"])
    for wrong in ("{unit: '[1..]'}", "{epochs: '[1..]'}", "{units: 1}", "{units: [1]}", "5"):
        write_profiles(notebooks, text=f"allowed: {wrong}\n{text}")
        with pytest.raises(FacekitError, match="tiny.yaml: allowed"):
            merge("tiny", "sample")
    write_profiles(notebooks, text=f"allowed: {{units: '[100..]'}}\n{text}")
    with pytest.raises(ParameterError, match="tiny.ipynb: units = "):
        merge("tiny", "sample")


def test_names_that_begin_like_null_are_text(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [network, n, null, nullable, no, ~]")
    assert read_yaml(tmp_path / "a.yaml") == {"a": ["network", "n", None, "nullable", "no", None]}


DAMAGED = [
    b"\xff\xfe",
    b"- 1",
    b"a: *b",
    b"? [a]\n: b",
    b"a\x00b: 1",
    b"[" * 9000,
    b"{" * 9000,
    b"a: &b [*b]",
    b"a: &b 1\nc: *b",
]
DAMAGED += [b"a: 1\na: 2", b"a: {b: 1, b: 2}", b"~: 1", b"2026-01-01", b'a: "\\UFFFFFFFF"', b"%YAML 3.0\n---\na: 1", b"a: !<"]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_yaml_file_is_one_line(tmp_path, content):
    path = tmp_path / "damaged.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged.yaml") as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="missing.yaml"):
        read_yaml(tmp_path / "missing.yaml")


def test_unknown_profile_task_and_incomplete_profiles_are_refused(notebooks):
    with pytest.raises(ParameterError, match="unknown profile 'desktop'; expected one of sample, laptop, report, full"):
        merge("tiny", "desktop")
    with pytest.raises(ParameterError, match="unknown task 'smiles'; expected one of tiny"):
        merge("smiles", "sample")
    write_profiles(notebooks, text="sample: {parameters: {}, expected: []}")
    with pytest.raises(DataError, match="tiny.yaml: laptop: Field required, received "):
        merge("tiny", "sample")
    write_profiles(notebooks, sample={}, text="")
    text = (notebooks / "parameters" / "tiny.yaml").read_text().replace("expected: []", "expected: [{metric: a, high: x}]")
    write_profiles(notebooks, text=text)
    with pytest.raises(DataError, match="tiny.yaml: sample.expected.0"):
        merge("tiny", "sample")


@pytest.mark.parametrize(
    "line",
    [
        "epochs = 2",
        "a = 1  # with a = sign",
        "a = None  # nothing",
        "a = b  # a name",
        "a = (1, 2)  # a tuple",
        "a = []  # a list without a type",
        "a = 3  # out of its own range [4..]",
        'a = "x"  # none of its own choices [y, z]',
        "a = 3  # odd choices [y, z]",
        f"a = {'[' * 3000}  # deep",
    ],
)
def test_a_line_of_another_form_is_refused(notebooks, line):
    write_notebook(notebooks, f"good = 1  # help\n{line}")
    with pytest.raises(ParameterError, match="tiny.ipynb: .*; expected"):
        read_parameters("tiny")


def test_help_may_end_in_parentheses(notebooks):
    write_notebook(notebooks, "a = 1  # as in the report (see section 2)\nb = -1  # layers; -1: all [-1..]")
    found = read_parameters("tiny")
    assert (found["a"].help, found["a"].allowed) == ("as in the report (see section 2)", "")
    assert (found["b"].help, found["b"].allowed) == ("layers; -1: all", "[-1..]")


UNKNOWN = b'{"cells": [{"cell_type": "heading"}, {"cell_type": "code", "source": "", "metadata": {"tags": ["parameters"]}}]}'


@pytest.mark.parametrize(
    "content", [b"\xff", b"[]", b"{}", b'{"cells": 3}', b'{"cells": [{"source": null, "metadata": {}}]}', b"[" * 99999, UNKNOWN]
)
def test_a_damaged_notebook_is_one_line(notebooks, content):
    (notebooks / "tiny.ipynb").write_bytes(content)
    with pytest.raises(ParameterError, match="tiny.ipynb; expected a Jupyter notebook") as caught:
        read_parameters("tiny")
    assert "\n" not in str(caught.value)


def test_collect_checks_what_the_notebook_runs_with():
    namespace = {name: parameter.default for name, parameter in read_parameters("tiny").items()} | {"other": object()}
    assert collect("tiny", namespace)["image_size"] == [64, 64] and "other" not in collect("tiny", namespace)
    with pytest.raises(ParameterError, match="notebook tiny: epochs = 0"):
        collect("tiny", namespace | {"epochs": 0})
    del namespace["epochs"]
    with pytest.raises(ParameterError, match="notebook tiny: no epochs"):
        collect("tiny", namespace)


def test_paths_start_at_the_root_wherever_the_command_was_given(tmp_path, monkeypatch):
    root = project_root()
    monkeypatch.chdir(root)
    assert merge("tiny", "sample", [f"data={root / 'tests'}"])["data"] == "tests"
    assert merge("tiny", "sample", ["data=../main/tests"] if root.name == "main" else ["data=tests"])["data"].endswith("tests")
    monkeypatch.chdir(root / "tests")
    assert merge("tiny", "sample", ["data=../notebooks"])["data"] == "notebooks"
    assert merge("tiny", "sample", ["data=.facekit/data/tiny"])["data"] == ".facekit/data/tiny"
    assert merge("tiny", "sample", ["weights=imagenet"])["weights"] == "imagenet"
    (tmp_path / "own.weights.h5").touch()
    path = parameters.resolve(merge("tiny", "sample", [f"weights={tmp_path / 'own.weights.h5'}"])["weights"])
    assert path == (tmp_path / "own.weights.h5").resolve()


# At most so many rows are taken as there are; the layers of a network are known where it is checked.
COUNTS = ("rows", "held_out_rows", "train_images", "validation_images", "test_images", "short_images")
COUNTS += ("frozen_layers",)


@pytest.mark.parametrize(
    "setting",
    [
        *("smile clusters=4", "age clusters=4", "age cnn_size=50", "smile alpha=0.01", "smile epochs=1000000000"),
        *("smile seed=4294967295", "selfie-task1 dense_units=1000000", "selfie-task1 minimum_per_class=1000000000"),
        *("selfie-auxiliary repeats=1000", "selfie-task2 validation_fraction=1e-320", "selfie-ranking regression_c=1e-300"),
        *("selfie-ranking references=white,white", "selfie-ranking own=", "gender-size scales=", "gender-size scales=0.5,0.5"),
        *(
            "celeba-networks grid_networks=",
            "celeba-networks grid_rates=",
            "celeba-networks grid_dropouts=",
            "celeba-networks compared_networks=ResNet18,ResNet18",
        ),
    ],
)
def test_what_would_fail_after_the_training_is_refused(monkeypatch, setting):
    monkeypatch.setattr(parameters, "NOTEBOOKS", project_root() / "notebooks")
    monkeypatch.setattr(parameters, "_check_path", lambda name, value: None)  # the data need not be here
    task, word = setting.split()
    with pytest.raises(ParameterError, match=f"settings of {task}: {word.partition('=')[0]} = .*; expected "):
        merge(task, "sample", [word])


def test_every_number_and_choice_of_the_projects_notebooks_has_its_bounds(monkeypatch):
    monkeypatch.setattr(parameters, "NOTEBOOKS", project_root() / "notebooks")
    for task in parameters.list_tasks():
        for name, parameter in read_parameters(task).items():
            elsewhere = name == "profile" or name.endswith(parameters.PATHS) or isinstance(parameter.default, bool)
            assert parameter.allowed or elsewhere, f"{task}: {name} has neither a range nor choices"
            assert name in COUNTS or not parameter.allowed.endswith(("..]", "..)")), f"{task}: {name} has no upper bound"
    assert read_parameters("selfie-ranking")["own"].allowed == f"[{', '.join(ATTRIBUTES)}]"
    assert set(read_parameters("selfie-ranking")["references"].allowed[1:-1].split(", ")) <= set(ATTRIBUTES)
