"""published.yaml is complete and right; verdicts follow the rule; the README's table says what the runs say."""

import json

import pytest

from facekit import readme_table
from facekit.errors import DataError, ParameterError
from facekit.folders import project_root
from facekit.published import (
    TASKS,
    Claim,
    compare_claims,
    index_measured,
    judge,
    load_experiments,
    load_published,
    load_question,
    name_comparison,
    tabulate_published,
)
from facekit.record import dump_json

SOURCES = {
    "selfie-task1": "000_81c52ada4efe2f2b.txt",
    "selfie-auxiliary": "000_81c52ada4efe2f2b.txt",
    "selfie-task2": "000_81c52ada4efe2f2b.txt",
    "selfie-ranking": "000_81c52ada4efe2f2b.txt",
    "gender": "002_915c4aa240d1d42e.txt",
    "age": "003_91ea7feddb499d46.txt",
    "celeba": "001_669410fc98ab7131.txt",
    "smile": "004_ff3fd6dd9ec537d3.txt",
}
# Every number that the reports print, experiment by experiment, in the order of the register.
VALUES = {
    "selfie-task1": [46836, 36, 6000, 7000, 1000, 0.4464027030855163],
    "selfie-auxiliary": [0.5246079049558721, 0.4464027030855163],
    "selfie-task2": [3, 0.9263633772524821, 0.5403225806451613],
    "gender": [
        *(162770, 19867, 19962, 20000, 5000, 5000, 10000, 2000, 2000, 118000, 84000, 10, 52),
        *(0.962, 0.9615384615384616, 0.9625, 0.96179, 15, 34, 0.93215695952616),
    ],
    "age": [
        *(19906, 6636, 26742, 6706, 10804, 2396, 682287, 681897, 390),
        *(0.6593, 0.7789, 0.7072, 0.6910, 248, 0.6585, 0.7715, 0.6757, 0.7133),
        *(13939, 896, 4624, 1160, 584, 1168, 4640, 867),
    ],
    "celeba": [
        *(40, 29500, 625, 0.89683, 0.7764, 0.8118, 0.7863, 0.892025, 0.7577, 0.82703, 0.77685),
        *(0.8875, 0.0434, 0.9, 0.0375, 0.8796, 0.0470, 0.8938, 0.0414, 8, 8, 25),
    ],
    "smile": [
        *(4831, 1611, 3356, 988, 487, 1128, 340, 143),
        *(0.7920546244568591, 0.8454, 0.8343, 0.7267, 0.7164, 0.99, 0.99),
    ],
}
CHI_SQUARE = {
    "partial_faces": 80.753,
    "is_female": 135.784,
    "baby": 24.783,
    "child": 16.824,
    "teenager": 3.667,
    "youth": 28.082,
    "middle_age": 13.593,
    "senior": 1.704,
    "white": 8.412,
    "black": 41.937,
    "asian": 62.188,
    "oval_face": 20.97,
    "round_face": 0.525,
    "heart_face": 3.533,
    "smiling": 92.927,
    "mouth_open": 1.166,
    "frowning": 10.576,
    "wearing_glasses": 3.185,
    "wearing_sunglasses": 48.494,
    "wearing_lipstick": 124.354,
    "tongue_out": 0.387,
    "duck_face": 9.581,
    "black_hair": 5.25,
    "blond_hair": 48.512,
    "brown_hair": 26.337,
    "red_hair": 20.686,
    "curly_hair": 82.833,
    "straight_hair": 106.607,
    "braid_hair": 3.919,
    "showing_cellphone": 13.415,
    "using_earphone": 2.393,
    "using_mirror": 15.51,
    "braces": 22.427,
    "wearing_hat": 4.333,
    "harsh_lighting": 35.139,
    "dim_lighting": 35.139,
}
TOP_SEVEN = {
    "is_female": 135.78389756318245,
    "wearing_lipstick": 124.35392335572422,
    "straight_hair": 106.60675590709525,
    "smiling": 92.92656260454172,
    "curly_hair": 82.83312971899248,
    "partial_faces": 80.75266458419698,
    "asian": 62.18823357117863,
}


def make_claim(**fields):
    basis = {"task": "smile", "source": "r", "id": "c", "kind": "figure", "text": "t", "value": 0.79, "unit": "share"}
    return Claim(**basis | {"reproduced": "test/accuracy"} | fields)


def measure(value, interval, **fields):
    return {"name": "test/accuracy", "value": value, "interval": interval, "n": 100, "higher_is_better": True} | fields


@pytest.mark.parametrize("task", TASKS)
def test_every_experiment_stands_under_its_report(task):
    claims = load_published(task)
    assert claims and {claim.source for claim in claims} == {SOURCES[task]}
    assert load_question(task).endswith("?")
    kinds = {claim.kind for claim in claims}
    assert kinds >= {"setting"} and kinds & {"figure", "claim"}


@pytest.mark.parametrize("task", VALUES)
def test_every_number_of_a_report_is_there(task):
    assert [claim.value for claim in load_published(task) if claim.value is not None] == VALUES[task]


