"""What an experiment can be told: the parameters cell of its notebook and the profiles in its yaml file.

The trap this prevents: papermill takes any name and any type, warns about an unknown one and runs for an hour with the
default. Here a parameter has the name and the type that the notebook gives it, or the run does not start.
"""

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from facekit.errors import ParameterError
from facekit.folders import project_root

PROFILES = ("sample", "laptop", "report", "full")
# What `weights` may hold besides a path; run:PROFILE/TASK names the backbone of another run.
WEIGHTS_WORDS = ("imagenet", "none", "sample", "")
# papermill's own inspector drops a line with a second equals sign, so none is allowed, not even in the help.
LINE = re.compile(r"(?P<name>[a-z_][a-z0-9_]*) = (?P<value>[^=#]+?)  # (?P<help>[^=]+)")

STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name = default  # help`."""

    name: str
    default: bool | int | float | str | list
    help: str


class Expected(BaseModel):
    """What a profile's run should reach; null where it was never measured. Minutes are shown, not checked."""

    model_config = ConfigDict(strict=True, extra="forbid")

    metric: str
    value: float | None
    low: float | None
    high: float | None
    minutes: float | None


class Profile(BaseModel):
    """One profile of one experiment: what differs from the notebook's defaults, and what to expect."""

    model_config = ConfigDict(strict=True, extra="forbid")

    parameters: dict[str, Any]
    expected: list[Expected]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-4 as text, because it lacks a dot; a learning rate is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def notebooks_folder() -> Path:
    """Return the folder of the source notebooks."""
    return project_root() / "notebooks"


def list_tasks(notebooks: Path | None = None) -> list[str]:
    """Return the names of the experiments there are: one a notebook."""
    return sorted(path.stem for path in (notebooks or notebooks_folder()).glob("*.ipynb"))


