"""Runs that are killed at random moments and resumed: their metrics must equal those of a run that nobody disturbed.

    .venv/bin/python benchmarks/kills.py [--kills 5] [--seconds 40] [--seed 0] [TASK ...]

Each task (default: selfie-task2 and smile) runs on profile sample with an empty cache, is killed with -9, its kernel as well,
after a random time of 2 to SECONDS, again and again, and is then left to end. Prints a line per task; exits with 1 where
metrics.json differs outside `run` from that of an undisturbed run, or where a process or a file of a killed run is left.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from facekit.paths import cache_folder, project_root

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}


def start(task: str, home: Path) -> subprocess.Popen:
    """Start a run of a task whose cache and report are in `home`."""
    words = [sys.executable, "-m", "facekit", "run", task, "--profile", "sample", "--out", str(home / "reports")]
    environment = os.environ | {"FACEKIT_CACHE": str(home / "cache"), "TF_NUM_INTRAOP_THREADS": "1"}
    return subprocess.Popen(words, cwd=project_root(), env=environment, **QUIET)


def finish(task: str, home: Path) -> dict:
    """Run a task to its end, and return its metrics.json without `run`."""
    if code := start(task, home).wait():
        sys.exit(f"{task}: exit status {code}")
    record = json.loads((home / "reports" / "sample" / task / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in record.items() if name != "run"}


def kill(process: subprocess.Popen) -> list[psutil.Process]:
    """Kill a run and its kernel at once, as a power cut does, and return the processes that are left ten seconds later."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        if member.is_running():
            member.send_signal(signal.SIGKILL)
    process.wait()
    return psutil.wait_procs(family, timeout=10)[1]


def main() -> int:
    """Kill and resume each task, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=["selfie-task2", "smile"])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws, failures = random.Random(options.seed), 0
    for task in options.tasks:
        with tempfile.TemporaryDirectory() as folder:
            disturbed, quiet = Path(folder, "disturbed"), Path(folder, "quiet")
            for home in (disturbed, quiet):
                (home / "cache" / "data").mkdir(parents=True)
                (home / "cache" / "data" / "sample").symlink_to(cache_folder("data") / "sample")
            moments, left = [], []
            for _ in range(options.kills):
                process = start(task, disturbed)
                moments.append(draws.uniform(2, options.seconds))
                time.sleep(moments[-1])
                if process.poll() is None:
                    left += kill(process)
            equal = finish(task, disturbed) == finish(task, quiet)
            leftovers = [path.name for path in (disturbed / "reports" / "sample").iterdir() if path.name != task]
            failures += not equal or bool(left) or bool(leftovers)
            text = ", ".join(f"{moment:.0f}" for moment in moments)
            print(f"{task}: killed after {text} s; metrics {'equal' if equal else 'DIFFER'}", *left, *leftovers, flush=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
