"""The site from reports/: what its pages show, that every link leads somewhere, and what damaged runs do to it."""

import base64
import io
import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from facekit import cli
from facekit.errors import DataError
from facekit.evaluation.metric import Metric
from facekit.paths import project_root
from facekit.reporting import claims, site


def build_metric(name, value, interval, baseline, *, n=1234, higher_is_better=True):
    keys = {"name": name, "value": value, "interval": interval, "baseline": baseline}
    return keys | {"n": n, "averaging": "none", "higher_is_better": higher_is_better}


def build_row(claim, value, reproduced, verdict, why):
    return {"claim": claim, "value": value, "reproduced": reproduced, "verdict": verdict, "why": why}


METRICS = [
    build_metric("train/loss", 0.25, None, None, higher_is_better=False),
    build_metric("test/loss", 0.5, [0.4, 0.6], 0.7, higher_is_better=False),
    build_metric("test/cascade/accuracy", 0.8125, [0.79, 0.83], 0.7),
]
PUBLISHED = [
    build_row("combined-accuracy", 0.7921, "test/cascade/accuracy", "within", "a reason"),
    build_row("not-in-the-register", None, None, "not comparable", "a plot"),
]


def draw_image(colour: str) -> bytes:
    """Return a small png of two colours."""
    image = Image.new("RGB", (320, 160), "white")
    image.paste(colour, (20, 20, 200, 120))
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def show_image(png: bytes, alt: str):
    """Return a code cell that shows a figure as record.save_figure does."""
    data = {"image/png": base64.b64encode(png).decode()}
    return new_code_cell("figure", outputs=[new_output("display_data", data, metadata={"image/png": {"alt": alt}})])


def write_notebook(path: Path) -> None:
    """Write a notebook with three figures, a log, a line on stderr, injected parameters and an answer."""
    (path.parent / "figures").mkdir(exist_ok=True)
    figures = {"4-counts": "red", "8-second": "green", "8-confusion": "blue"}
    shown = {name: draw_image(colour) for name, colour in figures.items()}
    for name, png in shown.items():
        (path.parent / "figures" / f"{name}.png").write_bytes(png)
    log = "".join(f"line {number} of a log\n" for number in range(1, 101))
    cells = [
        new_markdown_cell("# A title & more\n\n## 1 Question\n\nWhich?"),
        new_code_cell("x = 1  # a number", metadata={"tags": ["injected-parameters"]}),
        new_markdown_cell("## 4 Split"),
        show_image(shown["4-counts"], "Images of each class"),
        new_markdown_cell("## 8 Results"),
        show_image(shown["8-second"], "What is measured"),
        show_image(shown["8-confusion"], "Confusion matrix"),
        new_code_cell("fit()", outputs=[new_output("stream", name="stderr", text="UserWarning: noise\n")]),
        new_code_cell("print(log)", outputs=[new_output("stream", name="stdout", text=log)]),
        new_markdown_cell("## 11 Answer, and what this does not show\n\nIn words:"),
        new_code_cell(
            "say()",
            outputs=[new_output("display_data", {"text/markdown": "It is **right**.\n\nMore.\n\n## A heading of an output"})],
        ),
    ]
    nbformat.write(new_notebook(cells=cells), path)


