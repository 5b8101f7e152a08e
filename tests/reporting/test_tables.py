"""README.md's table, CLAIMS.md (reports/tables.py) and the box on top of a report (site.py) say what the runs say."""

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from facekit.errors import DataError
from facekit.evaluation.metric import Metric
from facekit.paths import project_root
from facekit.reporting import site
from facekit.reporting.claims import Record, Verdict, read_record
from facekit.reporting.record import dump_json

spec = spec_from_file_location("tables", project_root() / "reports" / "tables.py")
spec.loader.exec_module(tables := module_from_spec(spec))
RUN = {"started": "", "seconds": {"whole run": 90.0}, "peak_memory_mb": 1, "peak_gpu_memory_mb": None, "machine": {}}
RUN |= {"versions": {}, "device": "cpu"}
DATA = {"dataset": "facehack", "digest": {}, "counts": {}, "excluded": {"rows": 0, "reasons": {}, "first": []}, "audit": {}}
REMARK = "MobileNet at 128 pixels; not mirrored"


def make_record(kind="photographs", profile="laptop", **changes):
    """Return a run of smile with a verdict of other rules than today's."""
    metrics = [
        Metric("test/cascade/accuracy", 0.83, (0.81, 0.85), 1611, 0.7),
        Metric("test/stage1/accuracy", 0.84, (0.82, 0.86), 1611, 0.7),
    ]
    chosen, mode = "the published value was chosen on the test set", "the report's test pass ran in training mode, with flips"
    published = [
        Verdict("combined-accuracy", 0.79, "test/cascade/accuracy", "below", f"{chosen}; {REMARK}"),
        Verdict("stage-1-last", 0.83, "test/stage1/accuracy", "within", f"{mode}; {REMARK}, short"),
        Verdict("stage-2-last", 0.71, None, "not comparable", "not measured in this run"),
    ]
    values = {"metrics": metrics, "published": published, "data": DATA | {"kind": kind}, "run": RUN} | changes
    return Record("smile", profile, "Can a cascade tell smiles?", {}, **values)


@pytest.fixture
def project(tmp_path):
    for kind, profile in (("synthetic", "sample"), ("photographs", "laptop")):
        folder = tmp_path / "reports" / profile / "smile"
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(dump_json(vars(make_record(kind, profile))))
    (tmp_path / "README.md").write_text(f"# Title\n\n{tables.BEGIN}\nold\n{tables.END}\n\nThe end.\n")
    return tmp_path


def test_tables_are_checked_and_written_from_metrics_by_the_rules_of_today(project):
    files = [project / "README.md", project / "reports" / "CLAIMS.md"]
    assert tables.write_tables(project, check=True) == files
    assert "old" in files[0].read_text() and not files[1].exists()
    assert tables.write_tables(project) == files
    readme, page = (path.read_text() for path in files)
    row = "| [smile](reports/laptop/smile/smile.ipynb) | Can a cascade of two classifiers tell a positive from a negative "
    row += "smile, and both from none? | accuracy of the cascade | 79.21% | 83.00% [81.00%, 85.00%] | 1,611 | real photographs"
    assert row in readme and readme.count("| [") == 1
    assert readme.startswith("# Title\n") and readme.endswith("\n\nThe end.\n") and "old" not in readme
    assert "| Test accuracy of both stages together | 79.21% | 83.00% [81.00%, 85.00%] | 1,611 | above | 1, 2, 3 |" in page
    assert "1. the published value was chosen on the test set\n2. MobileNet at 128 pixels\n3. not mirrored\n" in page
    assert "5. not mirrored, short\n" in page  # what a run says of one claim alone
    assert page.count("MobileNet at 128 pixels") == page.count("chosen on the test set") == 1  # each reason once
    assert (
        "- Stage 2, positive against negative smile, best test accuracy of" in page and ": not measured in this run\n" in page
    )
    assert tables.write_tables(project, check=True) == []


def write_notebook(path, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)


