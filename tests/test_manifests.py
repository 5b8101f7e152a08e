"""Manifests: the facts of the five files, and one clear line for a broken one."""

import pytest
import yaml

from facekit.errors import DataError, ParameterError
from facekit.folders import project_root
from facekit.manifests import DatasetManifest, list_manifests, load_manifest


@pytest.fixture
def spoil(tmp_path):
    """Return a function that writes FaceHack's manifest with changes and loads it."""

    def write(**changes):
        content = yaml.safe_load((project_root() / "data_manifests" / "facehack.yaml").read_text())
        content = {key: value for key, value in (content | changes).items() if value is not None}
        (tmp_path / "facehack.yaml").write_text(yaml.safe_dump(content))
        return load_manifest("facehack", tmp_path)

    return write


def test_every_manifest_is_complete():
    assert list_manifests() == ["celeba", "facehack", "indian_actors", "selfie", "weights"]
    for name in list_manifests():
        manifest = load_manifest(name)
        assert manifest.homepage.startswith("https://"), name
        assert min(len(manifest.title), len(manifest.terms), len(manifest.citation), len(manifest.layout)) > 20, name


@pytest.mark.parametrize(
    ("name", "rows", "pictures", "source"),
    [
        ("selfie", {"selfies": 46836, "rows": 46836}, 46836, "url"),
        ("celeba", {"attributes": 202599, "partition": 202599, "identities": 202599}, 202599, "page"),
        ("indian_actors", {"train": 19906, "test": 6636}, 26542, "page"),
        ("facehack", {"train": 4831, "test": 1611}, 6442, "git"),
    ],
)
def test_published_counts(name, rows, pictures, source):
    manifest = load_manifest(name)
    assert isinstance(manifest, DatasetManifest)
    assert {table.name: table.rows for table in manifest.tables} == rows
    assert manifest.pictures.count == pictures
    assert manifest.source.kind == source
    for table in manifest.tables:
        for column in table.columns.values():
            # An attribute's counts and a class's counts cover every row.
            assert not column.counts or sum(column.counts.values()) == table.rows


def test_encodings_of_classes_and_attributes():
    selfie, celeba = load_manifest("selfie").table("selfies"), load_manifest("celeba")
    assert list(selfie.columns)[:4] == ["name", "popularity", "partial_faces", "is_female"]
    assert len(selfie.columns) == 38
    assert set(selfie.columns["dim_lighting"].values) == {"-1", "0", "1"}
    assert len(celeba.table("attributes").columns) == 41
    assert celeba.table("attributes").columns["Male"].counts == {"1": 84434, "-1": 118165}
    assert celeba.table("partition").columns["partition"].counts == {"0": 162770, "1": 19867, "2": 19962}
    assert load_manifest("indian_actors").table("train").columns["Class"].counts == {
        "YOUNG": 6706,
        "MIDDLE": 10804,
        "OLD": 2396,
    }


def test_weights_hold_a_row_for_every_network():
    manifest = load_manifest("weights")
    assert {file.network for file in manifest.files} == {
        "MobileNet",
        "ResNet50",
        "InceptionV3",
        "DenseNet121",
        "ResNet18",
    }
    resnet18 = next(file for file in manifest.files if file.network == "ResNet18")
    assert resnet18.known_hash == "sha256:f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec"


def test_weights_hold_the_shared_mobilenet(shared):
    sums = dict(reversed(line.split()) for line in (shared / "weights" / "SHA256SUMS").read_text().splitlines())
    files = {file.path: file.sha256 for file in load_manifest("weights").files}
    assert files["mobilenet_1_0_224_notop.weights.h5"] == sums["mobilenet_1_0_224_notop.weights.h5"]


def test_unknown_name_lists_the_known():
    with pytest.raises(ParameterError, match="unknown dataset 'faces'; expected one of celeba, facehack"):
        load_manifest("faces")
    with pytest.raises(ParameterError, match="facehack has no table 'valid'; expected one of train, test"):
        load_manifest("facehack").table("valid")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "MIT"}, r"facehack\.yaml: licence: Extra inputs"),
        ({"title": None}, r"facehack\.yaml: title: Field required"),
        ({"terms": 7}, r"facehack\.yaml: terms: Input should be a valid string, came 7"),
        ({"name": "smiles"}, r"facehack\.yaml: name is 'smiles'; expected 'facehack'"),
        ({"source": {"kind": "ftp"}}, r"facehack\.yaml: source: .*'ftp'"),
        (
            {"source": {"kind": "git", "repository": "http://github.com/a/b", "commit": "71d6e07"}},
            r"source\.git\.repository",
        ),
        ({"files": [{"path": "../train.csv", "bytes": 1}, {"path": "x"}]}, r"facehack\.yaml: files\.1: .*needs sha256"),
        ({"pictures": {"count": "6442", "size": "any"}}, r"facehack\.yaml: pictures\.count: .*came '6442'"),
        ({"tables": []}, r"facehack\.yaml: tables: "),
    ],
)
def test_broken_manifest_names_file_and_key(spoil, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        spoil(**changes)
    assert "\n" not in str(caught.value)


def test_counts_must_belong_to_the_encoding(spoil):
    table = {
        "name": "train",
        "forms": [{"path": "train.csv", "separator": "comma", "header": "none"}],
        "rows": 1,
        "key": "id",
        "columns": {"id": {}, "label": {"values": {"smile": ""}, "counts": {"grin": 1}}},
    }
    with pytest.raises(DataError, match=r"tables\.0\.columns\.label: .*counts of \['grin'\]"):
        spoil(tables=[table])
    table["columns"] = {"label": {}}
    with pytest.raises(DataError, match=r"tables\.0: .*key 'id' is none of the columns"):
        spoil(tables=[table])


def test_text_that_is_no_yaml_names_the_line(tmp_path):
    (tmp_path / "facehack.yaml").write_text("title: a\nfiles: [\n")
    with pytest.raises(DataError, match=r"facehack\.yaml line 3: no valid yaml"):
        load_manifest("facehack", tmp_path)
    (tmp_path / "facehack.yaml").write_text("- a\n")
    with pytest.raises(DataError, match=r"facehack\.yaml: holds list; expected keys and values"):
        load_manifest("facehack", tmp_path)
