"""Where everything stands in a workspace, the folder with params.yaml, data/ and work/; and how to make a new one."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from polydistill.errors import DataError, ParamsError
from polydistill.files import explained, new_file, require_input
from polydistill.gather import gathered
from polydistill.params import ACROSS_CELLS, NAME, Params, load_params
from polydistill.task import is_language

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """One task in one language, and the folders that its steps pass to each other."""

    root: Path
    task: str
    language: str

    @property
    def name(self) -> str:
        """The cell as params.yaml names it."""
        return f"{self.task}/{self.language}"

    @property
    def task_folder(self) -> Path:
        """Where the user's inputs of the task stand."""
        return self.root / "data" / self.task

    @property
    def recording(self) -> Path:
        """The replies that a recorded teacher gives."""
        return self.task_folder / self.language / "recording.jsonl"

    def room(self, name: str) -> Path:
        """A folder of the cell alone: prepared, heldout, generated, filtered, measured, evaluated, selected."""
        return self.root / "work" / self.task / self.language / name

    def trained(self, student: str) -> Path:
        """Where one kind of student stands after training."""
        return self.room("trained") / student

    def finished(self, student: str) -> Path:
        """What came of each training of one kind of student: it outlives a run that is ended, and DVC's own care."""
        return self.room("finished") / student

    def gathered(self, name: str) -> Path:
        """The cell's folder among those of all cells: winners, cards. Steps over all cells depend on these."""
        return self.root / "work" / name / self.task / self.language


@dataclass(frozen=True)
class TaskFiles:
    """What a workspace has of one task in all its languages."""

    root: Path
    name: str

    @property
    def file(self) -> Path:
        """The user's description of the task."""
        return self.root / "data" / self.name / "task.yaml"

    @property
    def facets_journal(self) -> Path:
        """The teacher's replies until facets stand in the file."""
        return self.root / "work" / self.name / "facets.jsonl"


@dataclass(frozen=True)
class Workspace:
    """A folder with params.yaml, data/ and work/."""

    root: Path
    params: Params

    @classmethod
    def open(cls, root: Path) -> "Workspace":
        """Read the parameters of the workspace."""
        return cls(root, load_params(root / "params.yaml"))

    def cells(self, names: Sequence[str] = ()) -> list[Cell]:
        """Return the named cells, or all.

        Raises:
            ParamsError: If params.yaml does not list one.
        """
        for name in names:
            if name not in self.params.cells:
                raise ParamsError(
                    f"cell {name} is not in params.yaml:cells, which holds {', '.join(self.params.cells)}"
                )
        return [Cell(self.root, *name.split("/")) for name in names or self.params.cells]

    def tasks(self, names: Sequence[str] = ()) -> list[TaskFiles]:
        """Return the named tasks, or all that the cells are of.

        Raises:
            ParamsError: If no cell is of one.
        """
        known = list(dict.fromkeys(cell.task for cell in self.cells()))
        for name in names:
            if name not in known:
                raise ParamsError(f"no cell of params.yaml:cells is of the task {name}; there are {', '.join(known)}")
        return [TaskFiles(self.root, name) for name in names or known]

    @contextmanager
    def gathered(self, name: str) -> Iterator[Path]:
        """Yield a folder with the winners or the cards of the cells in params.yaml, and of no cell that was there once.

        Raises:
            DataError: If a cell has none yet.
        """
        facts, step = {"winners": ("winner.json", "select"), "cards": ("card.json", "card")}[name]
        folders = [cell.gathered(name) for cell in self.cells()]
        for folder in folders:
            require_input(folder / facts, step)
        with gathered(folders, facts) as together:
            yield together

    def across(self, name: str) -> Path:
        """A folder for all cells: winners, cards, report, bento, served, monitored."""
        return self.root / "work" / name


def render_workspace(name: str, **values: Any) -> str:
    """Return a file of a workspace (params.yaml, dvc.yaml, task.yaml or curves.json) from its template."""
    loader = jinja2.PackageLoader("polydistill", "templates/workspace")
    environment = jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2").render(values)


