"""How long a newcomer waits: for `make demo` in a fresh clone, again with nothing changed, for --help and the tests.

    python benchmarks/first_run.py [--with-tests]

Clones the committed state of this repository into a temporary folder and makes the environment there, so pip's cache is
all that is left of earlier installations. Wall-clock seconds, one run each (--help: the median of nine).
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def seconds(command: Sequence[str | Path], folder: Path) -> float:
    """Run a command that must end well, its output out of sight, and return how long it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    took = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-4000:]}")
    return took


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--with-tests", action="store_true", help="time `make test` too")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "polydistill"
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
        rows.append(("`make demo`, fresh clone, with installing", 480, seconds(["make", "demo"], clone)))
        rows.append(("`make demo` again, nothing changed", 15, seconds(["make", "demo"], clone)))
        shutil.rmtree(clone / "work")
        shutil.rmtree(clone / ".dvc" / "cache")
        rows.append(("the chain alone: all stages, nothing cached", 120, seconds(["make", "demo"], clone)))
        program = clone / ".venv" / "bin" / "polydistill"
        helps = [seconds([program, "--help"], clone) for _ in range(9)]
        rows.append(("`polydistill --help`", 0.5, statistics.median(helps)))
        if arguments.with_tests:
            install = seconds(["make", "install"], clone)
            rows.append(("`make install`, on top of the demo's environment", None, install))
            rows.append(("`make test`, installed", 360, seconds(["make", "test"], clone)))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    print("| what | wanted, at most (s) | measured (s) |\n| --- | ---: | ---: |")
    for what, wanted, took in rows:
        print(f"| {what} | {wanted or '–'} | {took:.{1 if took >= 1 else 2}f} |")


if __name__ == "__main__":
    main()
