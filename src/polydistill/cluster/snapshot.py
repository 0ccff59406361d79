"""Keeps all that a run read and wrote under a branch of its own, so that a review checks out exactly that."""

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from ruamel.yaml import YAML  # it keeps comments, and DVC, which writes YAML with it, brings it
from ruamel.yaml.comments import CommentedSeq

from polydistill import __version__
from polydistill.cluster.bundle import ROOMS, bundled_cell
from polydistill.cluster.git import Checkout, checked_out, git, has_branch, parse_address, push_new
from polydistill.cluster.remote import NO_REMOTE, default_remote, dvc_root, explain_remote
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import digest, explained, new_folder, read_json, require_input, write_json
from polydistill.params import Params, check_struct
from polydistill.workspace import Cell

log = logging.getLogger(__name__)

_OF_CELLS = ("prepare", "generate", "filter", "measure", "train", "evaluate", "select", "card")
_ACROSS = {"report": "report", "package": "bento"}
"""The stages over all cells that a run keeps, and the folder in work/ that each writes."""

_FOREIGN = "snapshot/bento"
"""Where a bento stands that no stage of the run's own makes."""

_METRICS = ("measured/metrics.json", "evaluated/evaluation.json")
_AUTHOR = {"NAME": "polydistill", "EMAIL": "polydistill@localhost"}
_DVC_SETTINGS = """\
[core]
    analytics = false
    check_update = false
    autostage = false
[cache]
    dir = {cache}
    type = "hardlink,copy"
"""


def run_snapshot(
    repository: str,
    data: Path,
    run: str,
    params: Mapping[str, Any],
    bundles: Sequence[Path],
    across: Mapping[str, Path],
    snapshot: Path,
) -> dict[str, Any]:
    """Push the outputs of a run to DVC's remote, and a branch `runs/<run>` that points at them to the repository.

    The branch has one commit on top of that of the data: params.yaml as the run had it, dvc.lock, dvc.yaml with the
    stages that the run ran (its journals of replies among what DVC keeps), lineage/<run>.json and the metrics beside
    it. `git checkout runs/<run> && dvc pull` brings everything to where `dvc repro` would have written it.

    The same outputs give the same commit, so a second call, or one after a kill, ends where the first one would have.

    Args:
        repository: As of `run_fetch`; its user must be allowed to push.
        data: What `run_fetch` wrote.
        run: Name of the run; what no branch can be called becomes a hyphen.
        params: Sections of params.yaml as `to_struct` returns them, by their names; those that are left out are those
            of the repository.
        bundles: What `run_bundle` wrote, for each cell of the run.
        across: What steps over all cells wrote, by its folder in work/: report, bento.
        snapshot: Folder to write: snapshot.json, and lineage.json where there is a branch.

    Returns:
        What is in snapshot.json: run, branch, commit, and `reason` where there is no branch: the data are of no commit,
        or the repository has no remote of DVC.

    Raises:
        PolydistillError: If the branch is there with other content, or the remote or the repository cannot be written.
    """
    facts = read_json(require_input(data / "fetch.json", "fetch"))
    told: dict[str, Any] = {"schema_version": 1, "run": run, "branch": None, "commit": None, "reason": ""}
    with new_folder(snapshot) as folder:
        if facts["commit"] is None:
            told["reason"] = "the data were read as they lay in a folder, which is no commit to build a branch on"
        else:
            address = parse_address(repository)
            with checked_out(address, facts["commit"]) as checkout:
                remote = default_remote(checkout)
                if remote is None:
                    told["reason"] = f"{address} at {facts['commit'][:12]}: {NO_REMOTE}"
                else:
                    told["branch"] = branch = _branch(run)
                    lineage = _lay(checkout, data, run, params, bundles, across)
                    told["commit"] = _keep(checkout, branch, remote, lineage)
                    write_json(folder / "lineage.json", lineage)
        write_json(folder / "snapshot.json", told)
    if told["reason"]:
        log.warning("nothing is kept of this run: %s", told["reason"])
    return told


def told_in_markdown(told: Mapping[str, Any]) -> str:
    """Return in Markdown what `run_snapshot` returned."""
    if told["branch"] is None:
        reason, *commands = told["reason"].splitlines()
        return "\n\n".join([f"Nothing is kept of this run: {reason}", *(f"    {line}" for line in commands)]) + "\n"
    return (
        f"Everything that this run read and wrote is kept under the branch `{told['branch']}`, commit "
        f"`{told['commit']}`. In a checkout of the repository:\n\n"
        f"    git fetch && git checkout {told['branch']} && dvc pull\n"
    )


