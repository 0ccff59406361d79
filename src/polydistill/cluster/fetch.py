"""Reads the texts of some cells as they were at a revision of a git repository, wherever DVC keeps them."""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from dvc.api import DVCFileSystem
from dvc.repo import Repo

from polydistill.cluster.git import Checkout, check_push, checked_out, git, parse_address
from polydistill.cluster.remote import default_remote, dvc_root, explain_remote
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import digest, explained, new_folder, read_json, remove_folder, require_input, write_json

log = logging.getLogger(__name__)

READ = ("seeds.csv", "human.csv", "test.csv", "recording.jsonl")
"""What the steps read of a cell, beside the task's task.yaml."""

MARK = "polydistill-may-write"
"""What is written to DVC's remote to see whether it may be."""


def run_fetch(
    repository: str, revision: str, cells: Sequence[str], data: Path, *, will_push: bool = False
) -> list[dict[str, str]]:
    """Write the inputs of the cells as they stand in the repository at a revision, and nothing of other cells.

    What is in git comes from a clone; what was given to DVC (`dvc add`) comes from its remote.

    Args:
        repository: The workspace: a git URL or a folder, with `#FOLDER` after it where it is not at the root of the
            repository, such as https://git.example.org/team/texts.git#classifiers.
        revision: Branch, tag or commit. "" is the server's own branch; of a folder on this machine, its files as they
            lie there, which are of no commit.
        cells: task/language each.
        data: Folder to write: a folder a task as in data/ of the workspace, and fetch.json, which says what it is:
            repository, commit and its time, and of each cell a digest and the commit that changed it last.
        will_push: Whether `run_snapshot` follows: then the right to push, and to write to DVC's remote, is tried first,
            where it will push.

    Returns:
        For each cell, in order, {"cell", "commit", "digest"}: the last commit up to the revision that changed it, ""
        where it is of none; and the digest of all that the steps read of it.

    Raises:
        ParamsError: If there is no such revision or cell; the message names those that there are.
        PolydistillError: If the repository or DVC's remote cannot be read, or does not take what is to be kept.
    """
    address = parse_address(repository)
    with new_folder(data) as folder:
        facts: dict[str, Any] = {
            "schema_version": 1,
            "repository": address.url,
            "folder": address.folder,
            "revision": revision,
            "commit": None,
            "committed_at": None,
        }
        if address.local and not revision:
            _copy_cells(address.local / address.folder, cells, folder, str(address))
            digests, commits = _digests(folder, cells), dict.fromkeys(cells, "")
        else:
            with checked_out(address, revision) as checkout:
                if will_push and default_remote(checkout):  # without a remote nothing is kept
                    check_push(address, checkout.root)
                    _check_write(checkout)
                facts |= {"commit": checkout.commit, "committed_at": checkout.committed_at.isoformat()}
                _read_cells(checkout, cells, folder)
                digests = _digests(folder, cells)
                commits = _last_changes(checkout, digests)
        write_json(folder / "fetch.json", {**facts, "cells": digests, "changed": commits})
    log.info("%s at %s: %s", address, facts["commit"] or "no commit, as it lies there", ", ".join(cells))
    return [{"cell": cell, "commit": commits[cell], "digest": digests[cell]} for cell in cells]


def located(data: Path, cell: str) -> tuple[str, str]:
    """Return the commit that last changed a cell and the digest of its data, as `run_fetch` wrote them to `data`.

    Raises:
        ParamsError: If it did not read that cell.
    """
    facts = read_json(require_input(data / "fetch.json", "fetch"))
    if cell not in facts["cells"]:
        raise ParamsError(f"cell {cell} was not fetched, but {', '.join(facts['cells'])}; name it in `cells`, too")
    return facts["changed"][cell], facts["cells"][cell]