def require_absent(root: Path, names: Iterable[str]) -> None:
    """Check that none of the files is in the folder yet.

    Raises:
        DataError: If one is.
    """
    there = [name for name in names if (root / name).exists()]
    if there:
        raise DataError(f"{root} already holds {', '.join(there)}; choose another folder, or delete what may go")


def write_workspace(root: Path, files: dict[str, str]) -> None:
    """Write the files, by their path in the workspace, and make the folder a git and DVC repository where it is none.

    Raises:
        DataError: If one of the files is there already; then nothing is written.
    """
    require_absent(root, files)
    for name, content in files.items():
        with new_file(root / name) as partial:
            partial.write_text(content, encoding="utf-8")
    _ignore_work(root / ".gitignore")
    if not _inside_git(root):
        _run(["git", "init", "--quiet", "--initial-branch=main"], root)
    if not (root / ".dvc").exists():
        # A workspace within a larger repository gets a DVC repository of its own.
        subdir = [] if (root / ".git").exists() else ["--subdir"]
        if _run(["dvc", "init", "--quiet", *subdir], root):
            _run(["dvc", "config", "core.analytics", "false"], root)
    if (root / ".dvc").exists():
        with new_file(root / ".dvc" / "plots" / "curves.json") as partial:
            partial.write_text(render_workspace("curves.json"), encoding="utf-8")


def new_workspace(root: Path, task: str, languages: Sequence[str]) -> None:
    """Make a workspace for somebody's own task: every setting, a task to fill in, empty tables for its texts.

    Raises:
        ParamsError: If the name of the task or a language cannot be used; then nothing is written.
        DataError: If one of the files is there already; then nothing is written.
    """
    languages = list(dict.fromkeys(languages))
    problems = [f"language `{tag}` is no BCP 47 tag such as sl or pt-BR" for tag in languages if not is_language(tag)]
    if not re.fullmatch(NAME, task) or task in ACROSS_CELLS:
        taken = ", ".join(ACROSS_CELLS)
        problems.append(
            f"task `{task}`: a name is of small letters, digits, - and _, begins with a letter or a digit, and is none "
            f"of {taken}"
        )
    if problems:
        raise ParamsError("\n".join(problems))
    files = {
        "params.yaml": render_workspace(
            "params.yaml", cells=[f"{task}/{language}" for language in languages], preset="own"
        ),
        "dvc.yaml": render_workspace("dvc.yaml", recorded=False),
        f"data/{task}/task.yaml": render_workspace("task.yaml", task=task, languages=languages),
    }
    for language in languages:
        for table in ("seeds", "test"):
            files[f"data/{task}/{language}/{table}.csv"] = "text,label\n"
    write_workspace(root, files)


def _ignore_work(gitignore: Path) -> None:
    with explained(gitignore, "write"):
        there = gitignore.read_text(encoding="utf-8") if gitignore.exists() else ""
        if "/work/" not in there.splitlines():
            gitignore.write_text(there + "\n" * (there[-1:] not in ("", "\n")) + "/work/\n", encoding="utf-8")


def _inside_git(folder: Path) -> bool:
    return any((parent / ".git").exists() for parent in (folder.resolve(), *folder.resolve().parents))


def _run(command: Sequence[str], folder: Path) -> bool:
    """Run a program of this environment or of the PATH; a missing or failing one is said, not fatal."""
    beside_python = shutil.which(command[0], path=str(Path(sys.executable).parent))
    program = beside_python or shutil.which(command[0])
    if program is None:
        log.warning("%s is not installed; install it, then run `%s` in %s", command[0], " ".join(command), folder)
        return False
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "true"}  # `dvc init` would report before it can be told not to
    done = subprocess.run([program, *command[1:]], cwd=folder, env=quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        log.warning("`%s` failed in %s: %s", " ".join(command), folder, done.stderr.strip())
    return done.returncode == 0
