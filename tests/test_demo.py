"""The page for a photograph of one's own: who may ask, what is answered, what stays behind; and in a real browser."""

import base64
import http.client
import io
import json
import re
import socket
import struct
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from PIL import Image
from test_images import write_png
from test_predict import HEADS, SMILE, invert_sigmoid, save_network
from test_site_browser import CONTRASTS, DESKTOP, PHONE, Visit, assert_something_is_seen

from facekit import cli, demo, images, parameters
from facekit.demo.server import MAXIMUM_BYTES, DemoServer
from facekit.errors import ParameterError, PictureError, WeightsError
from facekit.images import read_picture
from facekit.synthetic.faces import draw_face
from facekit.synthetic.traits import Face

QUESTION = "Can it tell a <smile> from none?"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Two small runs: every kind of head, always saying the same; and one of random weights, trained on drawn faces."""
    folder = tmp_path_factory.mktemp("reports")
    biases = {"popularity": [4.25], "is_female": invert_sigmoid(0.25), "worn": invert_sigmoid(0.9, 0.4, 0.6)}
    biases["smile"] = np.log([0.2, 0.7, 0.1]).tolist()
    recipe = {"dataset": "selfie", "thresholds": {"worn": [0.5, 0.3, 0.7]}}
    save_network(folder / "laptop" / "selfie-task1" / "model", HEADS, biases, provenance=recipe)
    save_network(folder / "sample" / "smile" / "model", [SMILE], seed=2, provenance={"kind": "synthetic"})
    write_record(folder / "laptop" / "selfie-task1", question="")
    write_record(folder / "sample" / "smile", question=QUESTION)
    return folder


def write_record(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"schema": 1, "run": {"started": "2026-01-01"}} | content))


@pytest.fixture
def tasks(monkeypatch):
    """The experiments that there are."""
    monkeypatch.setattr(parameters, "list_tasks", lambda: ["age", "selfie-ranking", "selfie-task1", "smile"])


@pytest.fixture(scope="module")
def face() -> bytes:
    """A drawn face as a file."""
    stream = io.BytesIO()
    Image.fromarray(draw_face(Face(smile=0.9), 320, 240)).save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def serve(page="a page", answers=()):
    """Let the demo's server answer meanwhile."""
    with DemoServer(0) as server:
        thread = threading.Thread(target=server.serve, args=(page, answers))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, method="POST", path="/answers/0", data=b"a photograph", **headers):
    """Return status, headers and text of one request; a header of None is left out."""
    own = f"127.0.0.1:{server.server_port}"
    headers = {"Host": own, "Origin": f"http://{own}", "Content-Length": str(len(data))} | headers
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(data if method == "POST" else None)
    reply = connection.getresponse()
    result = reply.status, reply.headers, reply.read().decode()
    connection.close()
    return result


# --- who may ask ---


def test_only_this_machine_is_listened_to():
    with serve("<p>é</p>", [lambda data: f"{len(data)} bytes"]) as server:
        assert server.server_address == ("127.0.0.1", server.server_port)
        status, headers, text = ask(server, "GET", "/")
        assert (status, headers["Content-Type"], text) == (200, "text/html; charset=utf-8", "<p>é</p>")
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; connect-src 'self';")
        assert "Python" not in headers["Server"]
        assert ask(server, "GET", "/demo.js")[1]["Content-Type"] == "text/javascript; charset=utf-8"
        name = f"localhost:{server.server_port}"
        assert ask(server, Host=name, Origin=f"http://{name}")[::2] == (200, "12 bytes")


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"method": "GET", "path": "/", "Host": "evil.example"}, 403, "answers to no other name"),
        ({"method": "GET", "path": "/", "Host": None}, 403, "answers to no other name"),
        ({"Host": "evil.example"}, 403, "answers to no other name"),
        ({"Origin": None}, 403, "Only the demo's own page may ask here."),
        ({"Origin": "null"}, 403, "Only the demo's own page may ask here."),
        ({"Origin": "http://evil.example"}, 403, "Only the demo's own page may ask here."),
        ({"Origin": "https://localhost"}, 403, "Only the demo's own page may ask here."),
        ({"method": "GET", "path": "/../metrics.json"}, 404, "There is nothing here."),
        ({"method": "GET", "path": "/server.py"}, 404, "There is nothing here."),
        ({"path": "/answers/1"}, 404, "There is nothing here."),
        ({"path": "/answers/-1"}, 404, "There is nothing here."),
        ({"Content-Length": None}, 411, "The photograph's length is missing."),
        ({"Content-Length": "-1"}, 411, "The photograph's length is missing."),
        # Said before the photograph was sent: none of it is read.
        (
            {"Content-Length": str(MAXIMUM_BYTES + 100_000), "data": b""},
            413,
            "The photograph has 20.1 MB, at most 20 MB are taken; make it smaller.",
        ),
    ],
)
def test_requests_that_are_refused(changes, status, said):
    with serve(answers=[lambda data: pytest.fail("it was answered")]) as server:
        got, headers, text = ask(server, **changes)
    assert (got, headers["Cache-Control"]) == (status, "no-store")
    assert said in text
    assert "\n" not in text


