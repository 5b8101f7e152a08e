"""What a dataset is: the models behind data_manifests/*.yaml.

The trap this prevents: facts about a dataset scattered through readers, where a wrong column or a missing split rule
shows only as a strange result. Each fact stands once, in a yaml file; this module refuses a file with an unknown key,
a wrong type or a gap, and names the file and the key.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facekit.errors import DataError, ParameterError
from facekit.folders import project_root

# A download must not be readable or changeable on its way; the loopback address is there for tests.
DownloadUrl = Annotated[str, Field(pattern=r"^(https://|http://127\.0\.0\.1[:/])")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
InnerPath = Annotated[str, Field(pattern=r"^[^/\\:][^\\:]*$")]


class StrictModel(BaseModel):
    """A part of a manifest: unknown keys and wrong types are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class GitSource(StrictModel):
    """A commit of a public repository, taken as the zip archive that the forge makes of it."""

    kind: Literal["git"]
    repository: DownloadUrl
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
    folder: str = ""  # the part of the repository that is the dataset
    max_files: int = 100_000
    max_bytes: int = 4_000_000_000

    @property
    def url(self) -> str:
        """The address of the commit's zip archive."""
        return f"{self.repository}/archive/{self.commit}.zip"


class UrlSource(StrictModel):
    """One archive behind a direct address."""

    kind: Literal["url"]
    url: DownloadUrl
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    folder: str = ""  # the folder inside the archive that is the dataset
    max_files: int = 500_000
    max_bytes: int = 20_000_000_000


class PageSource(StrictModel):
    """A page to sign up on or to download from by hand, with the exact steps."""

    kind: Literal["page"]
    url: str
    steps: tuple[str, ...] = Field(min_length=1, strict=False)


class FilesSource(StrictModel):
    """Single files, each with its own address under `files`."""

    kind: Literal["files"]


Source = Annotated[GitSource | UrlSource | PageSource | FilesSource, Field(discriminator="kind")]


class FixedFile(StrictModel):
    """A file whose bytes are known: a dataset's table or a network's weights."""

    path: InnerPath
    sha256: Sha256 | None = None
    md5: Md5 | None = None
    bytes: int | None = None
    url: DownloadUrl | None = None
    network: str = ""  # weights: the row of the backbone table
    note: str = ""

    @model_validator(mode="after")
    def demand_hash(self) -> "FixedFile":
        """Refuse a file of which nothing is known to check it by."""
        if not (self.sha256 or self.md5 or self.bytes):
            raise ValueError("needs sha256, md5 or bytes, so that the file can be checked")
        return self

    @property
    def known_hash(self) -> str | None:
        """The hash in the form that pooch reads, the stronger one first."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else None


class Column(StrictModel):
    """A column of a published table: what may stand in it and how often it does."""

    meaning: str = ""
    pattern: str = ""  # of the whole value; for keys
    number: bool = False
    values: dict[str, str] = {}  # value as written -> what it stands for; empty: anything
    counts: dict[str, int] = {}  # value as written -> published number of rows

    @field_validator("pattern")
    @classmethod
    def check_pattern(cls, pattern: str) -> str:
        """Refuse a pattern that is no regular expression."""
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def check_counts(self) -> "Column":
        """Refuse counts of values that the encoding does not know."""
        unknown = set(self.counts) - set(self.values)
        if unknown:
            raise ValueError(f"counts of {sorted(unknown)}, which `values` does not list")
        return self


class Form(StrictModel):
    """One way in which a table is distributed; a path ending in .zip holds the table as its only file."""

    path: InnerPath
    separator: Literal["comma", "space"]
    header: Literal["none", "names", "count and names"]


class Table(StrictModel):
    """A table of the dataset; the first of its forms that is there is read."""

    name: str
    forms: tuple[Form, ...] = Field(min_length=1, strict=False)
    rows: int
    key: str
    columns: dict[str, Column]
    split: str = ""  # the rows' split where the table is one; empty where a column or nothing says it
    pictures: tuple[str, ...] = Field(default=(), strict=False)  # e.g. Train/{ID}; the first whose folder is there holds
    optional: bool = False

    @model_validator(mode="after")
    def check_key(self) -> "Table":
        """Refuse a key or a picture name that no column gives."""
        if self.key not in self.columns:
            raise ValueError(f"key {self.key!r} is none of the columns")
        for picture in self.pictures:
            if f"{{{self.key}}}" not in picture.rsplit("/", 1)[-1]:
                raise ValueError(f"pictures {picture!r} does not hold {{{self.key}}} in its last part")
        return self


class Pictures(StrictModel):
    """The dataset's pictures as published."""

    count: int
    size: str  # in words, such as "178 wide, 218 high"
    subset_allowed: bool = False  # rows without a picture make it a subset, not a fault
    digest: Sha256 | None = None  # sha256 over the lines "<sha256>  <file name>" of all pictures, sorted by name