def write_run(reports: Path, profile: str, task: str = "smile", **changes) -> Path:
    """Write a run in the form of record.py and return its folder; `changes` replace keys of metrics.json."""
    folder = reports / profile / task
    folder.mkdir(parents=True)
    data = {"dataset": "facehack", "kind": "photographs", "digest": {"table": "a" * 64, "images": "b" * 64}}
    data |= {"counts": {"train": {"smile": 90}, "test": {"smile": 1234}}, "excluded": {"rows": 3, "reasons": {}, "first": []}}
    data |= {"audit": {"images": 1324, "cross_split_near_duplicates": 17, "named": {}}}
    run = {"started": "2026-01-01", "seconds": {"fit": 2000.0, "read": 66.0}, "device": "cpu", "machine": {"cores": 2}}
    run |= {"peak_memory_mb": 2048, "peak_gpu_memory_mb": None, "versions": {"facekit": "0.1.0"}}
    record = {
        "schema": 1,
        "task": task,
        "profile": profile,
        "question": "Can it tell a smile from none?",
        "parameters": {"profile": profile, "epochs": 3, "backbone": "MobileNet"},
        "data": data,
        "backbone": {"network": "MobileNet", "input_size": [96, 96], "parameters": 219058, "weights": {"source": "sample"}},
        "metrics": METRICS,
        "comparisons": [{"a": "one", "b": "two", "metric": "accuracy", "difference": 0.1, "interval": [0, 0.2], "n": 9}],
        "published": PUBLISHED,
        "run": run,
    }
    (folder / "metrics.json").write_text(json.dumps(record | changes), encoding="utf-8")
    (folder / "predictions.csv").write_text("path,y_pred\na.jpg,smile\n")
    (folder / "history.csv").write_text("stage,epoch\nfit,1\n")
    write_notebook(folder / f"{task}.ipynb")
    return folder


