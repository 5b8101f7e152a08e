"""Fetching, against a server on this machine: good files, and every way in which a download or an archive is bad."""

import gc
import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from facekit import fetch
from facekit.errors import DataError, ParameterError
from facekit.fetch import describe_steps, fetch_archive, fetch_dataset, fetch_file, unpack_archive
from facekit.manifests import FixedFile, GitSource, UrlSource, load_manifest

# pooch leaves the connection of a failed download to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")

TABLE = b"a,NOT smile\n"
TABLE_SHA256 = hashlib.sha256(TABLE).hexdigest()


class Server:
    """Files by path; those in `cut` break off in the middle; `asked` counts the requests."""

    def __init__(self):
        self.files, self.cut, self.asked = {}, set(), []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 - the name that http.server asks for
                owner.asked.append(self.path)
                content = owner.files.get(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write((content or b"")[: len(content) // 2 if self.path in owner.cut else None])

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()
    gc.collect()  # so that such a connection is closed here, and not in a test of another file


def make_zip(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def make_tar(members: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in special:
            archive.addfile(entry)
    return stream.getvalue()


def list_everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.name.endswith(".lock"))


def test_commit_of_a_repository_becomes_the_dataset(server, tmp_path):
    content = make_zip({"hack-71d6e07aa/README.md": b"x", "hack-71d6e07aa/dataset/train.csv": TABLE})
    server.files["/me/hack/archive/71d6e07.zip"] = content
    source = GitSource(kind="git", repository=f"{server.url}/me/hack", commit="71d6e07", folder="dataset")
    known = FixedFile(path="train.csv", sha256=TABLE_SHA256)
    target = fetch_archive(source, [known], tmp_path / "data" / "hack", progress=False)
    assert (target / "train.csv").read_bytes() == TABLE
    assert list_everything(tmp_path / "data") == ["hack", "hack/train.csv"]
    assert list_everything(tmp_path / "cache" / "downloads") == []


def test_changed_table_in_the_archive_is_refused_and_nothing_is_left(server, tmp_path):
    server.files["/hack/archive/71d6e07.zip"] = make_zip({"hack/train.csv": b"b,NOT smile\n"})
    source = GitSource(kind="git", repository=f"{server.url}/hack", commit="71d6e07")
    with pytest.raises(DataError, match=r"train\.csv: sha256 .*expected " + TABLE_SHA256):
        fetch_archive(source, [FixedFile(path="train.csv", sha256=TABLE_SHA256)], tmp_path / "data" / "hack", progress=False)
    assert list_everything(tmp_path / "data") == []
    assert list_everything(tmp_path / "cache" / "downloads") == []


def test_wrong_hash_of_an_archive_is_refused(server, tmp_path):
    server.files["/faces.tar.gz"] = make_tar({"faces/a.jpg": b"x"})
    source = UrlSource(kind="url", url=f"{server.url}/faces.tar.gz", sha256="0" * 64, folder="faces")
    with pytest.raises(DataError, match=r"faces\.tar\.gz: the file's hash is another; expected sha256:000"):
        fetch_archive(source, [], tmp_path / "faces", progress=False)
    assert list_everything(tmp_path / "cache" / "downloads") == []


def test_cut_download_leaves_nothing_and_starts_again_cleanly(server, tmp_path):
    server.files["/faces.tar.gz"] = make_tar({"faces/a.jpg": b"picture" * 1000})
    server.cut.add("/faces.tar.gz")
    source = UrlSource(kind="url", url=f"{server.url}/faces.tar.gz", folder="faces")
    with pytest.raises(DataError, match="the download broke off; nothing was kept"):
        fetch_archive(source, [], tmp_path / "faces", progress=False)
    assert not (tmp_path / "faces").exists()
    assert list_everything(tmp_path / "cache" / "downloads") == []
    server.cut.clear()
    fetch_archive(source, [], tmp_path / "faces", progress=False)
    assert (tmp_path / "faces" / "a.jpg").read_bytes() == b"picture" * 1000


def test_what_a_killed_fetch_left_is_no_obstacle(server, tmp_path):
    server.files["/faces.tar.gz"] = make_tar({"faces/a.jpg": b"x"})
    (tmp_path / ".faces.part" / "faces").mkdir(parents=True)
    (tmp_path / ".faces.part" / "faces" / "old.jpg").touch()
    (tmp_path / "faces").mkdir()
    source = UrlSource(kind="url", url=f"{server.url}/faces.tar.gz", folder="faces")
    fetch_archive(source, [], tmp_path / "faces", progress=False)
    assert list_everything(tmp_path / "faces") == ["a.jpg"]
    assert not (tmp_path / ".faces.part").exists()


def test_folder_with_files_in_it_is_not_touched(server, tmp_path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "mine.txt").write_text("mine")
    source = UrlSource(kind="url", url=f"{server.url}/faces.tar.gz")
    with pytest.raises(DataError, match="faces is not empty; expected a new folder; remove it, or name another with --root"):
        fetch_archive(source, [], tmp_path / "faces", progress=False)
    assert server.asked == []


def test_missing_file_on_the_server_is_one_line(server, tmp_path):
    source = UrlSource(kind="url", url=f"{server.url}/none.zip")
    with pytest.raises(DataError, match=r"none\.zip: the server answers 404 Not Found; nothing was kept") as caught:
        fetch_archive(source, [], tmp_path / "none", progress=False)
    assert "\n" not in str(caught.value)


def test_no_connection_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    source = UrlSource(kind="url", url="http://127.0.0.1:1/faces.zip")
    with pytest.raises(DataError, match=r"faces\.zip: no connection \(ConnectionError\); nothing was kept; check"):
        fetch_archive(source, [], tmp_path / "faces", progress=False)


def test_page_in_place_of_an_archive_is_named(server, tmp_path):
    server.files["/faces.zip"] = b"<!DOCTYPE html><html>Please sign in"
    source = UrlSource(kind="url", url=f"{server.url}/faces.zip")
    with pytest.raises(DataError, match="starts with b'<!DOCTYPE html><'; expected a zip or tar archive"):
        fetch_archive(source, [], tmp_path / "faces", progress=False)


def test_single_file_is_checked_and_not_fetched_twice(server, tmp_path):
    server.files["/w.h5"] = TABLE
    file = FixedFile(path="w.h5", sha256=TABLE_SHA256, bytes=len(TABLE), url=f"{server.url}/w.h5")
    assert fetch_file(file, tmp_path, progress=False).read_bytes() == TABLE
    fetch_file(file, tmp_path, progress=False)
    assert server.asked == ["/w.h5"]


def test_single_file_of_another_size_is_removed(server, tmp_path):
    server.files["/w.h5"] = TABLE
    with pytest.raises(DataError, match="12 bytes; expected 17,225,924"):
        fetch_file(FixedFile(path="w.h5", bytes=17225924, url=f"{server.url}/w.h5"), tmp_path, progress=False)
    assert list_everything(tmp_path) == []


def test_unknown_weights_file_lists_the_known(tmp_path):
    with pytest.raises(ParameterError, match=r"weights has no file vgg\.h5; expected one of mobilenet_1_0_224_tf_no_top\.h5"):
        fetch_dataset("weights", tmp_path, only=["vgg.h5"])


def test_data_behind_a_page_prints_the_exact_steps(tmp_path):
    with pytest.raises(DataError, match="celeba is given out on https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html only"):
        fetch_dataset("celeba", tmp_path)
    steps = describe_steps(load_manifest("celeba"), tmp_path).splitlines()
    assert steps[1].startswith("  1. Open https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, read the agreement")
    assert f"  5. Check it: facekit data verify celeba --root {tmp_path}" in steps
    assert steps[-1].startswith("Terms: For non-commercial research purposes only.")


def make_link(name: str, goal: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, goal
    return entry


def make_zip_link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(make_zip({"a.jpg": b"x", "../outside.jpg": b"x"}), r"'\.\./outside\.jpg' leads outside", id="zip-up"),
        pytest.param(make_zip({"/etc/outside": b"x"}), "leads outside", id="zip-absolute"),
        pytest.param(make_zip({"..\\outside.jpg": b"x"}), "leads outside", id="zip-backslash"),
        pytest.param(make_zip({"C:/outside.jpg": b"x"}), "leads outside", id="zip-drive"),
        pytest.param(make_zip({"a.jpg": b"x", "A.jpg": b"y"}), "stands twice", id="zip-twice"),
        pytest.param(make_zip_link(), "'link' is a link or device", id="zip-link"),
        pytest.param(make_tar({"../outside.jpg": b"x"}), "leads outside", id="tar-up"),
        pytest.param(make_tar({}, make_link("l", "/etc/passwd", tarfile.SYMTYPE)), "'l' is a link", id="tar-soft-link"),
        pytest.param(make_tar({}, make_link("l", "a.jpg", tarfile.LNKTYPE)), "'l' is a link", id="tar-hard-link"),
        pytest.param(make_tar({}, make_link("l", "", tarfile.CHRTYPE)), "'l' is a link or device", id="tar-device"),
        pytest.param(make_zip({"big": bytes(2_000_000)}), "unpacks to more than 1,000,000 bytes", id="zip-bomb"),
        pytest.param(make_tar({"big": bytes(2_000_000)}), "unpacks to more than 1,000,000 bytes", id="tar-bomb"),
        pytest.param(make_zip({str(n): b"" for n in range(11)}), "more than 10 files", id="zip-many"),
        pytest.param(make_zip({"a.jpg": b"x" * 5000})[:60], "expected a zip or tar archive", id="zip-without-end"),
        pytest.param(make_tar({"a.jpg": bytes(range(256)) * 40})[:200], "broken archive", id="tar-cut"),
        pytest.param(make_zip({"a.jpg": b"12345"}).replace(b"\x33\x34\x32", b"\x33\x35\x32"), "broken archive", id="zip-crc"),
    ],
)
def test_bad_archive_is_refused(tmp_path, content, message):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        unpack_archive(tmp_path / "archive", tmp_path / "in" / "goal", max_files=10, max_bytes=1_000_000)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"archive", "in"}
    if message != "broken archive":  # broken data shows only while it is read
        assert not (tmp_path / "in").exists()


def test_zip_bomb_of_a_few_kilobytes_is_left_early(tmp_path, monkeypatch):
    (tmp_path / "archive").write_bytes(make_zip({f"{n}": bytes(1_000_000) for n in range(20)}))
    assert (tmp_path / "archive").stat().st_size < 25_000
    monkeypatch.setattr(fetch, "_copy", lambda *_: pytest.fail("wrote before all was checked"))
    with pytest.raises(DataError, match="more than 10,000,000 bytes"):
        unpack_archive(tmp_path / "archive", tmp_path / "goal", max_files=100, max_bytes=10_000_000)
