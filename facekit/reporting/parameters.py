"""What an experiment can be told: the parameters cell of its notebook and the profiles in its YAML file.

papermill takes any name and any type, warns about an unknown one and runs for an hour with the default. Here every value
has the name, type and range that the notebook gives it, and every path exists, or no kernel starts.
"""

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from facekit.data.manifests import validate
from facekit.errors import DataError, ImageError, ParameterError
from facekit.models.networks import check_networks
from facekit.paths import CACHE, expand, project_root, read_file, read_json, resolve

NOTEBOOKS = project_root() / "notebooks"
PROFILES = ("sample", "laptop", "report", "full")
WEIGHTS_WORDS = ("imagenet", "none", "sample", "")  # what `weights` may be besides run:PROFILE/TASK and a file
PATHS = ("data", "own_photos", "weights")  # what the names of parameters that hold a path end in
REPEATED = ("size", "units")  # what the names of lists end in that may hold a value twice, such as height and width
TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
# papermill's own inspector drops a line with a second equals sign, so none is allowed, not even in the help.
ALLOWED = r"[\[(]\S*\.\.\S*[\])]|\[[^\[\]=]+\]"
LINE = re.compile(rf"([a-z_]\w*) = ([^=#]+?)  # ([^=]+?)(?: ({ALLOWED}))?")
RANGE = re.compile(r"([\[(])(-?\d[\d.]*?)?\.\.(-?[\d.]+)?([\])])")


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name = default  # help [allowed]`; allowed is a range, (0..1], or choices, [a, b]."""

    name: str
    default: bool | int | float | str | list
    help: str
    allowed: str = ""

    def check(self, value: Any, where: str) -> Any:
        """Return a value, or its text, in the default's type; ParameterError, which says `where`, if it is not allowed.

        A list is not empty, and only one of sizes (REPEATED) may hold a value twice.
        """
        listed, repeats = isinstance(self.default, list), self.name.endswith(REPEATED)
        kind = type(self.default[0] if listed else self.default)
        wanted = f"a list of {'' if repeats else 'different '}values, each {TYPES[kind]}" if listed else TYPES[kind]
        if listed and isinstance(value, str):  # 96,80 or [96, 80]
            value = re.findall(r"[^\s,'\"\[\]]+", value)
        try:
            found = [self._convert(item, kind) for item in TypeAdapter(list).validate_python(value if listed else [value])]
            if not found or (len(set(found)) < len(found) and not repeats):
                raise ValueError
        except ValueError:  # pydantic's ValidationError is one
            wanted += f" {self.allowed} ({self.help}), such as {self.default!r}"
            raise ParameterError(f"{where}: {self.name} = {value!r:.80}", expected=wanted) from None
        return found if listed else found[0]

    def _convert(self, value: Any, kind: type) -> Any:
        is_text = isinstance(value, str) and kind is not str
        value = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(value, strict=not is_text)
        if span := RANGE.fullmatch(self.allowed):
            low, high = float(span[2] or "-inf"), float(span[3] or "inf")
            allowed = low <= value <= high and (span[1], value) != ("(", low) and (span[4], value) != (")", high)
        elif self.allowed:
            allowed = value in [kind(word.strip(" '\"")) for word in self.allowed[1:-1].split(",")]
        else:
            allowed = "\0" not in str(value)  # which no path can hold
        if not allowed:
            raise ValueError
        return value


class Expected(BaseModel, extra="forbid", allow_inf_nan=False):
    """What a profile's run should reach; null where it was never measured. Minutes are shown, not checked."""

    metric: str
    value: float | None
    low: float | None
    high: float | None
    minutes: float | None = None

    @model_validator(mode="after")
    def _check_order(self) -> "Expected":
        known = [number for number in (self.low, self.value, self.high) if number is not None]
        if known != sorted(known):
            raise ValueError("not low <= value <= high")
        return self

    def includes(self, value: float | None) -> bool:
        """Return whether a run that measured `value` is within the range."""
        return None not in (value, self.low, self.high) and self.low <= value <= self.high


class Profile(BaseModel, extra="forbid"):
    """One profile of one experiment: what differs from the notebook's defaults, and what to expect."""

    parameters: dict[str, Any]
    expected: list[Expected]
    tried: list[str] = []


class Profiles(BaseModel, extra="forbid"):
    """A file of notebooks/parameters/: the profiles of an experiment, and ranges or choices that its notebook does not give."""

    allowed: dict[str, Annotated[str, Field(pattern=f"^({ALLOWED})$")]] = {}
    sample: Profile
    laptop: Profile
    report: Profile
    full: Profile


