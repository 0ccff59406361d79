"""What can be known of the data of a run before it is started: that they are where the pods read them, and fit."""

import filecmp
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from polydistill.cluster.arguments import require_cluster
from polydistill.cluster.fetch import READ
from polydistill.cluster.git import (
    Address,
    Checkout,
    NoRepositoryError,
    checked_out,
    may_commit,
    parse_address,
    without_passwords,
)
from polydistill.cluster.remote import default_remote, remote_settings
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.params import Params
from polydistill.task import load_task
from polydistill.workspace import Cell

log = logging.getLogger(__name__)

THIS_MACHINE = {"localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1"}
_SHOWN = 5
_CLIENTS = ("s3", "http", "https")
"""The kinds of DVC's remotes for which the image has a client."""


def about_inputs(params: Params, cells: Sequence[Cell], *, recorded: bool, kept: bool) -> Iterator[str]:
    """Yield what is wrong with the repository, and the data of the cells in it.

    Args:
        params: All of params.yaml.
        cells: What is to run.
        recorded: Whether a recorded teacher is to answer.
        kept: Whether the run is to keep its outputs beside its inputs.
    """
    cluster = require_cluster(params)
    if cluster.repository is None:
        yield "cluster.repository is not set: name the git repository of this workspace as the pods reach it"
        return
    try:
        address = parse_address(cluster.repository)
        if told := _only_from_here(address):
            yield told
            return
        with checked_out(address, cluster.revision) as checkout:
            where = f"in {address} at {cluster.revision}"
            for cell in cells:
                if not _has_data(checkout.workspace, cell):
                    pushed = "commit and push it" if _has_data(cell.root, cell) else "and not in data/ here either"
                    yield f"cell {cell.name} has no data {where}: {pushed}; there are {_known(checkout.workspace)}"
            _warn_of_others(checkout, cells, cluster.revision, address)
            yield from _about_tasks(checkout, cells, where)
            if recorded:
                yield from _about_recordings(checkout, cells, where)
            yield from _about_dvc(checkout, cells, where, kept)
    except (ParamsError, DataError, NoRepositoryError) as exc:
        yield str(exc)
    except PolydistillError as exc:  # it may be that only the pods reach it, or have the token
        log.warning("only data/ here was looked at, and not whether %s has it: %s", cluster.revision, exc)
        for cell in cells:
            if not _has_data(cell.root, cell):
                yield f"cell {cell.name} has no data in {cell.root / 'data'}; there are {_known(cell.root)}"


def _only_from_here(address: Address) -> str | None:
    """Return why no pod can read a repository, None where one may."""
    url, parts = address.url, urlsplit(address.url)
    if address.over_ssh:
        return (
            f"cluster.repository: {url} is reached by ssh, for which the pods have no client and no key; write its "
            "https:// address, and put a token into the secret that cluster.secrets.git names"
        )
    if "://" not in url or parts.scheme == "file":
        return (
            f"cluster.repository: {url} is a folder of this machine, which no pod has; push it to a server, and give "
            "its address, such as https://git.example.com/team/texts.git"
        )
    if parts.hostname in THIS_MACHINE:
        return f"cluster.repository: {url} is this machine, and to a pod the pod itself; give the address of a server"
    return None


def _pointers(workspace: Path, cell: Cell) -> list[Path]:
    """Return the files that name, to DVC, what the cell is made of."""
    task = workspace / "data" / cell.task
    around = [task.parent.with_name("data.dvc"), task.with_name(f"{cell.task}.dvc"), task / "task.yaml.dvc"]
    around.append(task / f"{cell.language}.dvc")
    return [file for file in around if file.is_file()] + sorted((task / cell.language).glob("*.dvc"))


def _has_data(workspace: Path, cell: Cell) -> bool:
    """Return whether a cell has its files; in their place DVC may have a file that names them."""
    task = workspace / "data" / cell.task
    by_dvc = any(folder.with_name(f"{folder.name}.dvc").is_file() for folder in (task, task.parent))
    has_task = any((task / name).is_file() for name in ("task.yaml", "task.yaml.dvc"))
    has_texts = (task / cell.language).is_dir() or (task / f"{cell.language}.dvc").is_file()
    return by_dvc or (has_task and has_texts)


def _known(workspace: Path) -> str:
    tasks = sorted(
        {file.parent for name in ("task.yaml", "task.yaml.dvc") for file in workspace.glob(f"data/*/{name}")}
    )
    cells = {
        f"{task.name}/{entry.name.removesuffix('.dvc')}"
        for task in tasks
        for entry in task.iterdir()
        if entry.is_dir() or (entry.suffix == ".dvc" and entry.name != "task.yaml.dvc")
    }
    return ", ".join(sorted(cells)) or "none"


