"""The checks find what they are for; the house itself is checked in test_house.py."""

import json

import nbformat
import pytest
import yaml

from facekit import checks

PARAMETERS = ("epochs = 2  # how often all pictures are seen", {"tags": ["parameters"]})
COMPARED = ("print(epochs)", {"tags": ["nbval-check-output"]})


def write_notebook(folder, *cells, outputs=()):
    """Write tiny.ipynb of (source, metadata) code cells, each with a sentence before it."""
    folder.mkdir(parents=True, exist_ok=True)
    new, built = nbformat.v4, []
    for source, metadata in cells:
        built += [new.new_markdown_cell("Look."), new.new_code_cell(source, metadata=metadata)]
    for number, cell in enumerate(built):
        cell.id = f"cell-{number}"
    for number, text in enumerate(outputs, start=1):
        cell = built[2 * number - 1]
        cell.execution_count = number
        cell.outputs = [new.new_output("stream", name="stdout", text=text)] if text else []
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=built, metadata={"kernelspec": kernel}), folder / "tiny.ipynb")


def write_profiles(notebooks, **changes):
    (notebooks / "parameters").mkdir(parents=True, exist_ok=True)
    profiles = {name: {"parameters": {}, "expected": []} for name in ("sample", "laptop", "report", "full")}
    for name, change in changes.items():
        profiles[name] |= change
    (notebooks / "parameters" / "tiny.yaml").write_text(yaml.safe_dump(profiles))


@pytest.fixture
def notebooks(tmp_path):
    folder = tmp_path / "notebooks"
    write_notebook(folder, PARAMETERS, COMPARED)
    write_profiles(folder)
    return folder


def test_a_notebook_by_the_rules_has_no_problem(notebooks):
    assert checks.check_notebooks(notebooks) == []


def test_a_notebook_against_the_rules_is_told_rule_by_rule(notebooks):
    long = "\n".join(["a = 1"] * 26)
    write_notebook(notebooks, PARAMETERS, (long, {}), ("!pip install x", {}), outputs=["", "shown"])
    assert checks.check_notebooks(notebooks) == [
        "tiny.ipynb: no cell is tagged nbval-check-output",
        "tiny.ipynb: cell 1 holds outputs; source notebooks are kept without",
        "tiny.ipynb: cell 2 holds outputs; source notebooks are kept without",
        "tiny.ipynb: cell 2 has 26 lines, 25 is the maximum",
        "tiny.ipynb: cell 3 calls the shell or a magic; a notebook holds plain Python",
    ]


def test_profiles_are_held_against_the_notebook(notebooks):
    write_profiles(notebooks, sample={"parameters": {"epochs": 3}})
    assert checks.check_notebooks(notebooks) == [
        "tiny.yaml: sample differs from the notebook's defaults, which are that profile"
    ]
    write_profiles(notebooks, full={"parameters": {"epoch": 3}})
    assert checks.check_notebooks(notebooks) == ["tiny.yaml, full: unknown parameter 'epoch'; expected one of epochs"]
    (notebooks / "parameters" / "tiny.yaml").rename(notebooks / "parameters" / "other.yaml")
    assert checks.check_notebooks(notebooks) == [
        "tiny.yaml is missing in notebooks/parameters; expected one file a notebook",
        "parameters/other.yaml: there is no notebook other.ipynb",
    ]


def test_a_reference_by_the_rules_has_no_problem(notebooks, tmp_path):
    write_notebook(tmp_path / "reports" / "sample" / "tiny", PARAMETERS, COMPARED, outputs=["", "2\n"])
    assert checks.check_references(tmp_path / "reports", notebooks) == []


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (["", ""], "no cell tagged nbval-check-output has an output, so nothing would be compared"),
        ([""], "code cell 2 was not executed"),
        (["/home/anna/pictures", "2\n"], "code cell 1 shows a folder of somebody's machine"),
    ],
)
def test_a_reference_that_compares_nothing_is_found(notebooks, tmp_path, outputs, told):
    write_notebook(tmp_path / "reports" / "sample" / "tiny", PARAMETERS, COMPARED, outputs=outputs)
    assert f"reports/sample/tiny/tiny.ipynb: {told}" in checks.check_references(tmp_path / "reports", notebooks)


def test_a_reference_of_another_notebook_is_found(notebooks, tmp_path):
    write_notebook(tmp_path / "reports" / "sample" / "tiny", PARAMETERS, COMPARED, outputs=["", "2\n"])
    write_notebook(notebooks, PARAMETERS, ("print(2 * epochs)", COMPARED[1]))
    assert checks.check_references(tmp_path / "reports", notebooks) == [
        "reports/sample/tiny/tiny.ipynb: its cells differ from notebooks/tiny.ipynb; make tiny runs it again"
    ]


def expect(value, low, high, metric="test/accuracy"):
    return {"expected": [{"metric": metric, "value": value, "low": low, "high": high, "minutes": 1.5}]}


@pytest.mark.parametrize(
    ("expected", "told"),
    [
        (expect(0.8, 0.7, 0.9), []),
        (expect(0.8, 0.76, 0.9), ["test/accuracy is 0.75, expected 0.76 to 0.9"]),
        (expect(0.6, 0.7, 0.9), ["test/accuracy: expected 0.6 stands outside its own range 0.7 to 0.9"]),
        (expect(None, None, None), ["test/accuracy is 0.75, but what to expect was left at null"]),
        (expect(0.8, 0.7, 0.9, "test/f1"), ["expected test/f1, which metrics.json does not hold"]),
        ({"expected": []}, ["tiny.yaml expects nothing of profile laptop"]),
    ],
)
def test_a_report_is_held_against_its_profile(notebooks, tmp_path, expected, told):
    write_profiles(notebooks, laptop=expected, full=expect(None, None, None))
    run = tmp_path / "reports" / "laptop" / "tiny"
    run.mkdir(parents=True)
    (run / "metrics.json").write_text(json.dumps({"metrics": [{"name": "test/accuracy", "value": 0.75}]}))
    problems = checks.check_expected(tmp_path / "reports", notebooks)
    assert problems == [f"reports/laptop/tiny: {problem}" for problem in told]
