"""The site from reports/: what stands on its pages, that every link leads somewhere, and what damaged runs do to it."""

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

from facekit import cli, site
from facekit.errors import DataError, FacekitError
from facekit.folders import project_root
from facekit.pages.document import build_document, write_text
from facekit.site.runs import Measured, choose_headline


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


def draw_picture(colour: str) -> bytes:
    """Return a small png of two colours."""
    picture = Image.new("RGB", (320, 160), "white")
    picture.paste(colour, (20, 20, 200, 120))
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()


def show_picture(png: bytes, alt: str):
    """Return a code cell that shows a figure as record.save_figure does."""
    data = {"image/png": base64.b64encode(png).decode()}
    return new_code_cell("figure", outputs=[new_output("display_data", data, metadata={"image/png": {"alt": alt}})])


def write_notebook(path: Path) -> None:
    """Write a notebook with three figures, a log, a line on stderr, injected parameters and an answer."""
    (path.parent / "figures").mkdir(exist_ok=True)
    figures = {"4-counts": "red", "8-second": "green", "8-confusion": "blue"}
    shown = {name: draw_picture(colour) for name, colour in figures.items()}
    for name, png in shown.items():
        (path.parent / "figures" / f"{name}.png").write_bytes(png)
    log = "".join(f"line {number} of a log\n" for number in range(1, 101))
    cells = [
        new_markdown_cell("# A title & more\n\n## 1 Question\n\nWhich?"),
        new_code_cell("x = 1  # a number", metadata={"tags": ["injected-parameters"]}),
        new_markdown_cell("## 4 Split"),
        show_picture(shown["4-counts"], "Pictures of each class"),
        new_markdown_cell("## 8 Results"),
        show_picture(shown["8-second"], "What is measured"),
        show_picture(shown["8-confusion"], "What is taken for what"),
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
    data = {"dataset": "facehack", "kind": "photographs", "digest": {"table": "a" * 64, "pictures": "b" * 64}}
    data |= {"counts": {"train": {"smile": 90}, "test": {"smile": 1234}}, "set_aside": {"rows": 3, "first": []}}
    data |= {"audit": {"pictures": 1324, "cross_split_near_duplicates": 17, "named": {}}}
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
        "run": {"started": "2026-01-01", "seconds": {"fit": 2000.0, "read": 66.0}, "device": "cpu", "machine": {"cores": 2}},
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


def test_a_run_stands_on_the_page_with_all_that_is_asked(tmp_path):
    write_run(tmp_path, "laptop")
    built = site.build_site(tmp_path)
    assert (len(built.runs), built.problems) == (1, ())
    words = read_words(built.index)
    for wanted in (
        "0.7000 0.7921 ● within all claims: 1 within",
        "A title & more smile",
        "Can it tell a smile from none?",
        "Profile laptop real photographs",
        "test/cascade/accuracy 0.8125 [0.7900, 0.8300]",
        "n = 1,234, test pictures",
        "a constant answer reaches 0.7000",
        "published: 0.7921 ● within a reason",
        "It is right .",
        "facehack, 1,324 pictures; 3 rows set aside",
        "17 near-equal pictures on both sides of a split",
        "MobileNet at 96 × 96, 219,058 parameters",
        "34 min on 2 cores, cpu",
        "Test accuracy of both stages together 0.7921 0.8125 [0.7900, 0.8300] n = 1,234 ● within",
        "Claims without a figure of ours beside them (1) not-in-the-register: a plot",
        "Experiments without a run yet selfie-task1",
    ):
        assert wanted in words
    assert "The labels are the datasets', not facts about people" in words
    links = Links(built.index).links
    files = ("smile.html", "smile.ipynb", "metrics.json", "predictions.csv", "history.csv", "figures/8-second.png")
    assert {f"laptop/smile/{name}" for name in files} <= set(links)
    page = built.index.read_text()
    assert 'width="320" height="160" alt="What is measured"' in page
    assert "More." not in page


def test_every_link_leads_somewhere_and_no_page_asks_outside_or_runs_a_script(tmp_path):
    for profile in ("sample", "laptop", "full"):
        write_run(tmp_path, profile)
    write_run(tmp_path, "sample", "gender", metrics=METRICS[:1], published=[])
    site.build_site(tmp_path)
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) == 1 + 4 + 3
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


