"""What others wrote, in one printed line: in errors, and in verify's report."""

import pytest

from facekit.data.verify import Report
from facekit.errors import FacekitError

NAMES = {
    "plain, with spaces  and \u00e4": "plain, with spaces  and \u00e4",
    "a\x1b[2J\x1b]0;title\x07.jpg": r"a\x1b[2J\x1b]0;title\x07.jpg",
    "a\nfacekit: all is well.jpg": r"a\nfacekit: all is well.jpg",
    "a\r\tb\0c\x7f": r"a\r\tb\x00c\x7f",
    "line\u2028and\u2029paragraph\x85": r"line\u2028and\u2029paragraph\x85",
    "gpj.\u202eexe": r"gpj.\u202eexe",
    "caf\udce9.jpg": r"caf\udce9.jpg",
    "x" * 100_000: "x" * 285,
}


@pytest.mark.parametrize(("name", "shown"), NAMES.items(), ids=range(len(NAMES)))
def test_names_of_others_are_shown_escaped_and_cut(name, shown):
    report = Report("facehack", name)
    report.add(f"folder/{name}", f"{name} is broken")
    report.notes.append(f"{name} is not there")
    error = FacekitError(f"{name} is broken", expected=f"none of {name}", hint=f"remove {name}")
    for line in (str(error), *report.to_text().split("\n")):
        assert line.isprintable()
        assert len(line) < 2_000
    assert [shown in line for line in report.to_text().split("\n")] == [True] * 3
    assert str(error).count(shown) >= 3
    assert str(error).endswith(shown) and report.to_text().endswith(" is broken")


def test_an_error_of_a_library_becomes_one_line():
    message = "\n  could not read\n    the file\n"
    assert str(FacekitError(f"a.yaml: {message}", hint="save it again")) == "a.yaml: could not read the file; save it again"