def _branch(run: str) -> str:
    """Return the branch of a run.

    Raises:
        ParamsError: If nothing of its name can stand in that of a branch.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", run).strip("-")
    if not name:
        raise ParamsError(f"run `{run}` cannot name a branch; it needs a letter or a digit")
    return f"runs/{name}"


def _lay(
    checkout: Checkout,
    data: Path,
    run: str,
    params: Mapping[str, Any],
    bundles: Sequence[Path],
    across: Mapping[str, Path],
) -> dict[str, Any]:
    """Put all of the run where the workspace has it, and return its lineage."""
    workspace = checkout.workspace
    cells = [bundled_cell(bundle) for bundle in bundles]
    for cell in cells:  # DVC compares what a stage read: what was given to it is no part of a clone
        _copy(data / cell, workspace / "data" / cell)
    for bundle in bundles:
        _copy(bundle / "work", workspace / "work")
    for cell in cells:
        for room in ("generated", "evaluated"):  # storage of objects has no empty folders
            (Cell(workspace, *cell.split("/")).room(room) / "journal").mkdir(exist_ok=True)
    laid = dict(across)
    foreign = laid.pop("bento") if "bento" in laid and not _packs(laid["bento"], workspace, cells) else None
    for name, source in laid.items():
        _copy(source, workspace / "work" / name)
    if foreign:
        _copy(foreign, workspace / _FOREIGN)
    _write_params(workspace / "params.yaml", {**params, "cells": cells})
    _write_stages(workspace / "dvc.yaml", {*_OF_CELLS, *(stage for stage, name in _ACROSS.items() if name in laid)})
    facts = read_json(data / "fetch.json")
    return {
        "schema_version": 1,
        "run": run,
        "polydistill": __version__,
        "image": params.get("cluster", {}).get("tag") or __version__,
        "data": {**facts, "cells": {cell: facts["cells"][cell] for cell in cells}},
        "parameters": digest(workspace / "params.yaml"),
        "outputs": {cell: _digests(workspace, cell) for cell in cells},
        "across": {name: digest(source) for name, source in sorted(across.items())},
    }


def _packs(bento: Path, workspace: Path, cells: Sequence[str]) -> bool:
    """Say whether a bento is what `package` makes of these winners alone: that of a retraining holds champions too."""
    packed = bento / "src" / "winners"
    of_bento = {file.parent.relative_to(packed).as_posix() for file in packed.glob("*/*/winner.json")}
    winners = workspace / "work" / "winners"
    return of_bento == set(cells) and all(digest(packed / c / "model") == digest(winners / c / "model") for c in cells)


def _digests(workspace: Path, name: str) -> dict[str, str]:
    cell = Cell(workspace, *name.split("/"))
    folders = {room: cell.room(room) for room in ROOMS}
    folders |= {f"trained/{folder.name}": folder for folder in sorted(cell.room("trained").iterdir())}
    folders |= {gathered: cell.gathered(gathered) for gathered in ("winners", "cards")}
    return {room: digest(folder) for room, folder in folders.items()}


def _write_params(file: Path, sections: Mapping[str, Any]) -> None:
    """Write what differs from the file into it."""
    yaml, content = _read_yaml(file)
    for name, section in sections.items():
        annotation = Params.model_fields[name].annotation
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        model = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        value = check_struct(model, section, name).model_dump(mode="json") if model else list(section)
        _update(content, name, value)
    yaml.dump(content, file)


def _update(content: Any, key: str, value: Any) -> None:
    there = content.get(key)
    if isinstance(value, dict) and isinstance(there, dict):
        for name, of_name in value.items():
            _update(there, name, of_name)
    elif key not in content or there != value:
        content[key] = _like(there, value) if isinstance(value, list) and isinstance(there, list) else value


def _like(there: Any, value: Sequence[Any]) -> Any:
    """Return a list as the one that it replaces is written: on one line or not, and with what follows its last item."""
    new = CommentedSeq(value)
    if there.fa.flow_style():
        new.fa.set_flow_style()
    if value and (below := there.ca.items.get(len(there) - 1)):
        new.ca.items[len(value) - 1] = below
    return new


def _write_stages(file: Path, stages: Iterable[str]) -> None:
    """Leave the stages in the pipeline that the run ran, and have DVC keep all that they wrote.

    What is `cache: false` is kept by git in DVC's eyes, and journals are by nobody.
    """
    yaml, content = _read_yaml(file)
    for name in [name for name in content["stages"] if name not in stages]:
        del content["stages"][name]
    for stage in content["stages"].values():
        for entry in [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]:
            for settings in filter(None, entry.values() if isinstance(entry, dict) else []):
                settings.pop("cache", None)
    yaml.dump(content, file)


def _read_yaml(file: Path) -> tuple[YAML, Any]:
    if not file.exists():
        raise DataError(f"the repository has no {file.name} beside data/; `polydistill init` makes one")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.representer.add_representer(type(None), _null)
    return yaml, yaml.load(file)


def _null(representer: Any, _: None) -> Any:
    """Write null as the templates do; ruamel.yaml would write nothing."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _copy(source: Path, target: Path) -> None:
    with explained(source, "read"):
        shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