def test_all_scores_of_the_ranking():
    claims = load_published("selfie-ranking")
    scores = {claim.reproduced: claim.value for claim in claims if claim.id.startswith("chi-square-")}
    assert scores == {f"chi_square/{name}": value for name, value in CHI_SQUARE.items()}
    assert list(scores) == [f"chi_square/{name}" for name in CHI_SQUARE]
    top = [(claim.reproduced, claim.value) for claim in claims if claim.id.startswith("top-") and claim.value != 7]
    assert top == [(f"chi_square/{name}", value) for name, value in TOP_SEVEN.items()]


def test_counts_of_claims():
    counts = {task: sum(claim.kind != "setting" for claim in load_published(task)) for task in TASKS}
    assert counts == {
        "selfie-task1": 7,
        "selfie-auxiliary": 4,
        "selfie-task2": 2,
        "selfie-ranking": 45,
        "gender": 13,
        "age": 24,
        "celeba": 30,
        "smile": 11,
    }
    assert len(load_published()) == 186


def test_what_was_chosen_on_the_test_set():
    chosen = [(claim.task, claim.id) for claim in load_published() if claim.chosen_on == "test"]
    assert chosen == [("smile", "combined-accuracy"), ("smile", "stage-1-best"), ("smile", "stage-2-best")]


def test_unnamed_averaging_is_said():
    unnamed = [claim.id for claim in load_published("celeba") if claim.averaging == "not said"]
    assert len(unnamed) == 12
    assert "resnet50-f1" in unnamed