class Manifest(StrictModel):
    """What every manifest says: who made it, on which terms, where to get it, and its fixed files."""

    kind: Literal["weights", "dataset"]
    name: str
    title: str
    homepage: str
    terms: str
    citation: str
    source: Source
    layout: str
    files: tuple[FixedFile, ...] = Field(default=(), strict=False)


class DatasetManifest(Manifest):
    """A dataset: tables, pictures, encodings, published counts and the rule of its split."""

    kind: Literal["dataset"]
    tables: tuple[Table, ...] = Field(min_length=1, strict=False)
    pictures: Pictures
    split_rule: str

    def table(self, name: str) -> Table:
        """Return the table of that name."""
        for table in self.tables:
            if table.name == name:
                return table
        raise ParameterError(f"{self.name} has no table {name!r}", expected=_list_words(t.name for t in self.tables))


def list_manifests(folder: Path | None = None) -> list[str]:
    """Return the names of all manifests, sorted.

    >>> list_manifests()
    ['celeba', 'facehack', 'indian_actors', 'selfie', 'weights']
    """
    return sorted(path.stem for path in (folder or project_root() / "data_manifests").glob("*.yaml"))


def load_manifest(name: str, folder: Path | None = None) -> Manifest:
    """Read and check one manifest.

    Args:
        name: the file's name without .yaml, such as "facehack".
        folder: where manifests stand; default: data_manifests/ of the project.

    Returns:
        A DatasetManifest, or a Manifest for weights.

    Raises:
        ParameterError: there is no manifest of that name.
        DataError: the yaml is broken; names the file and the key.

    >>> load_manifest("facehack").table("train").rows
    4831
    """
    folder = folder or project_root() / "data_manifests"
    path = folder / f"{name}.yaml"
    if name not in list_manifests(folder):
        raise ParameterError(f"unknown dataset {name!r}", expected=_list_words(list_manifests(folder)))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise DataError(f"{path.name}{where}: no valid yaml", mend=str(getattr(error, "problem", "") or "")) from error
    if not isinstance(content, dict):
        raise DataError(f"{path.name}: holds {type(content).__name__}", expected="keys and values")
    model = Manifest if content.get("kind") == "weights" else DatasetManifest
    try:
        manifest = model.model_validate({key: value for key, value in content.items() if not key.startswith("_")})
    except ValidationError as error:
        raise DataError(_describe_mistake(path, error)) from error
    if manifest.name != name:
        raise DataError(f"{path.name}: name is {manifest.name!r}", expected=repr(name))
    return manifest


def _describe_mistake(path: Path, error: ValidationError) -> str:
    first, *others = error.errors()
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    value = repr(first["input"])
    more = f" (and {len(others)} more)" if others else ""
    return f"{path.name}: {key}: {first['msg']}, came {value if len(value) < 80 else value[:77] + '...'}{more}"


def _list_words(words) -> str:
    return "one of " + ", ".join(words)