def _keep(checkout: Checkout, branch: str, remote: str, lineage: Mapping[str, Any]) -> str:
    """Push what lies in the workspace, and then the branch that points at it; return its commit."""
    workspace, address = checkout.workspace, checkout.address
    name = branch.removeprefix("runs/")
    (workspace / "dvc.lock").unlink(missing_ok=True)  # it tells of other runs
    pointers, ignored = ["dvc.yaml"], []
    with tempfile.TemporaryDirectory(prefix="polydistill-dvc-") as scratch:
        settings = _DVC_SETTINGS.format(cache=Path(scratch, "cache"))
        (dvc_root(checkout) or workspace).joinpath(".dvc", "config.local").write_text(settings, encoding="utf-8")
        if (workspace / _FOREIGN).exists():
            _dvc(["add", _FOREIGN], workspace, scratch)
            pointers.append(f"{_FOREIGN}.dvc")
            ignored.append(str(Path(_FOREIGN).with_name(".gitignore")))
        _dvc(["commit", "--force", "dvc.yaml"], workspace, scratch)

        write_json(workspace / "lineage" / f"{name}.json", lineage)
        for cell in lineage["outputs"]:
            for metrics in _METRICS:
                file = Path("work", cell, metrics)
                (workspace / "lineage" / name / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(workspace / file, workspace / "lineage" / name / file)
        commit = _commit(checkout, [*pointers, *ignored, "dvc.lock", "params.yaml", "lineage"], lineage)

        has_branch(address, checkout.root, commit, branch)  # before anything is sent
        done = _run_dvc(["push", *pointers], workspace, scratch)
        if done.returncode:
            raise explain_remote(done.stderr, remote, "write the outputs of the run to")
        new = push_new(address, checkout.root, commit, branch)
    log.info("branch %s of %s %s: commit %s", branch, address.url, "added" if new else "is there already", commit)
    return commit


def _commit(checkout: Checkout, files: Sequence[str], lineage: Mapping[str, Any]) -> str:
    """Commit the files; the same files give the same commit, whenever that is."""
    who = {
        f"GIT_{role}_{fact}": os.environ.get(f"GIT_{role}_{fact}", value)
        for role in ("AUTHOR", "COMMITTER")
        for fact, value in {**_AUTHOR, "DATE": checkout.committed_at.isoformat()}.items()
    }
    message = (
        f"Run {lineage['run']}\n\n"
        f"polydistill {lineage['polydistill']} on the data of {checkout.commit}\n"
        f"Cells: {', '.join(lineage['outputs'])}"
    )
    address, workspace = checkout.address, checkout.workspace
    git(["add", "--force", "--", *files], address, workspace)
    git(["commit", "--quiet", "--no-verify", "--message", message], address, workspace, **who)
    return git(["rev-parse", "HEAD"], address, workspace)


def _dvc(arguments: Sequence[str], workspace: Path, scratch: str) -> None:
    done = _run_dvc(arguments, workspace, scratch)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["it failed"]
        raise PolydistillError(f"`dvc {' '.join(arguments)}` on the outputs of the run: {said[-1]}")


def _run_dvc(arguments: Sequence[str], workspace: Path, scratch: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "true",
        "DVC_STUDIO_OFFLINE": "true",
        "DVC_SITE_CACHE_DIR": str(Path(scratch, "site")),
    }
    # -P: no file of the workspace is taken for a module.
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
