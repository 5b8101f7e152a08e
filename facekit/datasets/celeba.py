"""CelebA's reader: 40 attributes, the official partition and, where the file is there, who is who.

The traps this prevents: -1 taken for a class of its own; a seventh of the pictures taken for a broken copy; a person in
two splits. The tables come as csv, zipped csv or text, the pictures as any part of the published ones.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from facekit.errors import DataError
from facekit.manifests import DatasetManifest, Table, load_manifest
from facekit.tables import (
    divide_rows,
    find_form,
    list_pictures,
    mark_repeated,
    mark_wrong_values,
    name_pictures,
    read_rows,
    refuse_unusable,
)

# As the annotators named them, in the columns' order; "Attractive" is their judgement, "Male" is all that is said of gender.
ATTRIBUTES = tuple(
    """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair Blurry
Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male
Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks
Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace
Wearing_Necktie Young
""".split()
)
UNKNOWN = -1  # identity of a row of which nobody says who is on the picture


def read_celeba_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows whose pictures are there, and those of them that are set aside.

    A row without its picture is no fault and appears nowhere: any part of the pictures is a dataset. A row is set aside
    where an attribute is neither 1 nor -1, where its partition or identity is none, or where its picture is named twice.

    Args:
        root: the folder with the tables and img_align_celeba/.

    Returns:
        The table in the order of the attribute table: `path`; `split`, the official partition; `group`, the identity, or
        one group a row where that is unknown; `identity` (1 to 10177, or UNKNOWN); then ATTRIBUTES as int8, 1 present and
        0 absent. And the rows set aside (`file`, `row`, `value`, `reason`), lines that are no rows first.

    Raises:
        DataError: a table is missing or unreadable, or no picture matches.

    Source: Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015.
    """
    rows, broken = _read_joined(root)
    source = _load_tables().table("attributes")
    folder, names = list_pictures(source, root)
    here = name_pictures(source, rows["image_id"]).isin(names)
    if not here.any():
        file, example = rows["file"].iloc[0], rows["image_id"].iloc[0]
        raise DataError(
            f"{root}: {len(names):,} pictures in {folder}, and {file} names none of them",
            expected=f"pictures named as in the table, such as {folder}/{example}",
            mend="put all pictures, or a part of them, there",
        )
    return _form_table(rows[here], folder, broken)


def read_attributes(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all rows of the tables, with or without their pictures: for what needs no pixel.

    Args:
        root: the folder with the tables.

    Returns:
        What `read_celeba_tables` returns, of all rows; its table holds the same rows where every picture is there.

    Raises:
        DataError: a table is missing or unreadable, or at least half of the rows cannot be used.
    """
    rows, broken = _read_joined(root)
    table, set_aside = _form_table(rows, list_pictures(_load_tables().table("attributes"), root)[0], broken)
    refuse_unusable("celeba", root, table, set_aside)
    return table, set_aside


def _load_tables() -> DatasetManifest:
    manifest = load_manifest("celeba")
    assert isinstance(manifest, DatasetManifest)
    return manifest


def _read_joined(root: Path) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the rows of the attribute table with split, identity, reason and value, and the lines that are no rows."""
    manifest = _load_tables()
    rows, broken = read_rows(manifest, "attributes", root)
    rows = rows.assign(value=rows["image_id"], reason="")
    mark_wrong_values(rows, manifest.table("attributes"))
    partition = manifest.table("partition")
    broken = [broken, _join(rows, manifest, partition, "partition", root)]
    rows["split"] = rows["partition"].map(partition.columns["partition"].values).fillna("")
    unknown = (rows["split"] == "") & (rows["reason"] == "")
    rows.loc[unknown, "reason"] = f"has no row in {find_form(partition, root).path}"
    identities = manifest.table("identities")
    if find_form(identities, root) is None:
        rows["identity"] = UNKNOWN
    else:
        broken.append(_join(rows, manifest, identities, "identity", root))
        rows["identity"] = pd.to_numeric(rows["identity"], errors="coerce").fillna(UNKNOWN).astype(int)
    mark_repeated(rows, "image_id", list(ATTRIBUTES))
    return rows, broken


def _join(rows: pd.DataFrame, manifest: DatasetManifest, table: Table, column: str, root: Path) -> pd.DataFrame:
    """Write another table's column beside the rows, NaN where it has no row; return its broken lines."""
    other, broken = read_rows(manifest, table.name, root)
    other = other.assign(value=other["image_id"], reason="").drop_duplicates(["image_id", column])
    mark_wrong_values(other, table)
    twice = other["image_id"].duplicated(keep=False)
    other.loc[twice, "reason"] = f"has several values of {column}"
    other = other.drop_duplicates("image_id").set_index("image_id").reindex(rows["image_id"]).set_index(rows.index)
    rows[column] = other[column]
    wrong = (rows["reason"] == "") & other["reason"].notna() & (other["reason"] != "")
    places = ["file", "row", "value", "reason"]
    rows.loc[wrong, places] = other.loc[wrong, places]
    return broken


def _form_table(rows: pd.DataFrame, folder: str, broken: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    good, set_aside = divide_rows(rows, broken)
    known = good["identity"] != UNKNOWN
    alone = good["identity"].max() + 1 + np.arange(len(good))  # numbers that no identity has
    table = pd.DataFrame(
        {
            "path": f"{folder}/" + name_pictures(_load_tables().table("attributes"), good["image_id"]),
            "split": good["split"],
            "group": good["identity"].where(known, alone),
            "identity": good["identity"],
        }
    )
    return table.join((good[list(ATTRIBUTES)] == "1").astype(np.int8)), set_aside
