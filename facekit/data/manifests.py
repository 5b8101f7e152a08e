"""What a dataset is: the models behind data_manifests/*.yaml, which hold each fact about a dataset once."""

import re
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from facekit.errors import DataError, ParameterError
from facekit.paths import project_root

# A download must not be readable or changeable on its way; the loopback address is there for tests.
Url = Annotated[str, Field(pattern=r"^(https://[A-Za-z0-9.-]+|http://127\.0\.0\.1)(:[0-9]{1,5})?(/[^\s\\]*)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
InnerPath = Annotated[str, Field(pattern=r"^([^./\\:\x00][^/\\:\x00]*/?)*$")]  # no part begins with a dot: none leads outside
Count = Annotated[int, Field(ge=0)]


class StrictModel(BaseModel, extra="forbid", strict=True, frozen=True):
    """A part of a manifest: unknown keys and wrong types are mistakes."""


class Source(StrictModel):
    """An archive to download, a page to download from by hand, or single files, each with its own address under `files`."""

    kind: Literal["archive", "page", "files"]
    url: Url | None = None
    steps: tuple[str, ...] = Field(default=(), strict=False)  # page: exactly what to do there
    sha256: Sha256 | None = None  # archive: none where the bytes are not promised, as of a commit's archive
    folder: InnerPath = ""  # archive: which folder is the dataset, below the one at the top, where there is one
    max_files: Count = 100_000
    max_bytes: Count = 6_000_000_000  # unpacked


class FixedFile(StrictModel):
    """A file whose bytes are known: a dataset's table or a network's weights."""

    path: InnerPath
    sha256: Sha256 | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    bytes: Count | None = None
    url: Url | None = None
    network: str = ""  # weights: the row of the backbone table

    @property
    def known_hash(self) -> str | None:
        """The hash in the form that pooch reads, the stronger one first."""
        return f"sha256:{self.sha256}" if self.sha256 else f"md5:{self.md5}" if self.md5 else None


class Column(StrictModel):
    """A column of a published table: what it may hold, and how often it does."""

    meaning: str = ""
    pattern: re.Pattern[str] | None = None  # of the whole value
    number: bool = False
    values: dict[str, str] = {}  # value as written -> what it stands for; empty: anything
    counts: dict[str, Count] = {}  # value as written -> published number of rows


class Form(StrictModel):
    """One way in which a table is distributed."""

    path: InnerPath
    separator: Literal["comma", "space"]
    header: Literal["none", "names", "count and names"]


class Table(StrictModel):
    """A table of the dataset; the first of its forms that is there is read."""

    forms: tuple[Form, ...] = Field(min_length=1, strict=False)
    rows: Count
    key: str
    columns: dict[str, Column]
    split: str = ""  # the rows' split where the table is one; empty where a column or nothing says it
    images: tuple[InnerPath, ...] = Field(default=(), strict=False)  # e.g. Train/{ID}; the folder with most of them is taken


class Images(StrictModel):
    """The dataset's images as published."""

    count: Count
    subset_allowed: bool = False  # rows without an image are left out without a word


class Manifest(StrictModel):
    """What every manifest says: who made it, on which terms, where to get it, and its fixed files."""

    kind: Literal["weights", "dataset"]
    name: str
    title: str
    homepage: str
    terms: str
    citation: str
    source: Source
    files: tuple[FixedFile, ...] = Field(default=(), strict=False)


class DatasetManifest(Manifest):
    """A dataset: tables, images, encodings and published counts."""

    kind: Literal["dataset"]
    tables: dict[str, Table] = Field(min_length=1)
    images: Images
    splits: tuple[Literal["train", "validation", "test"], ...] = Field(default=(), strict=False)  # as published


def validate(kind: Any, content: Any, where: str, hint: str = "") -> Any:
    """Return `content` as pydantic reads it into a type; DataError that begins with `where` and names the first fault."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place, reason = ".".join(map(str, first["loc"])) or "(top level)", first["msg"].removeprefix("Value error, ")
        raise DataError(f"{where}: {place}: {reason}, received {first['input']!r:.80}", hint=hint) from None


def list_manifests() -> list[str]:
    """Return the names of all manifests, sorted."""
    return sorted(path.stem for path in (project_root() / "data_manifests").glob("*.yaml"))


def read_manifest(name: str) -> Manifest:
    """Read and check data_manifests/NAME.yaml: a DatasetManifest, or a Manifest for weights.

    ParameterError: there is none of that name. DataError: the yaml is broken; names the file and the key.

    >>> read_manifest("facehack").tables["train"].rows
    4831
    """
    if name not in list_manifests():
        raise ParameterError(f"unknown dataset {name!r}", expected="one of " + ", ".join(list_manifests()))
    path = project_root() / "data_manifests" / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # yaml's C loader crashes on deep nesting
        if isinstance(content, dict):  # what starts with _ is there to be referred to
            content = {key: value for key, value in content.items() if not str(key).startswith("_")}
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path.name}: no readable yaml ({error})") from error
    return validate(Manifest if name == "weights" else DatasetManifest, content, path.name)