def test_the_headline_is_what_the_profile_expects_first(tmp_path):
    (tmp_path / "notebooks" / "parameters").mkdir(parents=True)
    names = ("test/not-there", "train/loss")
    rows = ", ".join(f"{{metric: {name}, value: 1.0, low: 1.0, high: 1.0, minutes: null}}" for name in names)
    profiles = "\n".join(f"{name}: {{parameters: {{}}, expected: [{rows}]}}" for name in ("sample", "laptop", "report", "full"))
    (tmp_path / "notebooks" / "parameters" / "smile.yaml").write_text(profiles)
    write_run(tmp_path / "reports", "sample")
    write_run(tmp_path / "reports", "sample", "unknown-task")
    built = site.build_site(tmp_path / "reports", tmp_path / "notebooks")
    assert [(run.record.task, run.headline.name) for run in built.runs] == [
        ("smile", "train/loss"),
        ("unknown-task", "test/loss"),
    ]
    assert choose_headline(["train/loss"], []) == "train/loss"
    assert choose_headline([], ["test/accuracy"]) is None


def damage(**changes):
    return lambda folder: (folder / "metrics.json").write_text(
        json.dumps(json.loads((folder / "metrics.json").read_text()) | changes)
    )


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (damage(schema=2), "sample/smile: metrics.json: schema 2; expected 1 or less; update facekit"),
        (damage(schema="one"), "sample/smile: metrics.json is no record of a run"),
        (damage(task="gender"), "sample/smile: metrics.json is of sample/gender; expected sample/smile"),
        (damage(metrics=[{"name": "a"}]), "sample/smile: metrics.json: metrics.0.value: Field required"),
        (damage(comparisons=[{"a": "one"}]), "sample/smile: metrics.json: comparisons.0.b: Field required"),
        (lambda folder: (folder / "metrics.json").write_text("{"), "sample/smile: metrics.json is no record of a run"),
        (lambda folder: (folder / "metrics.json").unlink(), "sample/smile: there is no metrics.json"),
        (lambda folder: (folder / "smile.ipynb").unlink(), "sample/smile: there is no smile.ipynb"),
        (lambda folder: (folder / "smile.ipynb").write_text("{}"), "sample/smile: smile.ipynb is no notebook: "),
    ],
)
def test_a_damaged_run_is_named_and_the_others_stand(tmp_path, capsys, harm, told):
    write_run(tmp_path, "laptop")
    harm(write_run(tmp_path, "sample"))
    assert cli.main(["site", "--reports", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(f"facekit: {told}")
    assert said.err.count("\n") == 1
    assert said.out.startswith("1 run: ")
    words = read_words(tmp_path / "index.html")
    assert f"Runs that could not be read {told}" in words
    assert str(tmp_path) not in words
    assert "Profile laptop" in words
    assert "Profile sample" not in words


def test_figures_that_are_not_defined_are_said_to_be(tmp_path):
    metrics = [METRICS[1] | {"value": None, "interval": [None, None]}, METRICS[2] | {"interval": [None, 0.5]}]
    write_run(tmp_path, "sample", metrics=metrics[:1])
    write_run(tmp_path, "laptop", metrics=metrics)
    write_run(tmp_path, "full", metrics=[], comparisons=[], published=[], backbone={})
    built = site.build_site(tmp_path)
    words = read_words(built.index)
    assert "test/loss not defined" in words
    assert re.search(r"test/cascade/accuracy 0.8125 [0-9.]+ [0-9.]+ n = 1,234, test pictures", words)
    assert "This run recorded no metric." in words
    assert "not defined" in read_words(tmp_path / "compare" / "smile-sample-laptop.html")


def test_what_runs_say_is_text_not_markup(tmp_path):
    write_run(tmp_path, "sample", question="<script>alert(1)</script> & so on?")
    page = site.build_site(tmp_path).index.read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on?" in page


def test_two_runs_are_compared_and_pages_of_runs_that_are_gone_are_removed(tmp_path):
    write_run(tmp_path, "laptop")
    changed = METRICS[2] | {"value": 0.5, "interval": [0.4, 0.6]}
    data = {"dataset": "facehack", "kind": "synthetic", "digest": {"table": "c" * 64, "pictures": "d" * 64}}
    sample = write_run(tmp_path, "sample", metrics=[changed], data=data, published=[])
    full = write_run(tmp_path, "full", parameters={"profile": "full", "epochs": 30, "backbone": "MobileNet"})
    site.build_site(tmp_path)
    names = ["smile-laptop-full.html", "smile-laptop-sample.html", "smile-full-sample.html"]  # drawn faces stand last
    assert sorted(path.name for path in (tmp_path / "compare").iterdir()) == sorted(names)
    words = read_words(tmp_path / "compare" / names[0])
    assert "Both runs stand on the same rows and pictures." in words
    assert "Parameters 2 differ, 1 equal Name laptop full profile laptop full epochs 3 30" in words
    assert "one minus two: accuracy 0.1000 [0.0000, 0.2000] n = 9" in words
    words = read_words(tmp_path / "compare" / names[1])
    assert "The two runs do not stand on the same rows and pictures" in words
    assert "digest.table aaaaaaaaaaaa… cccccccccccc…" in words
    assert re.search(r"test/cascade/accuracy 0.8125 \[0.7900, 0.8300\] n = 1,234 .*0.5000 \[0.4000, 0.6000\] n = 1,234", words)
    assert re.search(r"test/loss 0.5000 \[0.4000, 0.6000\] n = 1,234 0 1 not measured", words)
    assert "Test accuracy of both stages together (0.7921) ● within –" in words
    for folder in (sample, full):
        (folder / "metrics.json").unlink()
    site.build_site(tmp_path)
    assert not (tmp_path / "compare").exists()


def test_a_notebook_is_a_document_without_noise(tmp_path):
    notebook = nbformat.read(write_run(tmp_path, "sample") / "smile.ipynb", as_version=4)
    before = nbformat.writes(notebook)
    page = build_document(notebook, task="smile", profile="sample", home="../../index.html")
    assert nbformat.writes(notebook) == before
    assert ("All experiments" in page, "All experiments" in build_document(notebook, task="smile", profile="sample")) == (
        True,
        False,
    )
    assert "<title>A title &amp; more (sample)</title>" in page
    contents = re.findall(r'<li><a href="#([^"]+)">([^<]+)</a>', page)
    assert contents[0] == ("1-Question", "1 Question")
    assert [text for _, text in contents][1:3] == ["4 Split", "8 Results"]
    assert page.count("<h2") == 4
    assert "A heading of an output</h4>" in page
    assert [page.count(f'id="{name}"') for name, _ in contents] == [1, 1, 1, 1]
    alts = ["Pictures of each class", "What is measured", "What is taken for what"]
    assert re.findall(r'<img [^>]*alt="([^"]+)"', page) == alts
    captions = [f"Figure {number}. {alt}" for number, alt in enumerate(alts, start=1)]
    assert re.findall("<figcaption>([^<]+)", page) == captions
    assert "UserWarning" not in page
    assert "1 line(s) on stderr are left out here" in page
    before_fold, folded = page.split("<details><summary>60 more lines</summary>")
    assert "line 40 of a log" in before_fold
    assert "line 41 of a log" not in before_fold
    assert "line 100 of a log" in folded
    assert page.index("these values stand in place of the ones above") < page.index("a number")
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


def test_a_page_that_cannot_be_written_leaves_the_earlier_one(tmp_path):
    place = tmp_path / "index.html"
    place.mkdir()
    with pytest.raises(FacekitError, match="index.html cannot be written: Is a directory"):
        write_text(place, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_without_runs_or_without_the_folder_it_is_said(tmp_path):
    words = read_words(site.build_site(tmp_path).index)
    assert "There is no run yet." in words
    with pytest.raises(DataError, match="is no folder; expected the folder of reports"):
        site.build_site(tmp_path / "nowhere")


def test_marks_stand_where_the_values_are():
    figure = Measured(name="a", value=0.5, interval=(0.4, 0.6), n=9, baseline=0.0, higher_is_better=True)
    marks = site.place_marks(figure, 1.0)
    assert (marks.value, marks.low, marks.high, marks.baseline, marks.published) == (50.0, 41.67, 58.33, 8.33, 91.67)
    assert marks.ends == ("-0.1", "1.1")
    loss = Measured(name="a", value=30.0, interval=None, n=9, higher_is_better=False)
    marks = site.place_marks(loss, from_zero=True)
    assert (marks.value, marks.low, marks.ends) == (50.0, None, ("27", "33"))


def test_the_site_needs_no_tensorflow(tmp_path):
    write_run(tmp_path, "sample")
    code = (
        "import sys; from facekit.cli import main\n"
        f"main(['site', '--reports', {str(tmp_path)!r}])\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