def run_load(repository: str, cell: str, commit: str, digest: str, data: Path) -> str:
    """Write the inputs of a cell as `run_fetch` found them.

    All that it goes by, and so all that it writes, stays the same until what is read of the cell changes, whatever else
    is committed: Kubeflow's cache knows an artifact by the task that made it, so that what all steps of a cell start
    from must come from a task that is in the cache as long as the texts are the same.

    Args:
        repository: As of `run_fetch`.
        cell: The cell, task/language.
        commit: The last that changed it, as `run_fetch` returns it.
        digest: That of its data, as `run_fetch` returns it.
        data: Folder to write, as `run_fetch` does, of this cell alone.

    Returns:
        The digest.

    Raises:
        ParamsError: If there is no such commit or cell any more.
        DataError: If the data are others now.
        PolydistillError: If the repository or DVC's remote cannot be read.
    """
    (row,) = run_fetch(repository, commit, [cell], data)
    if row["digest"] != digest:
        remove_folder(data)
        where = f"at {commit[:12]}" if commit else "as it lies there"
        raise DataError(f"data/{cell} of {repository} {where} is not what `fetch` found: it was changed; submit again")
    return digest


def _digests(data: Path, cells: Sequence[str]) -> dict[str, str]:
    return {cell: cell_digest(data, cell) for cell in cells}


def cell_digest(data: Path, cell: str) -> str:
    """Return the SHA-256, in hex, of all that the steps read of a cell: its files that are in `READ`, and task.yaml."""
    folder = data / cell
    files = [folder.parent / "task.yaml", *(folder / name for name in READ)]
    there = {file.name: digest(file) for file in files if file.exists()}
    return hashlib.sha256("".join(f"{name}\0{of_file}\n" for name, of_file in there.items()).encode()).hexdigest()


def _copy_cells(workspace: Path, cells: Sequence[str], data: Path, where: str) -> None:
    """Copy the cells from a folder of this machine."""
    tasks = sorted(file.parent for file in (workspace / "data").glob("*/task.yaml"))
    there = [f"{task.name}/{folder.name}" for task in tasks for folder in sorted(task.iterdir()) if folder.is_dir()]
    by_dvc = {f"{task.name}/{file.stem}" for task in tasks for file in task.glob("*.dvc") if "." not in file.stem}
    if away := sorted(by_dvc.intersection(cells) - set(there)):
        raise DataError(f"cell {', '.join(away)} is not in {where} itself, but kept by DVC; run `dvc pull` there")
    _require(cells, sorted({*there, *by_dvc}), where)
    for cell in cells:
        source, target = workspace / "data" / cell, data / cell
        with explained(source, "read"):
            shutil.copytree(source, target, copy_function=shutil.copyfile)
            shutil.copyfile(source.parent / "task.yaml", target.parent / "task.yaml")


def _check_write(checkout: Checkout) -> None:
    """Write a small object, always the same, to where `dvc push` is to write when the run ends.

    It stays there: who may write may be forbidden to delete. DVC passes it over, in `dvc gc` too: its own objects stand
    one folder deeper, in those that two letters of their hashes name.
    """
    try:
        with _opened(checkout) as (repo, scratch):
            mark = scratch / MARK
            mark.write_text("polydistill wrote this to see that it may write here.\n", encoding="utf-8")
            remote = repo.cloud.get_remote()
            remote.fs.put_file(str(mark), remote.fs.join(remote.odb.path, MARK))
    except Exception as exc:  # each kind of storage has its own
        what = "write what is to be kept of the run to"
        raise explain_remote("\n".join(_told(exc)), default_remote(checkout), what) from exc


@contextmanager
def _opened(checkout: Checkout) -> Iterator[tuple[Repo, Path]]:
    """Yield what DVC sees in a checkout, and an empty folder; all that it writes vanishes when the block ends."""
    with tempfile.TemporaryDirectory(prefix="polydistill-dvc-") as scratch:
        # Nothing is written beyond folders of our own: /var/tmp, where DVC would write, may be read-only.
        places = {"core": {"site_cache_dir": f"{scratch}/site"}, "cache": {"dir": f"{scratch}/cache"}}
        with Repo(str(_dvc_folder(checkout)), uninitialized=True, config=places) as repo:
            yield repo, Path(scratch)