def test_one_answer_is_made_at_a_time():
    running, most = [], []

    def answer(data):
        running.append(data)
        most.append(len(running))
        time.sleep(0.05)
        running.remove(data)
        return ""

    with serve(answers=[answer]) as server:
        threads = [threading.Thread(target=ask, args=(server,), kwargs={"data": bytes(n)}) for n in range(1, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1, 1, 1]


def test_a_mistake_is_a_line_for_the_page_an_error_of_ours_is_told_on_the_terminal(capsys):
    went = threading.Event()

    def refuse(data):
        raise PictureError("the photograph is <grey>", mend="take another")

    def wait(data):
        went.wait(10)
        return "too late"

    with serve(answers=[refuse, lambda data: 1 / 0, wait]) as server:
        assert ask(server)[::2] == (422, "the photograph is <grey>; take another")
        assert capsys.readouterr().err == ""
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, path="/answers/1")
        gone = socket.create_connection(server.server_address)
        own = f"127.0.0.1:{server.server_port}"
        head = f"POST /answers/2 HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\nContent-Length: 1\r\n\r\n"
        gone.sendall(head.encode() + b"a")
        time.sleep(0.1)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # the browser is closed
        gone.close()
        went.set()
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1
    assert "ZeroDivisionError" in told


def test_ports_that_cannot_be_had():
    with DemoServer(0) as server, pytest.raises(ParameterError, match=rf"port {server.server_port} cannot be .*in use; choose"):
        DemoServer(server.server_port)
    for port in (80, -1, 70_000):
        with pytest.raises(ParameterError, match=f"port {port}; expected 1024 to 65535, or 0, which takes a free one"):
            DemoServer(port)


# --- which runs, and what they say ---


def test_the_newest_run_of_every_task_and_why_others_are_left_out(reports, tasks):
    write_record(reports / "sample" / "selfie-ranking", backbone={})
    runs, problems = demo.load_runs([], reports)
    assert [run.predictor.name for run in runs] == ["laptop/selfie-task1", "sample/smile"]
    assert [run.question for run in runs] == ["", QUESTION]
    assert problems == [
        "age: no run in reports/ holds a model that predicts (committed runs leave it out); make one: make age",
        "selfie-ranking: it trains no network; expected an experiment that does",
    ]
    page = demo.build_page(runs, problems)
    assert "Can it tell a &lt;smile&gt; from none?" in page
    assert "The network was trained on drawn faces: what it says about photographs means nothing." in page
    assert "make one: make age" in page


def test_without_a_run_that_predicts_there_is_no_page(reports, tasks, tmp_path, capsys):
    with pytest.raises(WeightsError, match=r"^no run holds a model that predicts .*; make one: make smile$"):
        demo.load_runs([], tmp_path)
    with pytest.raises(WeightsError, match="age: no run in reports/ holds a model"):
        demo.load_runs(["smile", "age"], reports)
    assert cli.main(["demo", str(tmp_path), "--port", "0"]) == 1
    told = capsys.readouterr()
    assert told.err == (
        f"facekit: {tmp_path}: no model/ in it; expected a run with its networks; "
        "committed runs leave it out: run the experiment again\n"
    )
    assert told.out == ""


