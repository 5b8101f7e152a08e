"""`facekit data list | fetch | verify | sample | plant`: what the command line does with datasets.

The trap this prevents: a command that takes seconds to print its help. Each function imports what it needs when it
runs.
"""

import argparse
import os
import sys
from pathlib import Path

from facekit.errors import ParameterError
from facekit.folders import cache_folder, resolve

SHOWN_PROBLEMS = 20


def add_data_parser(subparsers) -> None:
    """Enter `data` and its subcommands; each sets `function`: parsed arguments -> exit code.

    Args:
        subparsers: what argparse's `add_subparsers` returned.
    """
    parser = subparsers.add_parser("data", help="list, fetch, verify the datasets; draw sample data, plant a popularity")
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="list|fetch|verify|sample|plant")

    command = commands.add_parser("list", help="show every dataset, where it comes from and its terms")
    command.set_defaults(function=list_datasets)

    command = commands.add_parser("fetch", help="download a dataset or weights, or print the steps to get them")
    command.add_argument("name", help="a name that `facekit data list` shows")
    command.add_argument("--root", help="the folder to fill (default: FACEKIT_DATA, or .facekit/data/NAME)")
    command.add_argument("--file", action="append", default=[], help="weights: only this file; may be given several times")
    command.set_defaults(function=fetch)

    command = commands.add_parser("verify", help="decode every picture, compare counts, list every problem")
    command.add_argument("name", help="a name that `facekit data list` shows")
    command.add_argument("--root", help="the dataset's folder (default: FACEKIT_DATA, or .facekit/data/NAME)")
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="pictures decoded at the same time")
    command.add_argument("--report", help="the json report to write (default: .facekit/verify/NAME.json)")
    command.set_defaults(function=verify)

    command = commands.add_parser("sample", help="draw synthetic faces in a dataset's own layout")
    command.add_argument("names", nargs="*", metavar="NAME", help="which datasets (default: all)")
    command.add_argument("--seed", type=int, default=0, help="another seed draws other faces (default: 0)")
    command.set_defaults(function=sample)

    text = "write CelebA's photographs in UCF Selfie's layout, with a made-up popularity whose formula is known"
    command = commands.add_parser("plant", help=text, description=f"{text.capitalize()}.")
    command.add_argument("--from", dest="source", required=True, metavar="FOLDER", help="CelebA's folder, or a part of it")
    command.add_argument("--to", dest="target", required=True, metavar="FOLDER", help="the folder to make")
    command.add_argument("--seed", type=int, default=0, help="another seed draws other noise and names (default: 0)")
    command.add_argument("--ceiling", type=float, default=0.5, help="R2 that the noise leaves to any model (default: 0.5)")
    command.set_defaults(function=plant)


def find_root(name: str, root: str | None) -> Path:
    """Return the dataset's folder: the one given, that of FACEKIT_DATA, or .facekit/data/NAME."""
    if root:
        # On the command line a path means what the shell means by it; in a parameter it starts at the project's root.
        return Path(root).expanduser().absolute()
    named = os.environ.get("FACEKIT_DATA")
    return resolve(named) if named else cache_folder("data") / name


def list_datasets(arguments: argparse.Namespace) -> int:
    """Print title, counts, source and terms of every manifest."""
    from facekit.manifests import DatasetManifest, list_manifests, load_manifest

    for name in list_manifests():
        manifest = load_manifest(name)
        print(f"{name}: {manifest.title}")
        if isinstance(manifest, DatasetManifest):
            print(f"  {manifest.pictures.count:,} pictures, {manifest.pictures.size}")
        else:
            for file in manifest.files:
                print(f"  {file.network}: {file.path}")
        how = "by hand, the steps:" if manifest.source.kind == "page" else "by"
        print(f"  get it {how} facekit data fetch {name}")
        print(f"  homepage: {manifest.homepage}\n  terms: {manifest.terms}\n  cite: {manifest.citation}\n")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Fetch a dataset, or print the steps for one behind a page; then the code is 1: nothing was fetched."""
    from facekit.fetch import describe_steps, fetch_dataset
    from facekit.manifests import load_manifest

    manifest = load_manifest(arguments.name)
    root = find_root(arguments.name, arguments.root)
    if manifest.source.kind == "page":
        print(describe_steps(manifest, root))
        return 1
    if arguments.file and manifest.source.kind != "files":
        raise ParameterError(f"--file with {arguments.name}", expected="no --file: a dataset is fetched whole")
    print(f"{manifest.title}\nTerms: {manifest.terms}", flush=True)
    for path in fetch_dataset(arguments.name, root, only=arguments.file, progress=sys.stderr.isatty()):
        print(path)
    print(f"Check it: facekit data verify {arguments.name} --root {root}")
    return 0


def verify(arguments: argparse.Namespace) -> int:
    """Verify a dataset and write the report; the code is 1 where there are problems."""
    from facekit.verify import verify_dataset

    root = find_root(arguments.name, arguments.root)
    report = Path(arguments.report) if arguments.report else cache_folder("verify") / f"{arguments.name}.json"
    if report.suffix != ".json":
        raise ParameterError(f"--report {report}", expected="a name that ends in .json")
    found = verify_dataset(arguments.name, root, workers=arguments.workers, report=report, progress=sys.stderr.isatty())
    print(found.to_text(SHOWN_PROBLEMS))
    print(f"  report: {report} and {report.with_suffix('.txt').name}")
    return 1 if found.problems else 0


def sample(arguments: argparse.Namespace) -> int:
    """Draw the sample of every named dataset, and keep one that is there and whole."""
    from facekit.manifests import DatasetManifest, list_manifests, load_manifest

    known = [name for name in list_manifests() if isinstance(load_manifest(name), DatasetManifest)]
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise ParameterError(f"unknown dataset {unknown[0]!r}", expected="one of " + ", ".join(known))
    for name in arguments.names or known:
        print(draw_sample(name, seed=arguments.seed))
    return 0


def plant(arguments: argparse.Namespace) -> int:
    """Plant a popularity on CelebA's photographs, or say that this was done before."""
    from facekit.plant import plant_popularity

    source, target = Path(arguments.source).expanduser(), Path(arguments.target).expanduser().absolute()
    made = plant_popularity(source, target, seed=arguments.seed, ceiling=arguments.ceiling)
    print(f"{target}: {'planted, its README.md says how' if made else 'is there already, planted just so; left as it is'}")
    return 0


def draw_sample(name: str, *, seed: int = 0) -> Path:
    """Draw a dataset's sample into the cache, unless it is there and whole, and return its folder.

    A sample from which files are missing is drawn again; so is one of an earlier drawing code.

    Args:
        name: the dataset.
        seed: seed 0 is the sample that profile `sample` runs on; others get a folder of their own.
    """
    import shutil

    from filelock import FileLock

    from facekit.synthetic import write_sample
    from facekit.tables import has_every_picture

    folder = cache_folder("data", "sample") / (name if seed == 0 else f"{name}-{seed}")
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.exists() and not has_every_picture(name, folder):
            shutil.rmtree(folder)
        return write_sample(name, folder, seed=seed)
