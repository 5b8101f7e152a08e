"""Manifests: the facts of the five files, and one clear line for a broken one."""

import pytest
import yaml

from facekit.data import manifests
from facekit.data.manifests import DatasetManifest, list_manifests, read_manifest
from facekit.errors import DataError, ParameterError
from facekit.paths import project_root


@pytest.fixture
def spoil(tmp_path, monkeypatch):
    """Return a function that writes FaceHack's manifest with changes, or any text, and reads it."""
    source = (project_root() / "data_manifests" / "facehack.yaml").read_text()
    (tmp_path / "data_manifests").mkdir()
    monkeypatch.setattr(manifests, "project_root", lambda: tmp_path)

    def write(text=None, **changes):
        content = yaml.safe_load(source) | changes
        content = {key: value for key, value in content.items() if value is not None}
        text = yaml.safe_dump(content) if text is None else text
        (tmp_path / "data_manifests" / "facehack.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_manifest("facehack")

    return write


def test_every_manifest_is_complete():
    assert list_manifests() == ["celeba", "facehack", "indian_actors", "selfie", "weights"]
    for name in list_manifests():
        manifest = read_manifest(name)
        assert manifest.name == name
        assert (manifest.source.url is None) == (manifest.source.kind == "files"), name
        assert bool(manifest.source.steps) == (manifest.source.kind == "page"), name
        assert all(file.sha256 or file.md5 or file.bytes for file in manifest.files), name
        assert manifest.homepage.startswith("https://"), name
        assert min(len(manifest.title), len(manifest.terms), len(manifest.citation)) > 20, name


@pytest.mark.parametrize(
    ("name", "rows", "images", "source"),
    [
        ("selfie", {"selfies": 46836, "rows": 46836}, 46836, "archive"),
        ("celeba", {"attributes": 202599, "partition": 202599, "identities": 202599}, 202599, "page"),
        ("indian_actors", {"train": 19906, "test": 6636}, 26542, "page"),
        ("facehack", {"train": 4831, "test": 1611}, 6442, "archive"),
    ],
)
def test_published_counts(name, rows, images, source):
    manifest = read_manifest(name)
    assert isinstance(manifest, DatasetManifest)
    assert {name: table.rows for name, table in manifest.tables.items()} == rows
    assert manifest.images.count == images
    assert manifest.source.kind == source
    for table in manifest.tables.values():
        for column in table.columns.values():
            # An attribute's counts and a class's counts cover every row.
            assert not column.counts or sum(column.counts.values()) == table.rows
            assert set(column.counts) <= set(column.values)
        assert table.key in table.columns
        written = {"file", "row", "value", "reason", "path", "found", "folder", "split", "group"}
        assert not set(table.columns) & written
        assert all(image.rpartition("/")[2].count(f"{{{table.key}}}") == 1 for image in table.images)


def test_encodings_of_classes_and_attributes():
    selfie, celeba = read_manifest("selfie").tables["selfies"], read_manifest("celeba")
    assert list(selfie.columns)[:4] == ["name", "popularity", "partial_faces", "is_female"]
    assert len(selfie.columns) == 38
    assert set(selfie.columns["dim_lighting"].values) == {"-1", "0", "1"}
    assert len(celeba.tables["attributes"].columns) == 41
    assert celeba.tables["attributes"].columns["Male"].counts == {"1": 84434, "-1": 118165}
    assert celeba.tables["partition"].columns["partition"].counts == {"0": 162770, "1": 19867, "2": 19962}
    assert read_manifest("indian_actors").tables["train"].columns["Class"].counts == {
        "YOUNG": 6706,
        "MIDDLE": 10804,
        "OLD": 2396,
    }


def test_weights_hold_a_row_for_every_network():
    manifest = read_manifest("weights")
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
    files = {file.path: file.sha256 for file in read_manifest("weights").files}
    assert files["mobilenet_1_0_224_notop.weights.h5"] == sums["mobilenet_1_0_224_notop.weights.h5"]


def test_unknown_name_lists_the_known():
    with pytest.raises(ParameterError, match="unknown dataset 'faces'; expected one of celeba, facehack"):
        read_manifest("faces")


def archive(url):
    return {"source": {"kind": "archive", "url": url}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licence": "MIT"}, r"facehack\.yaml: licence: Extra inputs"),
        ({"title": None}, r"facehack\.yaml: title: Field required"),
        ({"terms": 7}, r"facehack\.yaml: terms: Input should be a valid string, received 7"),
        ({"source": {"kind": "ftp"}}, r"facehack\.yaml: source\.kind: .*'ftp'"),
        (archive("http://github.com/a/b.zip"), r"source\.url"),
        (archive("http://127.0.0.1:80@evil.org/b.zip"), r"source\.url"),
        (archive("https://user@evil.org/b.zip"), r"source\.url"),
        (archive("https://evil.org\\@good.org/b.zip"), r"source\.url"),
        ({"files": [{"path": "../train.csv", "bytes": 1}]}, r"facehack\.yaml: files\.0\.path: String should match pattern"),
        ({"files": [{"path": "/etc/passwd", "bytes": 1}]}, r"facehack\.yaml: files\.0\.path: String should match pattern"),
        ({"images": {"count": "6442"}}, r"facehack\.yaml: images\.count: .*received '6442'"),
        ({"images": {"count": -1}}, r"facehack\.yaml: images\.count: "),
        ({"tables": {}}, r"facehack\.yaml: tables: "),
        ({"text": "title: a\nfiles: [\n"}, r"facehack\.yaml: no readable yaml \(.*line 3"),
        ({"text": b"title: \xff\n"}, r"facehack\.yaml: no readable yaml"),
        ({"text": "[" * 100_000}, r"facehack\.yaml: no readable yaml"),
        ({"text": "kind: dataset\nnull: 1\n"}, r"facehack\.yaml: "),
        ({"text": "- a\n"}, r"facehack\.yaml: \(top level\): Input should be a valid dictionary .*, received \['a'\]"),
    ],
)
def test_broken_manifest_names_file_and_key(spoil, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        spoil(**changes)
    assert "\n" not in str(caught.value)
