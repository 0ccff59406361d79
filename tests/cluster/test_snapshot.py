"""What is kept of a run: real git repositories, real DVC, a real S3 server; only what the steps write is made up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from git_server import READER, TOKEN, USER, bare, commit_all, git, git_server
from polydistill.cluster.bundle import ROOMS, run_bundle
from polydistill.cluster.fetch import run_fetch
from polydistill.cluster.snapshot import run_snapshot, told_in_markdown
from polydistill.errors import PolydistillError
from polydistill.files import digest, read_json, read_yaml
from polydistill.params import load_params, to_struct
from polydistill.workspace import render_workspace
from s3_server import S3

CELLS = ("clinic/sl", "clinic/sw")
OF_CELL = {
    "prepared": ("prepare.json", "seeds.parquet"),
    "heldout": ("test.parquet",),
    "generated": ("samples.parquet", "usage.json", "journal/openai-plain.jsonl"),
    "filtered": ("accepted.parquet",),
    "measured": ("metrics.json", "diversity.json", "labels.json", "gates.json", "drift.html"),
    "evaluated": ("evaluation.json", "curves.csv"),  # its journal is empty, as no teacher was asked
    "selected": ("winner.json",),
}


class Run:
    """The outputs of a run, as components leave them, beside a workspace that holds the same ones in work/."""

    def __init__(self, folder: Path, cells: Sequence[str] = CELLS, word: str = "one") -> None:
        self.folder, self.cells = folder, cells
        self.work = folder / "work"
        for cell in cells:
            for room, names in OF_CELL.items():
                for name in names:
                    write(self.work / cell / room / name, f'{{"{room}": "{cell} {word}"}}\n')
            write(self.work / cell / "trained/linear/train.json", '{"schema_version": 3, "student": "linear"}')
            write(self.work / cell / "trained/linear/model/weights", f"{cell} {word}")
            write(self.work / "winners" / cell / "winner.json", f'{{"cell": "{cell}"}}')
            write(self.work / "winners" / cell / "model/weights", f"{cell} {word}")
            write(self.work / "cards" / cell / "card.json", f'{{"cell": "{cell} {word}"}}')
            shutil.copytree(self.work / "winners" / cell, self.work / "bento/src/winners" / cell, dirs_exist_ok=True)
        write(self.work / "report/index.html", f"<html>{word}</html>")

    @property
    def bundles(self) -> list[Path]:
        for cell in self.cells:
            run_bundle(
                cell,
                {room: self.work / cell / room for room in ROOMS},
                [self.work / cell / "trained/linear"],
                self.work / "winners" / cell,
                self.work / "cards" / cell,
                self.folder / "bundles" / cell,
            )
        return [self.folder / "bundles" / cell for cell in self.cells]

    @property
    def across(self) -> dict[str, Path]:
        return {name: self.work / name for name in ("report", "bento")}


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, "utf-8")


def dvc(folder: Path, *arguments: str) -> str:
    """Run DVC as a user does."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = os.environ | {"DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def new_project(root: Path, remote: str | None, folder: str = "") -> Path:
    """Make a checkout of a workspace with two cells, and return the bare repository that it came from."""
    workspace = root / "checkout" / folder
    write(workspace / "params.yaml", render_workspace("params.yaml", cells=CELLS, preset="own"))
    write(workspace / "dvc.yaml", render_workspace("dvc.yaml", recorded=False))
    write(workspace / ".dvc/plots/curves.json", render_workspace("curves.json"))
    write(workspace / "dvc.lock", "schema: '2.0'\nstages:\n  prepare@clinic/sl:\n    cmd: as it was in January\n")
    write(workspace / ".gitignore", "/work/\n")
    write(workspace / "data/clinic/task.yaml", "name: clinic\n")
    for cell in CELLS:
        write(workspace / "data" / cell / "seeds.csv", f"text,label\nseed of {cell},greeting\n")
    git(root / "checkout", "init", "--quiet")
    shutil.rmtree(workspace / ".dvc")
    dvc(workspace, "init", "--quiet", *(["--subdir"] if folder else []))
    write(workspace / ".dvc/plots/curves.json", render_workspace("curves.json"))
    if remote:
        dvc(workspace, "remote", "add", "--quiet", "--default", "storage", remote)
        dvc(workspace, "add", "--quiet", "data/clinic/sw")
        dvc(workspace, "push", "--quiet")
    commit_all(root / "checkout")
    (root / "served").mkdir()
    return bare(root / "checkout", root / "served/texts.git")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose remote is a folder; each test keeps a run of its own name in it."""
    root = tmp_path_factory.mktemp("project")
    new_project(root, str(root / "storage"))
    return root


@pytest.fixture
def repository(project: Path) -> str:
    return str(project / "served/texts.git")


@pytest.fixture
def data(repository: str, tmp_path: Path) -> Path:
    run_fetch(repository, "main", CELLS, tmp_path / "data")
    return tmp_path / "data"


def branches(repository: str) -> dict[str, str]:
    lines = git(Path(repository), "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return dict(line.split() for line in lines)


def stored(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def comments(text: str) -> list[str]:
    return [comment for line in text.splitlines() if (comment := line.partition("#")[2])]


def check_out(url: str, branch: str, folder: Path) -> Path:
    """Do what a reviewer does."""
    git(folder.parent, "clone", "--quiet", url, str(folder))
    git(folder, "checkout", "--quiet", branch)
    dvc(folder, "pull", "--quiet")
    return folder


def test_a_review_checks_out_what_the_run_read_and_wrote(
    tmp_path: Path, s3: S3, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    repository = new_project(tmp_path, store_url)
    run = Run(tmp_path / "run")
    with git_server(tmp_path / "served") as server:
        url = f"{server.url}/texts.git"
        run_fetch(url, "main", CELLS, tmp_path / "data")
        told = run_snapshot(url, tmp_path / "data", "run 7", {}, run.bundles, run.across, tmp_path / "snapshot")
        assert any(url in command for command in server.commands)
        assert all(TOKEN not in command for command in server.commands)
    assert told["branch"] == "runs/run-7" and branches(str(repository))["runs/run-7"] == told["commit"]
    assert "git checkout runs/run-7 && dvc pull" in told_in_markdown(told)

    review = check_out(str(repository), "runs/run-7", tmp_path / "review")
    assert stored(review / "work") == stored(run.work)
    assert digest(review / "work") == digest(run.work)
    assert (review / "data/clinic/sw/seeds.csv").read_text("utf-8") == "text,label\nseed of clinic/sw,greeting\n"
    assert "up to date" in dvc(review, "status")
    assert git(review, "status", "--porcelain") == ""

    lineage = read_json(review / "lineage/run-7.json")
    assert lineage == read_json(tmp_path / "snapshot/lineage.json")
    assert lineage["run"] == "run 7" and lineage["data"]["commit"] == git(review, "rev-parse", "HEAD~1")
    assert lineage["parameters"] == digest(review / "params.yaml")
    for cell, outputs in lineage["outputs"].items():
        folders = {"winners": f"winners/{cell}", "cards": f"cards/{cell}"}
        assert len(outputs) == len(OF_CELL) + 3
        assert outputs == {name: digest(review / "work" / folders.get(name, f"{cell}/{name}")) for name in outputs}
    metrics = "work/clinic/sl/measured/metrics.json"
    assert (review / "lineage/run-7" / metrics).read_bytes() == (run.work.parent / metrics).read_bytes()

    secrets = [TOKEN, s3.environment["AWS_SECRET_ACCESS_KEY"], s3.environment["AWS_ACCESS_KEY_ID"]]
    told_files = [file for file in review.rglob("*") if file.is_file() and ".dvc/cache" not in str(file)]
    assert not [file for file in told_files for secret in secrets if secret.encode() in file.read_bytes()]


def test_a_second_call_changes_nothing(project: Path, repository: str, data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", CELLS[:1])
    first = run_snapshot(repository, data, "twice", {}, run.bundles, run.across, tmp_path / "snapshot")
    before = branches(repository), stored(project / "storage"), digest(tmp_path / "snapshot")
    second = run_snapshot(repository, data, "twice", {}, run.bundles, run.across, tmp_path / "snapshot")
    assert second == first
    assert (branches(repository), stored(project / "storage"), digest(tmp_path / "snapshot")) == before


KEEP = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from cluster.test_snapshot import Run
from polydistill.cluster.snapshot import run_snapshot
run = Run(Path({folder!r}), ["clinic/sl"])
run_snapshot({repository!r}, Path({data!r}), "killed", {{}}, run.bundles, run.across, Path({snapshot!r}))
"""