def _warn_of_others(checkout: Checkout, cells: Sequence[Cell], revision: str, address: Address) -> None:
    """Warn of files here that are not those of the revision, which the run reads."""
    others: dict[str, None] = {}
    for cell in cells:
        if not all(_has_data(root, cell) for root in (checkout.workspace, cell.root)):
            continue  # missing at the revision, which is refused; or here, where a run may be started without texts
        try:
            others |= dict.fromkeys(_others(checkout.workspace, cell))
        except (OSError, PolydistillError) as exc:  # only a warning would have come of it
            log.debug("data/%s here was not compared: %s", cell.name, exc)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        log.warning(
            "%s%s here are not what %s has in %s, and the run reads the latter; commit and push what it is to read, or "
            "name another revision",
            ", ".join(list(others)[:_SHOWN]),
            more,
            revision,
            address,
        )


def _others(at_revision: Path, cell: Cell) -> Iterator[str]:
    """Yield the files of a cell here that differ from those of the revision.

    Of what DVC keeps, only the files that name it are compared: git ignores the rest, and the revision has none of it.
    """
    pointers = {file.relative_to(root) for root in (at_revision, cell.root) for file in _pointers(root, cell)}
    folder = Path("data", cell.task)
    for name in (folder / "task.yaml", *(folder / cell.language / name for name in READ), *sorted(pointers)):
        here, there = cell.root / name, at_revision / name
        if there.is_file():
            differs = not here.is_file() or not filecmp.cmp(here, there, shallow=False)
        else:
            differs = here.is_file() and may_commit(cell.root, name)
        if differs:
            yield str(name)


def _about_tasks(checkout: Checkout, cells: Sequence[Cell], where: str) -> Iterator[str]:
    for name in dict.fromkeys(cell.task for cell in cells):
        file = checkout.workspace / "data" / name / "task.yaml"
        if not file.is_file():  # DVC has it, or it is missing, which has been said
            continue
        try:
            task = load_task(file)
        except PolydistillError as exc:
            yield f"{where}: {str(exc).replace(f'{checkout.workspace}/', '')}"
            continue
        for cell in cells:
            if cell.task == name and cell.language not in task.languages:
                yield f"cell {cell.name}: data/{name}/task.yaml {where} lists the languages {', '.join(task.languages)}"


def _about_recordings(checkout: Checkout, cells: Sequence[Cell], where: str) -> Iterator[str]:
    for cell in cells:
        folder = checkout.workspace / "data" / cell.task / cell.language
        names = ("recording.jsonl", "recording.jsonl.dvc")
        if folder.is_dir() and not any((folder / name).is_file() for name in names):
            yield (
                f"teacher.kind: recorded replays data/{cell.name}/recording.jsonl, which is not {where}; commit and "
                "push it, or take a teacher of kind openai or vllm"
            )


def _about_dvc(checkout: Checkout, cells: Sequence[Cell], where: str, kept: bool) -> Iterator[str]:
    by_dvc = {cell.name: files for cell in cells if (files := _pointers(checkout.workspace, cell))}
    if default_remote(checkout) is not None:
        if kept or by_dvc:
            yield from _remote_out_of_reach(checkout, where)
        return
    set_one = (
        "`dvc remote add --default storage s3://BUCKET/dvc`, `dvc push`, then commit .dvc/config and push the commit"
    )
    for name, files in by_dvc.items():
        shown = files[0].relative_to(checkout.workspace)
        yield f"cell {name}: DVC keeps what {shown} names, and no remote of DVC is set {where}; {set_one}"
    if kept and not by_dvc:
        log.warning(
            "no remote of DVC is set %s: nothing is kept of this run beside what Kubeflow keeps; %s", where, set_one
        )


def _remote_out_of_reach(checkout: Checkout, where: str) -> Iterator[str]:
    """Yield why no pod can read and write DVC's remote, nothing where one may."""
    settings = remote_settings(checkout)
    name, url = settings["name"], str(settings["url"])
    told = f"DVC's remote {default_remote(checkout)} {where}"
    then = "`dvc push`, then commit .dvc/config and push the commit"
    name_storage = f"name storage that speaks S3: `dvc remote modify {name} url s3://BUCKET/dvc`, {then}"
    scheme = url.partition("://")[0].lower() if "://" in url else "file"
    if scheme == "file":
        yield f"{told} is a folder of this machine, which no pod has; {name_storage}"
    elif scheme not in _CLIENTS:
        yield f"{told} is reached by {scheme}://, for which the image has no client; {name_storage}"
    elif scheme == "s3" and _host(endpoint := str(settings.get("endpointurl", ""))) in THIS_MACHINE:
        yield (
            f"{told} has the endpointurl {without_passwords(endpoint)}, which is this machine, and to a pod the pod "
            f"itself; give the address of a server: `dvc remote modify {name} endpointurl http://...`, {then}"
        )
    elif _host(url) in THIS_MACHINE:
        yield f"{told} is this machine, and to a pod the pod itself; {name_storage}"


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bracket that is not closed
        return None
