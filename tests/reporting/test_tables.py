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
    """Return a run of smile with the words that older runs hold."""
    metrics = [
        Metric("test/cascade/accuracy", 0.83, (0.81, 0.85), 1611, 0.7),
        Metric("test/stage1/accuracy", 0.84, (0.82, 0.86), 1611, 0.7),
    ]
    published = [
        Verdict("combined-accuracy", 0.79, "test/cascade/accuracy", "above", f"the published figure was chosen; {REMARK}"),
        Verdict("stage-1-last", 0.83, "test/stage1/accuracy", "within", f"in training mode, with flips; {REMARK}"),
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
    row += "smile, and both from none? | test/cascade/accuracy | 79.21% | 83.00% [81.00%, 85.00%] | real photographs | above |"
    assert row in readme and readme.count("| [") == 1
    assert readme.startswith("# Title\n") and readme.endswith("\n\nThe end.\n") and "old" not in readme
    assert "| Test accuracy of both stages together | 79.21% | 83.00% [81.00%, 85.00%] | 1,611 | above | 1, 2, 3 |" in page
    assert "1. the published value was chosen on the test set\n2. MobileNet at 128 pixels\n3. not mirrored\n" in page
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
    assert "| real photographs, an earlier version of the notebook |" in readme and "**beats**" not in readme


def test_averaged_networks_are_not_set_against_a_single_one(project):
    path = project / "reports" / "laptop" / "smile" / "metrics.json"
    path.write_text(dump_json(vars(make_record()) | {"parameters": {"average_flips": True}}))
    tables.write_tables(project)
    assert "| real photographs | not comparable |" in (project / "README.md").read_text()
    page = (project / "reports" / "CLAIMS.md").read_text()
    assert "- Test accuracy" in page and ": several networks and mirrored images are averaged\n" in page


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
    assert site.summarise(make_record()) == (
        "**Question.** Can a cascade tell smiles?\n\n"
        "**Answer.** The accuracy of the cascade on the test images is **83.0%** (95 % interval: 81.0% to 85.0%). That is "
        "significantly better than a model that always answers with the most frequent class (70.0%). The report says 79.0%: "
        "ours is significantly better.\n\n"
        "|  | Published | Ours | 95 % interval | Baseline |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| accuracy of the cascade on the test images, n = 1,611 | 79.0% | 83.0% | 81.0% to 85.0% | 70.0% |\n\n"
        "Profile laptop, 2 min."
    )


def test_the_box_takes_the_notebooks_own_answer():
    told = site.summarise(make_record(), answer="A **cascade** can.")
    assert "**Answer.** A **cascade** can.\n\n|  | Published |" in told and "significantly" not in told


def test_the_boxs_table_is_a_table_on_the_page():
    page = site.build_page(new_notebook(cells=[new_markdown_cell(site.summarise(make_record()))]), "laptop")
    assert "<th>Published</th>" in page and "<td>83.0%</td>" in page and "| ---" not in page


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        (Metric("test/cascade/accuracy", 0.71, (0.69, 0.73), 90, 0.7), "That is not significantly better than a model that"),
        (Metric("test/cascade/accuracy", 0.71, None, 90), "is **71.0%**. The report says"),
        (Metric("test/cascade/accuracy", None, None, 90), "**Question.** Can a cascade tell smiles?"),
        (Metric("test/other", 0.71, None, 90), "**Question.** Can a cascade tell smiles?"),
    ],
)
def test_the_box_of_other_headlines(metric, told):
    assert told in site.summarise(make_record(metrics=[metric]))


def test_the_box_of_a_number_predicts_the_mean_and_synthetic_data_are_not_compared():
    metric = Metric("test/alone/popularity/r2", 0.3, (0.2, 0.4), 90, 0.0)
    record = make_record("synthetic", "sample", metrics=[metric], published=[])
    record.task = "selfie-auxiliary"
    told = site.summarise(record)
    assert "The R² of the popularity from the image alone on the test images is **0.300**" in told
    assert "significantly better than a model that always predicts the mean (0.000)" in told
    assert "This run used synthetic images, so its numbers cannot be compared with the report's." in told
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
        ("selfie-ranking", "truth/found", "The proportion of the true effects found is **90.0%**."),
        (
            "gender-size",
            "test/1600 images/accuracy",
            "The accuracy of the network “1600 images” on the test images is **90.0%**.",
        ),
        ("celeba", "test/attributes/accuracy", "The accuracy of the attribute network on the test images is **90.0%**."),
    ],
)
def test_metrics_have_names_in_words(task, name, told):
    record = make_record("synthetic", "sample", metrics=[Metric(name, 0.9, None, 90)], published=[])
    record.task = task
    assert site.summarise(record, "answer.md.j2").startswith(told)
