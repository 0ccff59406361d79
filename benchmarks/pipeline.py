"""What a pipeline costs over the bare steps, and whether sixty cells at once stay within memory; on kfp's local runner.

    python benchmarks/pipeline.py overhead    # one cell: each component beside a direct call of its step
    python benchmarks/pipeline.py cells       # sixty cells, the recorded teacher, `linear`: time, memory, cells at once

The data are the demo's: for sixty cells its three languages stand in twenty tasks of other names. Nothing else should
be at work on the machine; cluster.store is not set, so nothing is promoted or rolled out.
"""

import argparse
import contextlib
import io
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from kfp import local

from pipelines.distill import distill
from polydistill.card import run_card
from polydistill.cluster.arguments import chain_arguments
from polydistill.evaluate import run_evaluate
from polydistill.files import digest, read_yaml, write_json
from polydistill.filter import run_filter
from polydistill.gather import gathered
from polydistill.generate import run_generate
from polydistill.measure import run_measure
from polydistill.monitor import run_monitor
from polydistill.package import run_package
from polydistill.params import Params, load_params
from polydistill.prepare import run_prepare
from polydistill.report import run_report
from polydistill.select import run_select
from polydistill.serve import run_serve
from polydistill.train import run_train
from polydistill.workspace import Cell

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("sl", "sw", "az")
LINE = re.compile(
    r"(\d+):(\d+):([\d.]+) - INFO - (Executing task|Task) \S*?'([\w-]+)'(?:\S*$|.* finished .*SUCCESS)", re.M
)
"""A line of kfp's local runner: when a task begins, or ends; the name stands between quotes and in colour."""


def make_workspace(folder: Path, tasks: int, languages: tuple[str, ...]) -> Params:
    """Write a workspace whose tasks are the demo's under other names; return its parameters."""
    for task in range(tasks):
        copy = folder / "data" / f"clinic{task}"
        shutil.copytree(ROOT / "data" / "clinic", copy)
        content = (copy / "task.yaml").read_text(encoding="utf-8")
        (copy / "task.yaml").write_text(content.replace("name: clinic\n", f"name: clinic{task}\n"), encoding="utf-8")
    params = read_yaml(ROOT / "params.yaml")
    params["cells"] = [f"clinic{task}/{language}" for task in range(tasks) for language in languages]
    params["train"] |= {"sizes": [10, 20], "runs": 2}
    write_json(folder / "params.yaml", params)
    return load_params(folder / "params.yaml")


def run_pipeline(workspace: Path, params: Params, root: Path) -> tuple[list[tuple[str, float]], float]:
    """Run `distill` on the local runner; return the tasks in the order of their ends, and the seconds that all took.

    The seconds beside a task are those from its beginning to its end, where no other task ran at the same time.
    """
    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str(root), workspace_root=str(root.parent / "shared")
    )
    started, told = time.monotonic(), io.StringIO()
    with contextlib.redirect_stdout(told), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an image without "python" in its name, limits that have no effect here
        distill(**chain_arguments(params, str(workspace), ""))
    total = time.monotonic() - started
    began, tasks = 0.0, []
    for hours, minutes, seconds, begins, name in LINE.findall(told.getvalue()):
        at = 3600 * int(hours) + 60 * int(minutes) + float(seconds)
        if begins == "Executing task":
            began = at
        else:
            tasks.append((name, (at - began) % 86400))
    return tasks, total


def run_directly(workspace: Path, params: Params) -> dict[str, float]:
    """Call each step of the one cell in this process; return the seconds of each."""
    cell = Cell(workspace, *params.cells[0].split("/"))
    prepared, heldout, generated, filtered, measured, evaluated, selected = (
        cell.room(name)
        for name in ("prepared", "heldout", "generated", "filtered", "measured", "evaluated", "selected")
    )
    trained, winner, card = cell.trained("linear"), cell.gathered("winners"), cell.gathered("cards")
    work = workspace / "work"

    @contextlib.contextmanager
    def together() -> Iterator[tuple[Path, Path]]:
        with gathered([winner], "winner.json") as winners, gathered([card], "card.json") as cards:
            yield winners, cards

    def over_all(step: Callable[[Path, Path], Any]) -> Callable[[], None]:
        def run() -> None:
            with together() as (winners, cards):
                step(winners, cards)

        return run

    recording = cell.recording
    steps: dict[str, Callable[[], Any]] = {
        "prepare": lambda: run_prepare(cell.task_folder, cell.language, prepared, heldout, params.prepare),
        "generate": lambda: run_generate(
            prepared, recording, generated, params.generate, params.filter, params.teacher, params.budget
        ),
        "filter": lambda: run_filter(
            prepared, generated, filtered, params.filter, self_revision=params.generate.self_revision
        ),
        "train": lambda: run_train(prepared, filtered, trained, cell.finished("linear"), "linear", params.train),
        "evaluate": lambda: run_evaluate(
            prepared, heldout, [trained], recording, evaluated, params.evaluate, params.teacher, params.budget
        ),
        "select": lambda: run_select(prepared, filtered, [trained], selected, winner, params.select),
        "measure": lambda: run_measure(prepared, filtered, measured, params.measure),
        "card": lambda: run_card(prepared, generated, filtered, measured, evaluated, selected, card),
        "report": over_all(lambda _, cards: run_report(cards, work / "report")),
        "package": over_all(lambda winners, cards: run_package(winners, cards, work / "bento", params.package)),
        "serve": over_all(lambda winners, _: run_serve(work / "bento", winners, work / "served")),
        "monitor": over_all(
            lambda winners, _: run_monitor(
                winners, work / "served" / "answers.jsonl", work / "monitored", params.monitor
            )
        ),
    }
    took = {}
    for name, step in steps.items():
        started = time.monotonic()
        step()
        took[name] = time.monotonic() - started
    return took