def test_the_command_tells_the_address_and_ends_with_an_interrupt(reports, monkeypatch, capsys):
    def interrupt(server):
        raise KeyboardInterrupt

    monkeypatch.setattr(DemoServer, "serve_forever", interrupt)
    assert cli.main(["demo", str(reports / "sample" / "smile"), "--port", "0"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 run: http://127.0.0.1:")
    assert told.out.endswith("/ (Ctrl-C ends it)\n")
    assert told.err == ""


def test_an_answer_in_words_bars_and_maps_leaves_no_file(reports, face, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(reports.rglob("*"))
    (run,), _ = demo.load_runs([str(reports / "laptop" / "selfie-task1")])
    text = demo.answer_photograph(run, face)
    for said in ("popularity: <strong>4.25", "is_female: <strong>no 75%", "worn: <strong>2 of 3 labels", "positive 70%"):
        assert said in text
    assert 'alt="What in the photograph spoke for Hat"' in text
    assert text.count("data:image/jpeg;base64,") == text.count("<img") == 4
    assert "1 label below its threshold" in text
    assert (list(tmp_path.iterdir()), sorted(reports.rglob("*"))) == ([], before)


def test_what_spoke_is_drawn_where_something_did(reports, face):
    for task, line in (("laptop/selfie-task1", False), ("sample/smile", True)):  # the first looks at nothing
        (run,), _ = demo.load_runs([str(reports / task)])
        (*_, data) = re.findall('base64,([^"]+)', demo.answer_photograph(run, face))
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert picture.shape == (256, 192, 3)
        assert bool(picture.max() > 235) == line


def test_a_photograph_is_read_as_files_are(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    picture = demo.decode_picture((tmp_path / "a.jpg").read_bytes())
    assert picture.shape == (30, 20, 3)
    np.testing.assert_array_equal(picture, read_picture(tmp_path / "a.jpg"))


def test_photographs_that_are_refused(face, monkeypatch):
    for data in (b"", b"\0\0\0\x18ftypheic", face[:2000], b"%!PS-Adobe-3.0 EPSF-3.0"):
        with pytest.raises(
            PictureError, match="^the photograph cannot be read; expected a whole file, one of JPEG, .* as JPEG$"
        ):
            demo.decode_picture(data)

    monkeypatch.setattr(demo, "_convert_to_rgb", lambda *_: pytest.fail("decoded"))
    for side in (images.MAXIMUM_PIXELS // 8_000 + 1, 60_000):
        with pytest.raises(PictureError, match="at most 64,000,000"):
            demo.decode_picture(write_png(side, 8_000 if side < 60_000 else side))


# --- in a browser ---


@pytest.fixture(scope="module")
def address(reports):
    """Where the page of both runs stands."""
    runs, _ = demo.load_runs([str(reports / "laptop" / "selfie-task1"), str(reports / "sample" / "smile")])
    page = demo.build_page(runs, ["age: nobody has trained it; make one: make age"])
    with serve(page, [partial(demo.answer_photograph, run) for run in runs]) as server:
        yield f"http://127.0.0.1:{server.server_port}/"


def visit(browser, address, viewport=DESKTOP, **settings):
    """A window on the page, which reaches nothing else."""
    opened = Visit(browser, viewport, own=(address, "blob:", "data:"), offline=False, **settings)
    opened.page.goto(address)
    return opened


def assert_answered(page) -> None:
    page.get_by_text("All 2 have answered.").wait_for()
    assert page.get_by_role("heading", name="smile: positive 70%").count() == 1
    assert page.locator(".card:nth-child(2) .bars tr").count() == 3
    alts = page.eval_on_selector_all(".reply img", "pictures => pictures.map(picture => picture.alt)")
    assert alts[:4] == [f"What in the photograph spoke for {what}" for what in ("a higher number", "no", "Hat", "positive")]
    assert len(alts) == 5
    decoded = "pictures => Promise.all(pictures.map(picture => picture.decode().then(() => picture.naturalWidth)))"
    assert page.eval_on_selector_all(".reply img", decoded)[0] > 100


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_a_chosen_face_is_answered_by_every_network(browser, address, face, tmp_path, viewport, scheme):
    with visit(browser, address, viewport, color_scheme=scheme) as window:
        page = window.page
        page.get_by_label("Drop a photograph here").set_input_files(
            {"name": "face.png", "mimeType": "image/png", "buffer": face}
        )
        assert_answered(page)
        assert page.evaluate("document.querySelector('#photograph img').naturalWidth") == 240
        page.get_by_text("1 label below its threshold").click()
        assert page.get_by_role("rowheader", name="Pale_Skin").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert page.evaluate(CONTRASTS)["poor"] == []
        assert page.evaluate("[...document.images].every(picture => picture.alt)")
        assert_something_is_seen(page.screenshot(path=tmp_path / f"demo-{scheme}.png", full_page=True))
        assert (window.outside, window.complaints) == ([], [])
        assert sum(url.startswith(f"{address}answers/") for url in window.asked) == 2


DROP = """content => {
  const is_length = typeof content === "number", data = new DataTransfer();
  const bytes = is_length ? new Uint8Array(content) : Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
  data.items.add(new File([bytes], "dropped.png", {type: "image/png"}));
  document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
}"""


def test_a_dropped_face_is_answered_a_bad_picture_is_told_and_takes_the_answers_away(browser, address, face):
    with visit(browser, address) as window:
        page = window.page
        page.evaluate(DROP, base64.b64encode(face).decode())
        assert_answered(page)
        page.evaluate(DROP, base64.b64encode(b"no picture").decode())
        page.get_by_role("alert").get_by_text("the photograph cannot be read; expected a whole file").wait_for()
        assert page.locator(".reply img").count() == 0
        page.evaluate(DROP, MAXIMUM_BYTES + 100_000)
        said = "The photograph has 20.1 MB, at most 20 MB are taken; make it smaller."
        page.get_by_role("alert").get_by_text(said).wait_for()
        page.evaluate(DROP, base64.b64encode(face).decode())
        assert_answered(page)
        assert page.get_by_role("alert").inner_text() == ""
        assert window.outside == []
        assert len(window.complaints) == 1  # Chromium's own line for the status of the bad picture


def test_the_camera_by_keyboard(browser, address):
    with visit(browser, address, PHONE) as window:
        page = window.page
        for _ in range(3):  # the skip link, the file, the camera
            page.keyboard.press("Tab")
        assert page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]") == [
            "camera",
            "solid",
        ]
        page.keyboard.press("Enter")
        page.locator("#take:focus").wait_for()
        assert page.evaluate("document.querySelector('#video').videoWidth") > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.keyboard.press("Enter")
        assert_answered(page)
        assert not page.locator("#video").is_visible()
        assert page.evaluate("document.querySelector('#video').srcObject") is None
        assert page.evaluate("document.activeElement.id") == "camera"
        assert (window.outside, window.complaints) == ([], [])