class Links(HTMLParser):
    """Everything that a page links to or loads, its ids, and its tags."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.ids, self.tags = [], set(), []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("href", "src", "srcset", "action", "data"):
                self.links.append(value)
            elif name == "id":
                self.ids.add(value)


def read_words(page: Path, start: str = "<main") -> str:
    """Return the text of a page from `start` on, with single spaces."""
    text = page.read_text(encoding="utf-8")
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text[text.index(start) :])).split())


def test_the_index_shows_everything_of_a_run(tmp_path):
    write_run(tmp_path, "laptop")
    index, runs, problems = site.build_site(tmp_path)
    assert (len(runs), problems) == (1, [])
    table = site.render("runs.txt.j2", runs=runs, folder="reports").rstrip()
    assert "smile            81.25% [79.00%, 83.00%]    70.00%\n  accuracy of the cascade on the test images, n =" in table
    assert table.endswith("\n  reports/laptop/smile/smile.html")
    words = read_words(index)
    for wanted in (
        "smile laptop real photographs 81.25% [79.00%, 83.00%] accuracy of the cascade on the test images",
        "n = 1,234 70.00% 79.21% ● within",
        "A title & more smile",
        "Can a cascade of two classifiers tell a positive from a negative smile, and both from none?",
        "Profile laptop real photographs",
        "accuracy of the cascade on the test images 81.25% [79.00%, 83.00%]",
        "baseline (a constant prediction): 70.00%",
        "published: 79.21% ● within a reason",
        "It is right .",
        "facehack, 1,324 images; 3 rows excluded",
        "17 near-duplicate images across splits",
        "MobileNet at 96 × 96, 219,058 parameters",
        "34 min on 2 cores, cpu; at most 2.0 GB of memory; facekit 0.1.0",
        "Test accuracy of both stages together 79.21% 81.25% [79.00%, 83.00%] ● within",
        "Experiments without a run yet selfie-task1",
        "The labels are the datasets', not facts about people",
    ):
        assert wanted in words, wanted
    assert "More." not in words
    links = set(Links(index).links)
    files = ("smile.html", "smile.ipynb", "metrics.json", "predictions.csv", "history.csv")
    assert {f"laptop/smile/{name}" for name in files} <= links
    source = base64.b64encode(draw_image("green")).decode()
    assert f'<img src="data:image/png;base64,{source}" alt="What is measured">' in index.read_text()


def test_all_profiles_of_a_claim_stand_in_one_row(tmp_path):
    write_run(tmp_path, "laptop")
    other = [METRICS[2] | {"value": 0.5, "interval": [0.4, 0.6]}]
    write_run(tmp_path, "sample", metrics=other, published=[PUBLISHED[0] | {"verdict": "below", "why": None}])
    write_run(tmp_path, "full", metrics=[], comparisons=[], published=[], backbone={})
    words = read_words(site.build_site(tmp_path)[0])
    profiles = [f"{name}: ours, 95\xa0% interval" for name in ("sample", "laptop", "full")]
    assert f"Published {' '.join(profiles)}".replace("\xa0", " ") in words.replace("\xa0", " ")
    values = "50.00% [40.00%, 60.00%] ▼ below 81.25% [79.00%, 83.00%] ● within a reason –"
    assert f"Test accuracy of both stages together 79.21% {values}" in words


def test_every_link_leads_somewhere_and_no_page_asks_outside_or_runs_a_script(tmp_path):
    for profile in ("sample", "laptop", "full"):
        write_run(tmp_path, profile)
    write_run(tmp_path, "sample", "gender", metrics=METRICS[:1], published=[])
    site.build_site(tmp_path)
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) == 1 + 4
    parsed = {page.resolve(): Links(page) for page in pages}
    for page, found in parsed.items():
        assert "script" not in found.tags
        assert "default-src 'none'" in page.read_text()
        for link in found.links:
            if link.startswith("data:"):
                continue
            assert "//" not in link, f"{page.name} links to {link}"
            path, _, fragment = link.partition("#")
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_file(), f"{page.name} links to {link}"
            if fragment:
                assert unquote(fragment) in parsed[target].ids, f"{page.name} links to {link}"


def test_the_headline_is_what_the_profile_expects_else_the_first_on_the_test_set(tmp_path, monkeypatch):
    write_run(tmp_path, "sample", "unknown-task")
    assert "loss on the test images 0.5000 [0.4000, 0.6000]" in read_words(site.build_site(tmp_path)[0])
    monkeypatch.setattr(claims, "find_headline", lambda record, verdicts: (record.metrics[0], None, None))
    words = read_words(site.build_site(tmp_path)[0])
    assert "loss on the training images 0.2500 0 1 n = 1,234; lower is better" in words


def damage(**changes):
    return lambda folder: (folder / "metrics.json").write_text(
        json.dumps(json.loads((folder / "metrics.json").read_text()) | changes)
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damage(schema=2), "metrics.json: .*schema 2"),
        (damage(schema="one"), "metrics.json: schema: "),
        (damage(task="gender"), "metrics.json is of sample/gender; expected sample/smile"),
        (damage(metrics=[{"name": "a"}]), "metrics.json: metrics.0.value: "),
        (damage(comparisons=[{"a": "one"}]), "metrics.json: comparisons.0.b: "),
        (damage(backbone={"network": "MobileNet", "parameters": "many"}), "smile: ValueError: "),
        (lambda folder: (folder / "metrics.json").write_text("{"), "metrics.json: "),
        (lambda folder: (folder / "metrics.json").write_bytes(b"\xff"), "metrics.json: "),
        (lambda folder: (folder / "metrics.json").unlink(), "metrics.json: "),
        (lambda folder: (folder / "smile.ipynb").unlink(), "smile: FileNotFoundError: "),
        (lambda folder: (folder / "smile.ipynb").write_text("{}"), "smile: "),
        (lambda folder: (folder / "smile.ipynb").write_text("[" * 100_000), "smile: "),
        (lambda folder: (folder / "figures" / "4-counts.png").write_bytes(b""), None),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_shown(tmp_path, capsys, harm, message):
    write_run(tmp_path, "laptop")
    harm(write_run(tmp_path, "sample"))
    assert cli.main(["site", "--reports", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    words = read_words(tmp_path / "index.html")
    assert "Profile laptop" in words
    if message is None:
        assert (shown.err, shown.out[:8]) == ("", "2 runs: ")
        return
    assert re.match(f"facekit: sample/smile: {message}", shown.err)
    assert shown.err.count("\n") == 1
    assert shown.out.startswith("1 run: ")
    assert "Runs that cannot be read sample/smile: " in words
    assert str(tmp_path) not in words
    assert "Profile sample" not in words


def test_values_that_are_not_defined_are_called_so(tmp_path):
    write_run(tmp_path, "sample", metrics=[METRICS[1] | {"value": None, "interval": None}])
    write_run(tmp_path, "laptop", metrics=[METRICS[2] | {"interval": None}])
    write_run(tmp_path, "full", metrics=[], comparisons=[], published=[], backbone={})
    words = read_words(site.build_site(tmp_path)[0])
    assert "loss on the test images not defined" in words
    assert re.search(r"accuracy of the cascade on the test images 81.25% 0 1 n = 1,234", words)
    assert "This run recorded no metric." in words


def test_what_runs_say_is_text_not_markup(tmp_path):
    write_run(tmp_path, "sample", "other", question="<script>alert(1)</script> & so on?")
    page = site.build_site(tmp_path)[0].read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on?" in page


def test_a_notebook_is_a_document_without_noise(tmp_path):
    notebook = nbformat.read(write_run(tmp_path, "sample") / "smile.ipynb", as_version=4)
    before = nbformat.writes(notebook)
    page = site.build_page(notebook, "sample", "../../index.html")
    assert nbformat.writes(notebook) == before
    assert "All experiments" in page
    assert "All experiments" not in site.build_page(notebook, "sample")
    assert "<title>A title &amp; more (sample)</title>" in page
    contents = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a>', page)
    assert contents[0] == ("1-Question", "1 Question")
    assert [text for _, text in contents][1:3] == ["4 Split", "8 Results"]
    assert page.count("<h2") == 4
    assert "A heading of an output</h4>" in page
    assert [page.count(f'id="{name}"') for name, _ in contents] == [1, 1, 1, 1]
    alts = ["Images of each class", "What is measured", "Confusion matrix"]
    assert re.findall(r'<img [^>]*alt="([^"]+)"', page) == alts
    captions = [f"Figure {number}. {alt}" for number, alt in enumerate(alts, start=1)]
    assert re.findall("<figcaption>([^<]+)", page) == captions
    assert "UserWarning" not in page
    assert "1 line(s) on stderr are left out here" in page
    before_fold, folded = page.split("<details><summary>60 more lines</summary>")
    assert "line 40 of a log" in before_fold
    assert "line 41 of a log" not in before_fold
    assert "line 100 of a log" in folded
    assert page.index("This run overrides:") < page.index("a number")
    assert not re.search(r"https?:|//cdn|@import|<script|¶", page)


def test_two_builds_are_the_same_bytes_and_leave_nothing_else(tmp_path):
    write_run(tmp_path, "sample")
    write_run(tmp_path, "laptop")
    builds = []
    for _ in range(2):
        site.build_site(tmp_path)
        builds.append({path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.html")})
    assert builds[0] == builds[1]
    assert [path for path in tmp_path.rglob(".*")] == []


def test_without_runs_or_without_the_folder_it_is_said(tmp_path):
    assert "There is no run yet." in read_words(site.build_site(tmp_path)[0])
    with pytest.raises(DataError, match="nowhere: no such folder; expected the folder of reports; make reports"):
        site.build_site(tmp_path / "nowhere")


def test_marks_are_where_the_values_are():
    marks = site.place_marks(Metric("a", 5.0, (4.0, 6.0), 9, 0.0), 10.0)
    expected = {"value": 50.0, "low": 41.67, "high": 58.33, "baseline": 8.33, "published": 91.67, "start": -1.0, "end": 11.0}
    assert marks == expected
    assert site.place_marks(Metric("a", 0.5, (0.4, 0.6), 9), 0.7)["published"] == 70.0
    assert site.place_marks(Metric("a", 30.0, None, 9)) == {"value": 50.0, "start": 27.0, "end": 33.0}


def test_the_site_needs_no_tensorflow(tmp_path):
    write_run(tmp_path, "sample")
    code = (
        "import sys; from facekit.cli import main\n"
        f"main(['site', '--reports', {str(tmp_path)!r}])\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