def run_commands(workspace: Path, steps: Iterable[str]) -> dict[str, float]:
    """Run the command of each step, a process each, as DVC does; return the seconds of each."""
    took = {}
    for step in steps:
        command = [str(Path(sys.executable).with_name("polydistill")), step, *(["--check"] if step == "serve" else [])]
        started = time.monotonic()
        subprocess.run(command, cwd=workspace, check=True, capture_output=True)
        took[step] = time.monotonic() - started
    return took


def overhead(scratch: Path) -> None:
    """Print the seconds of each component beside those of its step, and of its command."""
    params = make_workspace(scratch / "workspace", 1, ("sl",))
    run_directly(scratch / "workspace", params)  # once for imports and caches
    shutil.rmtree(scratch / "workspace" / "work")
    direct = run_directly(scratch / "workspace", params)
    shutil.rmtree(scratch / "workspace" / "work")
    commands = run_commands(scratch / "workspace", direct)
    tasks, total = run_pipeline(scratch / "workspace", params, scratch / "root")
    components = dict(tasks)
    print("| step | function | command | component | over the function | over the command |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, seconds in direct.items():
        took = components[name]
        over = f"{took - seconds:+.2f} | {took - commands[name]:+.2f}"
        print(f"| {name} | {seconds:.2f} | {commands[name]:.2f} | {took:.2f} | {over} |")
    own = {name: seconds for name, seconds in tasks if name not in direct}
    print(f"\nof the pipeline's own: {', '.join(f'{name} {seconds:.2f}' for name, seconds in own.items())}")
    print(f"functions {sum(direct.values()):.1f} s, commands {sum(commands.values()):.1f} s, pipeline {total:.1f} s")
    of_steps, n = sum(components[name] for name in direct), len(direct)
    print(f"a step more than its function {(of_steps - sum(direct.values())) / n:.2f} s, on average")
    print(f"a step more than its command {(of_steps - sum(commands.values())) / n:.2f} s, on average")
    print(f"between {len(tasks)} tasks {total - sum(components.values()):.1f} s")


class Watch(threading.Thread):
    """Notes the most memory that this process and its children had together (proportional share, bytes), and tasks."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.at_once, self._done = 0, 0, threading.Event()

    def run(self) -> None:
        """Look twice a second."""
        while not self._done.wait(0.5):
            me = psutil.Process()
            self.peak = max(self.peak, sum(map(_share, [me, *me.children(recursive=True)])))
            self.at_once = max(self.at_once, len(me.children()))

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self.join()


def _share(process: psutil.Process) -> int:
    """Return the memory of a process, pages that several share divided among them; 0 where it has ended."""
    try:
        share: int = process.memory_full_info().pss
        return share
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def cells(scratch: Path) -> None:
    """Print what sixty cells take."""
    params = make_workspace(scratch / "workspace", 20, LANGUAGES)
    watch = Watch()
    watch.start()
    _, total = run_pipeline(scratch / "workspace", params, scratch / "root")
    watch.stop()
    (run,) = (path for path in (scratch / "root").iterdir() if path.is_dir())
    # Of what is logged side by side, a line may be torn: what each task has written is counted.
    count = Counter(written.parent.name for written in run.rglob("executor_output.json"))
    print(f"{len(params.cells)} cells, {sum(count.values())} tasks, {watch.at_once} of them at once")
    print(f"{total / 60:.1f} min, {watch.peak / 2**30:.2f} GiB at most")
    once = all(count[step] == len(params.cells) for step in ("prepare", "generate", "filter", "train"))
    print(f"each step once a cell: {once}")
    print(f"bento {digest(next(run.rglob('package/bento')))[:12]}")


def main() -> None:
    """Run what the argument names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "cells"])
    what = parser.parse_args().what
    print(f"{platform.platform()}, {psutil.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="polydistill-pipeline-") as scratch:
        {"overhead": overhead, "cells": cells}[what](Path(scratch))


if __name__ == "__main__":
    main()