def find_notebook(task: str, notebooks: Path | None = None) -> Path:
    """Return the path of a task's notebook.

    Raises:
        ParameterError: there is no such task; the message lists the known.
    """
    tasks = list_tasks(notebooks)
    if task not in tasks:
        raise ParameterError(f"unknown task '{task}'", expected=f"one of {', '.join(tasks)}")
    return (notebooks or notebooks_folder()) / f"{task}.ipynb"


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name, in the order of its parameters cell.

    Args:
        notebook: path of an .ipynb with one cell tagged `parameters`.

    Raises:
        ParameterError: no such cell, or a line that is not `name = value  # help`.
    """
    cells = [
        cell
        for cell in nbformat.read(notebook, as_version=4).cells
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", [])
    ]
    if len(cells) != 1:
        raise ParameterError(f"{notebook.name}: {len(cells)} cells tagged parameters", expected="exactly one")
    parameters = {}
    for number, line in enumerate(cells[0].source.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parameter = _read_line(line)
        if parameter is None:
            raise ParameterError(
                f"{notebook.name}: line {number} of the parameters cell: {line}",
                expected="name = value  # help, with one equals sign and a plain value: True, number, text or list",
            )
        if parameter.name in parameters:
            raise ParameterError(f"{notebook.name}: parameter {parameter.name} stands twice", expected="one line each")
        parameters[parameter.name] = parameter
    return parameters


def _read_line(line: str) -> Parameter | None:
    match = LINE.fullmatch(line.rstrip())
    if not match:
        return None
    try:
        value = ast.literal_eval(match["value"])
    except (ValueError, SyntaxError):
        return None
    if not isinstance(value, bool | int | float | str | list):
        return None  # None has no type that a value could be held against, a tuple cannot be written in yaml
    return Parameter(match["name"], value, match["help"].strip())


def read_profile(task: str, profile: str, notebooks: Path | None = None) -> Profile:
    """Return one profile of parameters/<task>.yaml.

    Raises:
        ParameterError: an unknown profile, or a file that does not hold what a profile needs.
    """
    if profile not in PROFILES:
        raise ParameterError(f"unknown profile '{profile}'", expected=f"one of {', '.join(PROFILES)}")
    path = (notebooks or notebooks_folder()) / "parameters" / f"{task}.yaml"
    if not path.is_file():
        raise ParameterError(f"{path.name} is missing in notebooks/parameters", expected="one file a notebook")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ParameterError(f"{path.name}: {error}", expected="valid yaml") from None
    if not isinstance(content, dict) or sorted(content) != sorted(PROFILES):
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ParameterError(f"{path.name}: profiles {found}", expected=f"all of {', '.join(PROFILES)} and no other")
    try:
        return Profile.model_validate(content[profile])
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in (profile, *first["loc"]))
        raise ParameterError(f"{path.name}: {place}: {first['input']!r}", expected=first["msg"]) from None


def parse_settings(settings: Sequence[str], known: dict[str, Parameter]) -> dict[str, Any]:
    """Return the values of `name=value` words as the command line gives them.

    A text parameter takes the word as it stands (`weights=none` is the word none), any other one is read as yaml.

    Raises:
        ParameterError: a word without an equals sign, or an unknown name.
    """
    values = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ParameterError(f"setting '{setting}'", expected="name=value")
        if name in known and not isinstance(known[name].default, str):
            try:
                values[name] = yaml.load(text, _Loader)
            except yaml.YAMLError:
                values[name] = text
        else:
            values[name] = text
    return values


def check_values(values: dict[str, Any], known: dict[str, Parameter], where: str) -> dict[str, Any]:
    """Return `values` with the types of the notebook's defaults; a whole number passes for a float, nothing else.

    Args:
        values: name to value.
        known: the notebook's parameters.
        where: what gave the values, for the message.

    Raises:
        ParameterError: an unknown name or a wrong type.
    """
    checked = {}
    for name, value in values.items():
        if name not in known:
            raise ParameterError(f"{where}: unknown parameter '{name}'", expected=f"one of {', '.join(known)}")
        kind = _kind(known[name].default)
        try:
            checked[name] = TypeAdapter(kind, config=STRICT).validate_python(value)
        except ValidationError:
            wanted = kind.__name__ if isinstance(kind, type) else str(kind)
            raise ParameterError(
                f"{where}: {name} = {value!r} is {type(value).__name__}",
                expected=f"{wanted}, such as {known[name].default!r} ({known[name].help})",
            ) from None
    return checked


def _kind(default: Any) -> Any:
    """Return the type that a default stands for; a list has the type of its first member."""
    if isinstance(default, list):
        return list[type(default[0])] if default else list[Any]
    return type(default)


def relate_path(text: str) -> str:
    """Return a path given on the command line as one that starts at the project's root.

    A committed notebook shows its parameters, so no folder of the user's machine may stand in it. A relative path given
    in the root stays as it is; one given elsewhere, or an absolute one, is rewritten, unless it shares nothing with the
    root.

    >>> relate_path("")
    ''
    """
    root = project_root()
    path = Path(text).expanduser()
    if not text or (not path.is_absolute() and Path.cwd() == root):
        return path.as_posix() if text else ""
    absolute = os.path.abspath(path)
    if os.path.commonpath([absolute, root]) == os.path.abspath(os.sep):
        return absolute
    return Path(os.path.relpath(absolute, root)).as_posix()


def relate_weights(text: str) -> str:
    """Return the parameter `weights`: a word, run:PROFILE/TASK, or the path of a file that exists.

    Raises:
        ParameterError: no word and no file.
    """
    if text in WEIGHTS_WORDS or text.startswith("run:"):
        return text
    if not Path(text).expanduser().exists():
        words = ", ".join(filter(None, WEIGHTS_WORDS))
        raise ParameterError(f"weights '{text}' is no file", expected=f"{words}, run:PROFILE/TASK or a path")
    return relate_path(text)


def relate_data(text: str) -> str:
    """Return the parameter `data` or `photographs`: the path of a folder that exists, or nothing for drawn faces.

    Raises:
        ParameterError: there is no such folder.
    """
    if text and not Path(text).expanduser().is_dir():
        raise ParameterError(
            f"'{text}' is no folder", expected="a folder of pictures, or a dataset's", mend="see `facekit data list`"
        )
    return relate_path(text)


def merge_parameters(
    task: str, profile: str, settings: dict[str, Any] | Sequence[str] = (), notebooks: Path | None = None
) -> dict[str, Any]:
    """Return every parameter of a run: the notebook's defaults, then the profile, then the settings.

    Args:
        task: the experiment's name.
        profile: sample, laptop, report or full. A parameter named `profile` is set to it.
        settings: name to value, or `name=value` words; paths in `data`, `photographs` and `weights` start at the
            working folder.
        notebooks: the folder of notebooks, where it is not the project's own.

    Raises:
        ParameterError: an unknown task, profile or name, or a wrong type.
    """
    known = read_parameters(find_notebook(task, notebooks))
    values = {name: parameter.default for name, parameter in known.items()}
    values |= check_values(read_profile(task, profile, notebooks).parameters, known, f"{task}.yaml, {profile}")
    given = settings if isinstance(settings, dict) else parse_settings(settings, known)
    given = check_values(given, known, f"settings of {task}")
    for name, relate in (("data", relate_data), ("photographs", relate_data), ("weights", relate_weights)):
        if name in given:
            given[name] = relate(given[name])
    if "profile" in known:
        if given.get("profile", profile) != profile:
            raise ParameterError("settings: profile", mend="give it as --profile or PROFILE, not as a setting")
        values["profile"] = profile
    return values | given


def collect_parameters(task: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook's parameters as they stand while it runs, for the record.

    Args:
        task: the experiment's name.
        namespace: the notebook's globals().

    >>> sorted(collect_parameters("smile", dict.fromkeys(read_parameters(find_notebook("smile")), 1)))[:2]
    ['alpha', 'average_flips']
    """
    return {name: namespace[name] for name in read_parameters(find_notebook(task))}