def test_no_published_number_stands_in_the_code():
    for path in [*(project_root() / "facekit").rglob("*.py"), *(project_root() / "notebooks").glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        for number in ("0.7920546", "0.4464027", "0.5246079", "0.9615384", "0.93215", "0.89683", "135.78"):
            assert number not in text, f"{path.name} holds {number}, which belongs in published.yaml"


@pytest.mark.parametrize(
    ("interval", "higher_is_better", "verdict"),
    [
        ((0.81, 0.85), True, "above"),
        ((0.78, 0.82), True, "within"),
        ((0.79, 0.82), True, "within"),  # an edge belongs to its interval
        ((0.70, 0.78), True, "below"),
        ((0.81, 0.85), False, "below"),
        ((0.78, 0.82), False, "within"),
        ((0.70, 0.78), False, "above"),
    ],
)
def test_verdict_by_the_rule(interval, higher_is_better, verdict):
    measured = measure(sum(interval) / 2, list(interval), higher_is_better=higher_is_better)
    assert judge(make_claim(), measured, kind="photographs") == (verdict, "")


def test_a_count_is_its_own_interval():
    assert judge(make_claim(value=390), measure(390, None), kind="photographs")[0] == "within"
    assert judge(make_claim(value=118000), measure(84434, None), kind="photographs")[0] == "below"


@pytest.mark.parametrize(
    ("claim", "measured", "kind", "why"),
    [
        ({}, measure(0.8, [0.7, 0.9]), "synthetic", "the data is synthetic"),
        ({}, measure(0.8, [0.7, 0.9]), "planted", "the data is planted"),
        ({}, None, "photographs", "not measured in this run"),
        ({}, measure(None, None), "photographs", "not defined on these rows"),
        ({"reproduced": None, "why": "a plot"}, None, "photographs", "a plot"),
        ({"comparable": False, "why": "unknown scale"}, measure(0.8, [0.7, 0.9]), "photographs", "unknown scale"),
    ],
)
def test_not_comparable_says_why(claim, measured, kind, why):
    assert judge(make_claim(**claim), measured, kind=kind) == ("not comparable", why)


def test_a_verdict_is_marked_with_what_must_be_known():
    claim = make_claim(chosen_on="test", averaging="not said", why="odd")
    verdict, why = judge(claim, measure(0.83, [0.81, 0.85]), kind="photographs", remark="pictures of 64x64")
    assert verdict == "above"
    assert why == (
        "the published figure was chosen on the test set; the published averaging is not said; odd; pictures of 64x64"
    )


@pytest.mark.parametrize(
    ("interval", "metric", "verdict"),
    [
        ([0.01, 0.03], "accuracy", "above"),
        ([-0.01, 0.03], "accuracy", "within"),
        ([-0.03, -0.01], "accuracy", "below"),
        ([-0.03, -0.01], "log_loss", "above"),
    ],
)
def test_a_claimed_difference_is_judged_against_zero(interval, metric, verdict):
    comparison = {"a": "x", "b": "y", "metric": metric, "difference": 0.0, "interval": interval, "n": 50}
    claim = make_claim(kind="claim", value=None, reproduced=name_comparison(comparison))
    measured = index_measured([], [comparison])[f"x minus y: {metric}"]
    assert judge(claim, measured, kind="photographs") == (verdict, "a difference, judged against 0")


def test_rows_of_a_run():
    metrics = [
        measure(0.83, [0.81, 0.85], name="test/cascade/accuracy"),
        measure(0.84, [0.82, 0.86], name="test/stage1/accuracy"),
    ]
    rows = compare_claims("smile", metrics, [], kind="photographs")
    found = {row["claim"]: row for row in rows}
    assert len(rows) == 11
    assert found["combined-accuracy"] == {
        "claim": "combined-accuracy",
        "value": 0.7920546244568591,
        "reproduced": "test/cascade/accuracy",
        "verdict": "above",
        "why": "the published figure was chosen on the test set",
    }
    assert found["stage-1-last"]["verdict"] == "within"
    assert found["stage-2-best"] == {
        "claim": "stage-2-best",
        "value": 0.7267,
        "reproduced": None,
        "verdict": "not comparable",
        "why": "not measured in this run",
    }
    shown = tabulate_published("smile", rows, metrics, []).set_index("claim")
    assert shown.loc["Test accuracy of both stages together"].tolist()[:4] == [
        "0.7921",
        "0.8300 [0.8100, 0.8500]",
        "100",
        "above",
    ]


def test_unknown_task_is_refused():
    with pytest.raises(ParameterError, match="task 'smiles'; expected one of selfie-task1"):
        load_published("smiles")


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("[{id: a, kind: figure, text: t}]", "smile, a: Value error, a figure needs value and unit"),
        ("[{id: a, kind: claim, text: t}]", "what is not reproduced or not comparable needs a why"),
        ("[{id: a, kind: claim, text: t, reproduced: test/x}]", "only a comparison"),
        ("[{id: a, kind: figur, text: t}]", "smile, a kind: Input should be 'figure', 'claim' or 'setting'"),
        ("[{id: a, kind: setting, text: t, note: x}]", "smile, a note: Extra inputs are not permitted"),
        ("[{id: a, kind: setting, text: t}, {id: a, kind: setting, text: t}]", "smile: id a is there twice"),
        ("[{id: a, kind: setting, text: t}]", "holds smile; expected selfie-task1"),
    ],
)
def test_a_broken_register_is_refused_in_one_line(tmp_path, claims, message):
    path = tmp_path / "published.yaml"
    path.write_text(f"r.txt:\n  smile:\n    question: Who?\n    claims: {claims}\n")
    with pytest.raises(DataError, match=message) as caught:
        load_experiments(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", sorted((project_root() / "reports").glob("laptop/[!.]*/metrics.json")), ids=str)
def test_a_run_on_photographs_measures_what_the_register_names(path):
    record = json.loads(path.read_text())
    if record["data"]["kind"] != "photographs":
        pytest.skip("a run on drawn faces is not judged")
    named = {claim.reproduced for claim in load_published(record["task"])} - {None}
    if record["parameters"].get("named_weights") == "none":  # the second network starts from ImageNet in profile report alone
        named = {name for name in named if "/densenet121/" not in name}
    missing = named - set(index_measured(record["metrics"], record["comparisons"]))
    assert not missing


def write_project(tmp_path):
    folder = tmp_path / "reports" / "laptop" / "smile"
    folder.mkdir(parents=True)
    metrics = [measure(0.83, [0.81, 0.85], name="test/cascade/accuracy", n=1611)]
    record = {
        "schema": 1,
        "task": "smile",
        "profile": "laptop",
        "data": {"kind": "photographs"},
        "metrics": metrics,
        "comparisons": [],
        "published": compare_claims("smile", metrics, [], kind="photographs"),
    }
    (folder / "metrics.json").write_text(dump_json(record))
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{readme_table.BEGIN}\nold\n{readme_table.END}\n\nThe end.\n")
    return readme


def test_readme_table_is_written_and_checked(tmp_path, capsys):
    readme = write_project(tmp_path)
    assert readme_table.main(["--check"], tmp_path) == 1
    assert "README.md's table is not what reports/ says" in capsys.readouterr().err
    assert "old" in readme.read_text()
    assert readme_table.main([], tmp_path) == 0
    text = readme.read_text()
    assert (
        "| smile | laptop, photographs | Test accuracy of both stages together | 0.7921 "
        "| 0.8300 [0.8100, 0.8500], n = 1,611 | **above**: the published figure was chosen on the test set |\n"
    ) in text
    assert "smile (laptop): 10." in text
    assert text.startswith("# Title\n") and text.endswith("\n\nThe end.\n") and "old" not in text
    assert readme_table.main(["--check"], tmp_path) == 0
    assert readme_table.main([], tmp_path) == 0
    assert readme.read_text() == text


def test_readme_without_markers_is_refused(tmp_path, capsys):
    readme = write_project(tmp_path)
    readme.write_text(readme_table.END + readme_table.BEGIN)
    assert readme_table.main([], tmp_path) == 1
    assert "README.md has not both markers" in capsys.readouterr().err
    readme.unlink()
    assert readme_table.main([], tmp_path) == 1
    assert "README.md is not there" in capsys.readouterr().err


def test_no_run_is_said(tmp_path):
    assert readme_table.build_table(tmp_path) == "No run is committed yet.\n"
