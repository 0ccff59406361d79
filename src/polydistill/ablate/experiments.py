"""Has DVC run each variant as an experiment, which caches what it has in common with the others."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from polydistill.ablate import run_ablate
from polydistill.ablate.variants import Variant, with_changes
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import explained, new_folder, read_yaml
from polydistill.params import NAME
from polydistill.teachers.journal import ABLATION
from polydistill.workspace import Cell, Workspace

log = logging.getLogger(__name__)

_VARIANTS = "-variants"
_RUN_BY_DVC = ("prepare", "generate", "filter", "train", "evaluate")
_CHANGED_BY_DVC = ("params.yaml", "dvc.lock")


def run_experiments(workspace: Workspace, question: str, variants: Sequence[Variant], ablated: Path) -> None:
    """Run the chain up to `evaluate` with the settings of each variant, then set them side by side.

    Args:
        workspace: Must be a git repository with a commit, as DVC's experiments need; its files are left as they were.
        question: Name of the ablation; experiments are called after it, for `dvc exp show`.
        variants: What to run.
        ablated: Folder to write, as `run_ablate` does, and beside it a folder a variant with what `evaluate` wrote.

    Raises:
        ParamsError: If a variant has a setting that is not allowed, or two cannot be told apart; then nothing is run.
        DataError: If there is no commit.
        PolydistillError: If DVC cannot run one.
    """
    if not re.fullmatch(NAME, question) or question.endswith(_VARIANTS):
        raise ParamsError(
            f"ablate {question}: a name is of small letters, digits, - and _, and does not end in {_VARIANTS}"
        )
    for variant in variants:
        with_changes(workspace.params, variant.changes)
    if len({_slug(variant.name) for variant in variants}) < len(variants):
        raise ParamsError(f"ablate {question}: two variants have one name: {'; '.join(v.name for v in variants)}")
    if _run(["git", "rev-parse", "--quiet", "--verify", "HEAD"], workspace.root).returncode:
        raise DataError(
            f"{workspace.root}: experiments need a git repository with a commit: git add --all && git commit"
        )
    evaluated = []
    with _as_it_was(workspace.root):
        for variant in variants:
            name = _slug(f"{question}-{variant.name}")
            log.info("%s: %s", question, variant.name)
            changes = [f"--set-param={key}={_hydra(value)}" for key, value in variant.changes.items()]
            command = [_dvc(), "exp", "run", "--force", "--name", name, *changes, "evaluate"]
            if _run(command, workspace.root, shown=True).returncode:
                raise PolydistillError(f"the variant `{variant.name}` failed, see above; mend that and run this again")
            for cell in workspace.cells():
                kept = ablated.with_name(f"{ablated.name}{_VARIANTS}") / name / cell.name
                _keep(cell, kept)
                evaluated.append((variant.name, kept))
    run_ablate(evaluated, ablated)


def _keep(cell: Cell, kept: Path) -> None:
    with new_folder(kept) as out:
        for file in ("evaluation.json", "curves.csv"):
            shutil.copyfile(cell.room("evaluated") / file, out / file)


@contextmanager
def _as_it_was(root: Path) -> Iterator[None]:
    """Bring back, at the end, the files that an experiment changes, and the results that belong to them."""
    with explained(root, "read"):
        before = {name: (root / name).read_bytes() for name in _CHANGED_BY_DVC if (root / name).exists()}
    staged = _run(["git", "diff", "--cached", "--quiet"], root).returncode != 0
    try:
        yield
    finally:
        for name in _CHANGED_BY_DVC:
            with explained(root / name, "write"):
                if name in before:
                    (root / name).write_bytes(before[name])
                else:
                    (root / name).unlink(missing_ok=True)
        if not staged:  # DVC stages what it changes, and leaves it so where it is interrupted
            _run(["git", "reset", "--quiet"], root)
        stages = _stages(root / "dvc.lock")
        if stages and _run([_dvc(), "checkout", "--quiet", "--force", "--allow-missing", *stages], root).returncode:
            log.warning("not all results in work/ are those of params.yaml again; `dvc repro` brings them back")


def _stages(lock: Path) -> list[str]:
    """Return the stages that had been run, of those that an experiment runs; DVC fails over one that had not."""
    known = read_yaml(lock)["stages"] if lock.exists() else {}
    return [name for name in known if name.partition("@")[0] in _RUN_BY_DVC]


def _dvc() -> str:
    program = shutil.which("dvc", path=str(Path(sys.executable).parent)) or shutil.which("dvc")
    if program is None:
        raise PolydistillError("dvc is not installed, which runs the variants; run: pip install 'polydistill[dvc]'")
    return program


def _run(command: Sequence[str], root: Path, *, shown: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run a program in the workspace; what it says of errors is shown, or thrown away."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment: dict[str, Any] = {**os.environ, "DVC_NO_ANALYTICS": "true", "PATH": path, ABLATION: "1"}
    stderr = None if shown else subprocess.DEVNULL
    return subprocess.run(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=stderr, check=False)


def _hydra(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
