"""claims.py: published.yaml is complete and right, and verdicts follow the rule."""

import re

import pytest

from facekit.errors import DataError, FacekitError, ParameterError
from facekit.evaluation.metric import Comparison, Metric
from facekit.paths import project_root
from facekit.reporting import claims
from facekit.reporting.claims import (
    Claim,
    Record,
    index_values,
    judge,
    judge_all,
    read_experiment,
    read_record,
    read_register,
)

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
    "celeba": [40, 29500, 625, 25],
    "celeba-networks": [
        *(0.001, 0.3),
        *(0.89683, 0.7764, 0.8118, 0.7863, 0.8875, 0.0434, 0.9, 0.0375, 8),
        *(0.892025, 0.7577, 0.82703, 0.77685, 0.8796, 0.0470, 0.8938, 0.0414, 8),
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
    basis = {"id": "c", "kind": "value", "text": "t", "value": 0.79, "unit": "share", "reproduced": "test/accuracy"}
    return Claim(**basis | fields)


def measure(value, interval, **fields):
    return Metric(**{"name": "test/accuracy", "value": value, "interval": interval, "n": 100} | fields)


def test_every_experiment_of_the_reports_is_there_with_its_question():
    register = read_register()
    assert set(register) >= {*VALUES, "selfie-ranking"}
    assert all(experiment.question.endswith("?") for experiment in register.values())
    assert sum(claim.kind != "setting" for experiment in register.values() for claim in experiment.claims) == 136


@pytest.mark.parametrize("task", VALUES)
def test_every_number_of_a_report_is_there(task):
    assert [claim.value for claim in read_experiment(task).claims if claim.value is not None] == VALUES[task]


def test_all_scores_of_the_ranking():
    found = read_experiment("selfie-ranking").claims
    scores = {claim.reproduced: claim.value for claim in found if claim.id.startswith("chi-square-")}
    assert scores == {f"chi_square/{name}": value for name, value in CHI_SQUARE.items()}
    assert list(scores) == [f"chi_square/{name}" for name in CHI_SQUARE]
    top = [(claim.reproduced, claim.value) for claim in found if claim.id.startswith("top-") and claim.value != 7]
    assert top == [(f"chi_square/{name}", value) for name, value in TOP_SEVEN.items()]


def test_what_was_chosen_on_the_test_set_and_what_the_reports_got_wrong():
    every = [(task, claim) for task, experiment in read_register().items() for claim in experiment.claims]
    assert [claim.id for _, claim in every if claim.chosen_on == "test"] == [
        "combined-accuracy",
        "stage-1-best",
        "stage-2-best",
    ]
    assert [claim.id for _, claim in every if claim.report_error] == ["much-better", "males", "females", "pictures", "pictures"]
    assert sum(claim.averaging == "not said" for task, claim in every if task.startswith("celeba")) == 12


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
def test_verdict_of_a_value_with_an_interval(interval, higher_is_better, verdict):
    measured = measure(sum(interval) / 2, interval, higher_is_better=higher_is_better)
    assert judge(make_claim(), measured, kind="photographs") == (verdict, "")


@pytest.mark.parametrize(("unit", "value", "verdict"), [("parameters", 390, "equal"), ("images", 84434, "differs")])
def test_a_count_is_equal_or_differs_whatever_the_method(unit, value, verdict):
    assert judge(make_claim(value=390, unit=unit), measure(value, None), kind="photographs", remark="at 64") == (verdict, "")


def test_a_value_without_an_interval_gets_no_verdict():
    told = judge(make_claim(), measure(0.8, None), kind="photographs", remark="at 64")
    assert told == (None, "our value has no interval; at 64")


@pytest.mark.parametrize(
    ("claim", "measured", "kind", "why"),
    [
        ({}, measure(0.8, (0.7, 0.9)), "synthetic", "synthetic images"),
        ({}, measure(0.8, (0.7, 0.9)), "planted", "semi-synthetic popularity"),
        ({}, None, "photographs", "not measured in this run"),
        ({"why": "a tie"}, None, "photographs", "not measured in this run; a tie"),
        ({}, measure(None, None), "photographs", "not defined on these rows"),
        ({"reproduced": None, "why": "a plot"}, None, "photographs", "a plot"),
        ({"comparable": False, "why": "unknown scale"}, measure(0.8, (0.7, 0.9)), "photographs", "unknown scale"),
        ({"report_error": True, "why": "swapped"}, measure(0.8, None), "synthetic", "synthetic images"),
    ],
)
def test_not_comparable_gives_the_reason(claim, measured, kind, why):
    assert judge(make_claim(**claim), measured, kind=kind) == ("not comparable", why)


def test_a_reports_own_mistake():
    claim = make_claim(value=118000, unit="images", report_error=True, why="swapped")
    assert judge(claim, measure(84434, None), kind="photographs", remark="at 64") == ("report error", "swapped")
    claim = make_claim(value=26742, unit="images", report_error=True, why="the sum is 26,542", reproduced=None)
    assert judge(claim, None, kind="synthetic") == ("report error", "the sum is 26,542")


def test_a_verdict_is_marked_with_what_must_be_known():
    claim = make_claim(chosen_on="test", averaging="not said", why="odd")
    verdict, why = judge(claim, measure(0.83, (0.81, 0.85)), kind="photographs", remark="at 64 pixels")
    assert verdict == "above"
    assert why == "the published value was chosen on the test set; the published averaging is not stated; odd; at 64 pixels"


@pytest.mark.parametrize(
    ("interval", "metric", "verdict"),
    [
        ((0.01, 0.03), "accuracy", "above"),
        ((-0.01, 0.03), "accuracy", "within"),
        ((-0.03, -0.01), "accuracy", "below"),
        ((-0.03, -0.01), "log_loss", "above"),
    ],
)
def test_a_claimed_difference_is_judged_against_zero(interval, metric, verdict):
    claim = make_claim(kind="claim", value=None, reproduced=f"x minus y: {metric}")
    record = Record("smile", "laptop", "", {}, comparisons=[Comparison("x", "y", metric, 0.0, interval, 50)])
    measured = index_values(record)[f"x minus y: {metric}"]
    assert judge(claim, measured, kind="photographs") == (
        verdict,
        "a difference, judged against 0: within means that none is shown",
    )


def test_a_remark_may_be_of_some_claims_alone():
    record = Record("smile", "laptop", "", {})
    record.metrics = [measure(0.83, (0.81, 0.85), name=f"test/{of}/accuracy") for of in ("cascade", "stage1")]
    why = {row.reproduced: row.why for row in judge_all(record, "at 64 pixels", {"test/stage1": "short"})[0] if row.reproduced}
    assert why["test/cascade/accuracy"].endswith("at 64 pixels") and why["test/stage1/accuracy"].endswith("short")


def test_verdicts_of_a_run_and_their_table():
    record = Record("smile", "laptop", "", {})  # photographs, where nothing else is said
    record.metrics = [measure(0.83, (0.81, 0.85), name="test/cascade/accuracy", n=1611)]
    record.metrics.append(measure(0.84, (0.82, 0.86), name="test/stage1/accuracy"))
    rows, shown = judge_all(record)
    found = {row.claim: row for row in rows}
    assert len(rows) == 11
    why = "the published value was chosen on the test set"
    assert found["combined-accuracy"] == claims.Verdict(
        "combined-accuracy", 0.7920546244568591, "test/cascade/accuracy", "above", why
    )
    assert found["stage-1-last"].verdict == "within"
    missing = claims.Verdict("stage-2-best", 0.7267, None, "not comparable", "not measured in this run")
    assert found["stage-2-best"] == missing
    shown = shown.set_index("claim")
    assert shown.loc["Test accuracy of both stages together"].tolist() == [
        *("79.21%", "83.00% [81.00%, 85.00%]", "1,611", "above", why)
    ]


def test_unknown_experiment_is_refused():
    with pytest.raises(ParameterError, match="no experiment 'smiles'; expected one of selfie-task1"):
        read_experiment("smiles")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "[{id: a, kind: valu, text: t}]",
            "published.yaml: r.txt.smile.claims.0.kind: Input should be 'value', 'cl",
        ),
        ("[{id: a, kind: setting, text: t, note: x}]", "claims.0.note: Extra inputs are not permitted, received 'x'"),
        ("5", "smile.claims: Input should be .*, received '5'"),
    ],
)
def test_a_broken_register_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "published.yaml"
    path.write_text(f"r.txt:\n  smile:\n    question: Who?\n    claims: {content}\n")
    with pytest.raises(DataError, match=message) as caught:
        read_register(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "experiment"), read_register().items(), ids=read_register())