@pytest.mark.slow
def test_a_call_that_is_killed_is_completed_by_the_next(
    project: Path, repository: str, data: Path, tmp_path: Path
) -> None:
    """It is killed when DVC's remote has everything and the branch is on its way."""
    others = branches(repository)
    hook, reached = Path(repository, "hooks/pre-receive"), tmp_path / "reached"
    write(hook, f"#!/bin/sh\ntouch {reached}\nexec sleep 60\n")
    hook.chmod(0o755)
    code = KEEP.format(
        tests=str(Path(__file__).parents[1]),
        folder=str(tmp_path / "run"),
        repository=repository,
        data=str(data),
        snapshot=str(tmp_path / "snapshot"),
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        while not reached.exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        hook.unlink()
    assert branches(repository) == others and not (tmp_path / "snapshot").exists()

    run = Run(tmp_path / "run", CELLS[:1])
    told = run_snapshot(repository, data, "killed", {}, run.bundles, run.across, tmp_path / "snapshot")
    assert branches(repository) == {**others, "runs/killed": told["commit"]}
    assert stored(tmp_path / "snapshot") == {"snapshot.json", "lineage.json"}


def test_a_branch_with_other_content_stays_as_it_is(project: Path, repository: str, data: Path, tmp_path: Path) -> None:
    run, other = Run(tmp_path / "run", CELLS[:1]), Run(tmp_path / "other", CELLS[:1], "two")
    run_snapshot(repository, data, "taken", {}, run.bundles, run.across, tmp_path / "snapshot")
    before = branches(repository), stored(project / "storage")
    with pytest.raises(PolydistillError, match=r"^branch runs/taken of .* is there already with other content"):
        run_snapshot(repository, data, "taken", {}, other.bundles, other.across, tmp_path / "again")
    assert (branches(repository), stored(project / "storage")) == before
    assert not (tmp_path / "again").exists()


def test_the_branch_tells_of_the_cells_stages_and_parameters_of_the_run(
    project: Path, repository: str, data: Path, tmp_path: Path
) -> None:
    params = load_params(project / "checkout/params.yaml")
    train = params.train.model_copy(update={"sizes": [10, 20], "runs": 3})
    struct = json.dumps({"train": to_struct(train), "prepare": to_struct(params.prepare)})
    sections = json.loads(struct, parse_int=float)  # as Kubeflow passes them on
    run = Run(tmp_path / "run", cells=["clinic/sw"])
    told = run_snapshot(repository, data, "some", sections, run.bundles, run.across, tmp_path / "snapshot")
    review = check_out(repository, told["branch"], tmp_path / "review")

    stages = "prepare generate filter measure train evaluate select card".split()
    wanted = {f"{stage}@clinic/sw{'-linear' * (stage == 'train')}" for stage in stages} | {"report", "package"}
    assert set(read_yaml(review / "dvc.lock")["stages"]) == wanted
    assert "up to date" in dvc(review, "status")
    now = load_params(review / "params.yaml")
    assert now == params.model_copy(update={"cells": ["clinic/sw"], "train": train})
    before, after = ((root / "params.yaml").read_text("utf-8") for root in (project / "checkout", review))
    assert comments(after) == comments(before)
    assert "  url: http://localhost:8000/v1\n" in after and "steps: null" in after


def test_a_bento_that_holds_champions_of_other_cells_is_kept_beside_the_pipeline(
    project: Path, repository: str, data: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run", cells=["clinic/sw"])
    write(run.work / "bento/src/winners/clinic/sl/winner.json", '{"cell": "clinic/sl"}')
    write(run.work / "bento/src/winners/clinic/sl/model/weights", "a champion")
    told = run_snapshot(repository, data, "mixed", {}, run.bundles, run.across, tmp_path / "snapshot")
    review = check_out(repository, told["branch"], tmp_path / "review")
    assert digest(review / "snapshot/bento") == digest(run.work / "bento")
    assert "package" not in read_yaml(review / "dvc.yaml")["stages"]
    assert git(review, "status", "--porcelain") == ""
    assert "up to date" in dvc(review, "status")


@pytest.mark.slow
def test_a_workspace_may_be_a_folder_of_the_repository(tmp_path: Path) -> None:
    bare_repository = new_project(tmp_path, str(tmp_path / "storage"), folder="classifiers")
    address = f"{bare_repository}#classifiers"
    run_fetch(address, "main", CELLS, tmp_path / "data")
    run = Run(tmp_path / "run", CELLS[:1])
    told = run_snapshot(address, tmp_path / "data", "sub", {}, run.bundles, run.across, tmp_path / "snapshot")
    git(tmp_path, "clone", "--quiet", "--branch", told["branch"], str(bare_repository), "review")
    dvc(tmp_path / "review/classifiers", "pull", "--quiet")
    assert digest(tmp_path / "review/classifiers/work") == digest(run.work)
    assert "up to date" in dvc(tmp_path / "review/classifiers", "status")


def test_a_branch_that_another_adds_at_the_same_time_stays_as_it_is(
    project: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    run, served = Run(tmp_path / "run", CELLS[:1]), project / "served/texts.git"
    with git_server(project / "served") as server:
        server.before_push = lambda: git(served, "branch", "--force", "runs/race", "main")
        with pytest.raises(PolydistillError, match=r"^branch runs/race of .* is there already with other content"):
            run_snapshot(f"{server.url}/texts.git", data, "race", {}, run.bundles, run.across, tmp_path / "snapshot")
    assert branches(str(served))["runs/race"] == branches(str(served))["main"]


@pytest.mark.parametrize(
    ("remote", "revision", "reason"),
    [
        pytest.param(None, "main", "no remote of DVC is set there", id="no-remote"),
        pytest.param("../storage", "main", "no remote of DVC is set there", id="beside-the-checkout"),
        pytest.param(None, "", "no commit to build a branch on", id="no-commit"),
    ],
)
def test_where_nothing_can_be_kept_that_is_said(
    tmp_path: Path, remote: str | None, revision: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    new_project(tmp_path, remote)
    repository = str(tmp_path / "checkout")
    run_fetch(repository, revision, ["clinic/sl"], tmp_path / "data")
    run = Run(tmp_path / "run", cells=["clinic/sl"])
    before = branches(repository)
    told = run_snapshot(repository, tmp_path / "data", "r", {}, run.bundles, run.across, tmp_path / "snapshot")
    assert told["branch"] is None and reason in told["reason"] and reason in caplog.text
    assert read_json(tmp_path / "snapshot/snapshot.json") == told
    assert reason in told_in_markdown(told)
    assert branches(repository) == before


def test_a_user_who_may_only_read_is_told_so(
    project: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", READER)
    run = Run(tmp_path / "run", CELLS[:1])
    with git_server(project / "served") as server:
        url = f"{server.url}/texts.git"
        with pytest.raises(PolydistillError) as failed:
            run_snapshot(url, data, "reader", {}, run.bundles, run.across, tmp_path / "snapshot")
    told = f"cannot add the branch runs/reader to {url}: the user may not do that"
    assert str(failed.value).startswith(told) and READER not in str(failed.value)


def test_a_remote_that_refuses_is_told_of_and_no_branch_is_added(
    project: Path, repository: str, data: Path, tmp_path: Path
) -> None:
    before = branches(repository)
    run = Run(tmp_path / "run", CELLS[:1], "refused")
    (project / "storage").rename(tmp_path / "storage")
    write(project / "storage", "no folder")
    try:
        with pytest.raises(PolydistillError, match="^cannot write the outputs of the run to DVC's remote"):
            run_snapshot(repository, data, "refused", {}, run.bundles, run.across, tmp_path / "snapshot")
    finally:
        (project / "storage").unlink()
        (tmp_path / "storage").rename(project / "storage")
    assert branches(repository) == before