def list_tasks() -> list[str]:
    """Return the names of the experiments: one per notebook."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def read_parameters(task: str) -> dict[str, Parameter]:
    """Return a notebook's parameters in their order; ParameterError: no such notebook or cell, a wrong line or default."""
    if task not in (tasks := list_tasks()):
        raise ParameterError(f"unknown task {task!r}", expected=f"one of {', '.join(tasks)}")
    path = NOTEBOOKS / f"{task}.ipynb"
    try:
        cells = read_json(path)["cells"]
        known = all(cell["cell_type"] in ("code", "markdown", "raw") for cell in cells)
        (text,) = ["".join(cell["source"]) for cell in cells if known and "parameters" in cell["metadata"].get("tags", [])]
    except (DataError, ValueError, KeyError, TypeError, AttributeError):
        expected = "a Jupyter notebook of code, markdown and raw cells, one of them tagged parameters"
        raise ParameterError(str(path), expected=expected) from None
    found, elsewhere = {}, _read_profiles(task).allowed
    for line in text.splitlines():
        try:
            name, value, description, allowed = LINE.fullmatch(line.rstrip()).groups(default="")
            found[name] = Parameter(name, ast.literal_eval(value), description, allowed or elsewhere.pop(name, ""))
            found[name].check(found[name].default, "")
        except (AttributeError, ValueError, SyntaxError, KeyError, IndexError, RecursionError, MemoryError, ParameterError):
            expected = "name = value  # help [range], with one equals sign, and True, a number, text or a list of those"
            raise ParameterError(f"{path.name}: {line}", expected=expected) from None
    if elsewhere:
        raise ParameterError(f"{task}.yaml: allowed.{min(elsewhere)}", expected="a parameter whose line allows everything")
    return found


def read_profile(task: str, profile: str) -> Profile:
    """Return one profile of a task, its values as text; FacekitError where there is none or its file is damaged."""
    if profile not in PROFILES:
        raise ParameterError(f"unknown profile {profile!r}", expected=f"one of {', '.join(PROFILES)}")
    return getattr(_read_profiles(task), profile)


def _read_profiles(task: str) -> Profiles:
    return read_yaml(NOTEBOOKS / "parameters" / f"{task}.yaml", Profiles)


class _Loader(yaml.BaseLoader):
    """Every value is text, so that 010, 1:30, no and 2026-01-01 are what is written; only null is nothing.

    Aliases, which can make a small file endless, and names that are given twice or are not text are refused.
    """

    def compose_node(self, parent: Any, index: Any) -> yaml.Node:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        content = super().construct_mapping(node, deep)
        if len(content) < len(node.value) or not all(isinstance(name, str) for name in content):
            raise yaml.MarkedYAMLError(problem="a name twice, or one that is not text", problem_mark=node.start_mark)
        return content


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null)\Z"), ["~", "n", ""])
_Loader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: None)


def read_yaml(path: Path, kind: Any = dict[str, Any]) -> Any:
    """Return a YAML file of ours, mappings and lists of text, as a type; DataError where it is missing, damaged or another."""
    try:
        content = yaml.load(read_file(path), _Loader)
    except (yaml.YAMLError, OSError, ValueError, OverflowError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', error)}", expected="a YAML file") from None
    return validate(kind, content, path.name)


def merge(task: str, profile: str, settings: dict[str, Any] | Sequence[str] = ()) -> dict[str, Any]:
    """Return every parameter of a run: the notebook's defaults, then the profile, then the settings.

    `settings` are name to value, or `name=value` words; their paths start at the working folder. FacekitError: an unknown name,
    a value or path that is not allowed, or a network that cannot be built.
    """
    known, given = read_parameters(task), settings
    if not isinstance(settings, dict):
        if odd := [word for word in settings if "=" not in word]:
            raise ParameterError(f"setting {odd[0]!r}", expected="NAME=VALUE")
        given = dict(word.split("=", 1) for word in settings)
    if given.get("profile", profile) != profile:
        raise ParameterError("setting profile", hint="give it as --profile or PROFILE")
    values = {name: parameter.default for name, parameter in known.items()}
    for where, chosen in ((f"{task}.yaml, {profile}", read_profile(task, profile).parameters), (f"settings of {task}", given)):
        if unknown := [name for name in chosen if name not in known]:
            raise ParameterError(f"{where}: unknown parameter {unknown[0]!r}", expected=f"one of {', '.join(known)}")
        values |= {name: known[name].check(value, where) for name, value in chosen.items()}
    values |= {"profile": profile} if "profile" in known else {}
    for name in [name for name in values if name.endswith(PATHS)]:
        if name in given and values[name] not in WEIGHTS_WORDS and not values[name].startswith((f"{CACHE}/", "run:")):
            # It starts at the project's root, so that no report shows a user's folder.
            values[name] = Path(os.path.relpath(expand(values[name]), project_root())).as_posix()
        if not name.endswith("weights"):  # which check_networks looks into
            _check_path(name, values[name])
    check_networks(values)
    return values


def collect(task: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook's parameters as they are in its globals(); ParameterError where one is missing or not allowed."""
    known = read_parameters(task)
    if missing := [name for name in known if name not in namespace]:
        raise ParameterError(f"notebook {task}: no {missing[0]}", hint="run the parameters cell")
    return {name: parameter.check(namespace[name], f"notebook {task}") for name, parameter in known.items()}


def _check_path(name: str, value: str) -> None:
    """Refuse data and own photos that are not there or can't be read, before a run meets that after an hour."""
    there = resolve(value).is_dir() if value else name != "data"
    hint = "run `make sample`" if value.startswith(f"{CACHE}/data/sample") else "see `facekit data list`"
    if not there:
        raise ParameterError(f"{name} = {value!r} is not there", expected="a folder", hint=hint)
    if name == "own_photos" and value:
        from facekit.data.images import OWN_PHOTOS, list_images, read_image

        for photo in list_images(resolve(value))[:OWN_PHOTOS]:
            try:
                read_image(resolve(value) / photo)
                return
            except ImageError as error:
                problem = error
        raise ParameterError(f"own_photos: no image can be read, such as {problem}")