def test_every_claim_can_be_judged_or_says_why_not(task, experiment):
    ids = [claim.id for claim in experiment.claims]
    assert len(set(ids)) == len(ids)
    for claim in experiment.claims:
        if claim.kind == "value":
            assert claim.value is not None and claim.unit, claim.id
        if claim.kind == "setting":
            assert not claim.reproduced, claim.id
        elif not claim.reproduced or not claim.comparable or claim.report_error:
            assert claim.why, claim.id
        assert not claim.reproduced or claim.value is not None or " minus " in claim.reproduced, claim.id


@pytest.mark.parametrize("content", ["a: 1", "a: [1, 2]", "a: {b: 1}", "a: {b: {question: 1}}", "[]", "a: null"])
def test_a_register_of_another_form_is_one_of_our_errors(tmp_path, content):
    path = tmp_path / "published.yaml"
    path.write_text(content)
    with pytest.raises(FacekitError, match="published.yaml"):
        read_register(path)


@pytest.mark.parametrize("path", sorted((project_root() / "reports").glob("laptop/[!.]*/metrics.json")), ids=str)
def test_a_run_on_photographs_measures_what_the_register_names(path):
    record = read_record(path)
    if record.data["kind"] != "photographs":
        pytest.skip("a run on synthetic data is not judged")
    # Of a network that starts from random weights, or has learnt nothing, some are not judged: the register says of which.
    unconditional = [claim for claim in read_experiment(record.task).claims if claim.comparable]
    unconditional = [c for c in unconditional if not re.match("(judged only|compared) where ", c.why or "")]
    assert not {claim.reproduced for claim in unconditional} - {None} - set(index_values(record))


def test_no_published_number_is_in_the_code():
    root = project_root()
    for path in [*(root / "facekit").rglob("*.py"), *(root / "notebooks").glob("*.ipynb")]:
        text = path.read_text(encoding="utf-8")
        for number in ("0.7920546", "0.4464027", "0.5246079", "0.9615384", "0.93215", "0.89683", "135.78"):
            assert number not in text, f"{path.name} holds {number}, which belongs in published.yaml"