def _read_cells(checkout: Checkout, cells: Sequence[str], data: Path) -> None:
    """Read the cells through DVC, which gives what git has too."""
    inputs = f"/{(checkout.workspace / 'data').relative_to(_dvc_folder(checkout)).as_posix()}"
    what = "list the cells of"
    try:
        with _opened(checkout) as (repo, _):
            files = DVCFileSystem(repo)
            _require(cells, list(_cells_of(files, inputs)), f"{checkout.address} at {checkout.commit[:12]}")
            for cell in cells:
                what = f"read data/{cell} from"
                task = cell.split("/")[0]
                (data / task).mkdir(exist_ok=True)
                files.get_file(f"{inputs}/{task}/task.yaml", str(data / task / "task.yaml"))
                files.get(f"{inputs}/{cell}", str(data / cell), recursive=True)
                (data / cell / ".gitignore").unlink(missing_ok=True)  # of `dvc add`
    except PolydistillError:
        raise
    except Exception as exc:  # each kind of storage has its own
        raise explain_remote("\n".join(_told(exc)), default_remote(checkout), what) from exc


def _last_changes(checkout: Checkout, digests: Mapping[str, str]) -> dict[str, str]:
    """Return for each cell the last commit that changed it, at which it reads as in the checkout.

    That is left at another commit. What git names is tried: DVC heeds more than the files of a cell and their .dvc
    files (dvc.yaml, .dvcignore, what links point at), which may have been otherwise then. Where the cell reads
    otherwise it is the checkout's own commit.
    """
    changed = {cell: _last_change(checkout, cell) for cell in digests}
    for commit in sorted(set(changed.values()) - {checkout.commit}):
        cells = [cell for cell in digests if changed[cell] == commit]
        with tempfile.TemporaryDirectory(prefix="polydistill-data-") as scratch:
            try:
                git(["checkout", "--quiet", "--detach", commit], checkout.address, checkout.root)
                _read_cells(replace(checkout, commit=commit), cells, Path(scratch))
            except PolydistillError as exc:
                log.info("%s: cannot be read at %s, the last change by git: %s", ", ".join(cells), commit[:12], exc)
            then = _digests(Path(scratch), cells)
        changed |= {cell: checkout.commit for cell in cells if then[cell] != digests[cell]}
    return changed


def _last_change(checkout: Checkout, cell: str) -> str:
    """Return the last commit that changed a file of a cell, task.yaml, a .dvc file of these, or DVC's settings."""
    inputs = checkout.workspace / "data"
    folder, task = inputs / cell, (inputs / cell).parent / "task.yaml"
    by_dvc = [path.with_name(f"{path.name}.dvc") for path in (folder, folder.parent, inputs, task)]
    remote = _dvc_folder(checkout) / ".dvc" / "config"
    paths = [str(path.relative_to(checkout.root)) for path in (folder, task, *by_dvc, remote)]
    command = ["--literal-pathspecs", "log", "--max-count=1", "--format=%H", checkout.commit, "--", *paths]
    return git(command, checkout.address, checkout.root) or checkout.commit


def _dvc_folder(checkout: Checkout) -> Path:
    return dvc_root(checkout) or checkout.root


def _cells_of(files: DVCFileSystem, inputs: str) -> Iterator[str]:
    """Yield the cells below a folder; not by `isdir` and the like, to which what fails is not there."""
    for task in sorted(_names(files, inputs, "directory")):
        if "task.yaml" in _names(files, f"{inputs}/{task}", "file"):
            yield from (f"{task}/{language}" for language in sorted(_names(files, f"{inputs}/{task}", "directory")))


def _names(files: DVCFileSystem, folder: str, kind: str) -> list[str]:
    try:
        return [PurePosixPath(found["name"]).name for found in files.ls(folder, detail=True) if found["type"] == kind]
    except FileNotFoundError:
        return []


def _told(exc: BaseException | None) -> Iterator[str]:
    """Yield what an exception and those behind it say, the first cause first."""
    if exc is not None:
        yield from _told(exc.__cause__ or exc.__context__)
        yield f"{type(exc).__name__}: {exc}"


def _require(cells: Iterable[str], there: Sequence[str], where: str) -> None:
    """Check that the cells are there.

    Raises:
        ParamsError: If one is not.
    """
    if unknown := [cell for cell in cells if cell not in there]:
        raise ParamsError(
            f"cell {', '.join(unknown)} is not in {where}, which holds {', '.join(there) or 'none'}; "
            "a cell is a folder data/TASK/LANGUAGE beside data/TASK/task.yaml"
        )