def test_a_report_of_an_earlier_notebook_is_told_and_its_cells_are_named(project):
    source, report = project / "notebooks" / "smile.ipynb", project / "reports" / "laptop" / "smile" / "smile.ipynb"
    text, answer = "# Smile\n\n<!-- summary -->", new_output("display_data", {"text/markdown": "It **beats**\nboth.\n\nMore."})
    code, box = [new_code_cell("a = 1\nb = 2"), new_markdown_cell("## 11 Answer")], "\n\n**Answer.** 5\n\n<!-- summary: end -->"
    injected = new_code_cell("networks = 2", metadata={"tags": ["injected-parameters"]})
    write_notebook(source, [new_markdown_cell(text), *code, new_code_cell("show()")])
    write_notebook(report, [new_markdown_cell(text + box), injected, *code, new_code_cell("show()", outputs=[answer])])
    assert tables.list_stale_cells(source, report) == []
    write_notebook(source, [new_markdown_cell(text), *code[::-1], new_code_cell("show()")])
    assert tables.list_stale_cells(source, report) == ["the order of the cells"]
    write_notebook(source, [new_markdown_cell(text), *code, new_code_cell("show()")])
    tables.write_tables(project)
    readme, page = (path.read_text() for path in (project / "README.md", project / "reports" / "CLAIMS.md"))
    assert "- **smile** (real photographs): It **beats** both.\n" in readme and "\nIt **beats** both.\n" in page
    assert "earlier version" not in readme + page
    write_notebook(source, [new_markdown_cell(text), new_code_cell("a = 1\nb = 3"), *code[1:], new_code_cell("show()")])
    assert tables.list_stale_cells(source, report) == ["a = 1", "a = 1"]
    tables.write_tables(project)
    readme = (project / "README.md").read_text()
    assert "| 1,611 | real photographs, an earlier version of the notebook |" in readme and "**beats**" not in readme


def test_a_readme_without_its_place_is_refused(project):
    (project / "README.md").write_text(tables.END + tables.BEGIN)
    with pytest.raises(DataError, match="README.md: no place for the table"):
        tables.write_tables(project)
    (project / "README.md").unlink()
    with pytest.raises(DataError, match="README.md: no place for the table"):
        tables.write_tables(project)
    assert not (project / "reports" / "CLAIMS.md").exists()


def test_without_a_run_the_table_says_so(tmp_path):
    (tmp_path / "README.md").write_text(f"{tables.BEGIN}{tables.END}")
    (tmp_path / "reports").mkdir()
    tables.write_tables(tmp_path)
    assert "No run is there yet." in (tmp_path / "README.md").read_text()


def test_a_damaged_run_is_named(project):
    (project / "reports" / "laptop" / "smile" / "metrics.json").write_text(json.dumps([]))
    with pytest.raises(DataError, match="laptop/smile/metrics.json"):
        tables.write_tables(project)


def test_the_box_has_question_answer_values_and_time():
    assert site.summarise(make_record(), "A **cascade** can.") == (
        "**Question.** Can a cascade tell smiles?\n\n"
        "**Answer.** A **cascade** can.\n\n"
        "|  | Published | Ours | 95 % interval | Baseline |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| accuracy of the cascade on the test images, n = 1,611 | 79.0% | 83.0% | 81.0% to 85.0% | 70.0% |\n\n"
        "Profile laptop, real photographs, 2 min."
    )


def test_the_boxs_table_is_a_table_on_the_page():
    page = site.build_page(new_notebook(cells=[new_markdown_cell(site.summarise(make_record()))]), "laptop")
    assert "<th>Published</th>" in page and "<td>83.0%</td>" in page and "| ---" not in page


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        ([Metric("test/cascade/accuracy", 0.71, None, 90)], "the test images, n = 90 | 79.0% | 71.0% | – | – |\n"),
        ([Metric("test/cascade/accuracy", None, None, 90)], ""),
        ([], ""),
    ],
)
def test_the_box_without_an_answer_an_interval_or_a_value(metrics, told):
    box = site.summarise(make_record(metrics=metrics))
    assert told in box and ("| Published |" in box) == bool(told) and "Answer" not in box
    assert box.startswith("**Question.** Can a cascade tell smiles?")


def test_synthetic_data_are_not_set_against_the_published_value():
    assert "79.0%" not in site.summarise(make_record("synthetic"))


def test_the_committed_tables_are_what_the_committed_runs_say():
    done = subprocess.run([sys.executable, "reports/tables.py", "--check"], capture_output=True, text=True, cwd=project_root())
    listed = subprocess.run(["git", "status", "--porcelain", "reports"], capture_output=True, text=True, cwd=project_root())
    if re.search("metrics.json", listed.stdout):
        pytest.skip("runs of your own may differ in a digit")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_every_committed_run_has_a_box():
    for path in (project_root() / "reports").glob("laptop/[!.]*/metrics.json"):
        assert site.summarise(read_record(path)).startswith("**Question.** ")


@pytest.mark.parametrize(
    ("task", "name", "told"),
    [
        ("selfie-ranking", "truth/found", "proportion of the true effects found, n = 90"),
        ("gender-size", "test/1600 images/accuracy", "accuracy of the regression on 1,600 images on the test images"),
        ("gender-size", "test/9 balanced images/accuracy", "accuracy of the network “9 balanced images” on the test images"),
        ("celeba", "test/attributes/accuracy", "accuracy of the attribute network on the test images"),
        ("smile", "test/other/accuracy", "accuracy of the network “other” on the test images"),
    ],
)
def test_metrics_have_names_in_words(task, name, told):
    record = make_record("synthetic", "sample", metrics=[Metric(name, 0.9, None, 90)], published=[])
    record.task = task
    assert f"| {told}" in site.summarise(record)
