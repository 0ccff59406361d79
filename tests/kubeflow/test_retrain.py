"""Runs one after the other, as a schedule starts them: real git, DVC, S3, BentoML; Kubeflow is kfp's local runner."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kfp import local
from test_distill import fill, run_command

from git_server import bare, commit_all, git
from kube_server import KubeServer, deployment, kube_server
from pipelines.distill import distill
from pipelines.retrain import retrain
from polydistill.cluster.arguments import chain_arguments
from polydistill.cluster.due import VERDICT
from polydistill.cluster.registry import Registry, read_registry
from polydistill.cluster.store import Store, open_store
from polydistill.files import read_json, read_yaml, write_json
from polydistill.params import load_params
from s3_server import S3, s3_server

CELLS = ["clinic/sl", "clinic/sw"]
TEACHER = {
    "namespace": "polydistill",
    "deployment": "teacher",
    "replicas": 1,
    "ready_within_s": 60,
    "hold_within_s": 3600,
}

pytestmark = [
    pytest.mark.slow,
    # kfp doubts an image that has no "python" in its name.
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
]


class Cluster:
    """A project whose data stand in git and DVC's remote, a store of winners, and a teacher at zero."""

    def __init__(self, root: Path, s3: S3, kube: KubeServer) -> None:
        self.root, self.s3, self.kube = root, s3, kube
        self.checkout = root / "checkout"
        fill(self.checkout, CELLS)
        params = read_yaml(self.checkout / "params.yaml")
        params["cluster"] |= {"store": f"{s3.bucket}/winners", "teacher": TEACHER}
        write_json(self.checkout / "params.yaml", params)
        (self.checkout / ".gitignore").write_text("/work/\n")
        git(self.checkout, "init", "--quiet")
        run_command("dvc init --quiet", self.checkout)
        run_command(f"dvc remote add --quiet --default storage {s3.bucket}/dvc", self.checkout)
        self.keep("texts", "2026-03-01")
        self.repository = bare(self.checkout, root / "texts.git")

    def keep(self, message: str, day: str) -> None:
        """Commit what stands in the checkout; DVC's remote keeps the texts of one cell, git those of the other."""
        for command in ("dvc add --quiet data/clinic/sw", "dvc push --quiet"):
            run_command(command, self.checkout)
        commit_all(self.checkout, message, day)

    def run(self, pipeline: Any) -> Path:
        """Run a pipeline on the data that stand on the branch main now; return its outputs."""
        root = self.root / "runs" / pipeline.name
        shutil.rmtree(root, ignore_errors=True)
        local.init(
            local.SubprocessRunner(use_venv=False), pipeline_root=str(root), workspace_root=str(self.root / "shared")
        )
        pipeline(**chain_arguments(load_params(self.checkout / "params.yaml"), str(self.repository), "main"))
        (run,) = root.iterdir()
        return run

    def scaled(self) -> list[int]:
        """Return to how many pods the teacher was scaled since this was asked last."""
        found = [teacher["spec"]["replicas"] for teacher in self.kube.patched]
        self.kube.patched.clear()
        return found

    @property
    def store(self) -> Store:
        return open_store(f"{self.s3.bucket}/winners")

    @property
    def registry(self) -> Registry:
        return read_registry(self.store)[0]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as environment, s3_server() as s3, kube_server() as kube:
        s3.use(environment)
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("KUBECONFIG", str(kube.kubeconfig(root / "kubeconfig")))
        kube.add(deployment("polydistill", "teacher"))
        yield Cluster(root, s3, kube)


def test_a_first_run_and_what_a_schedule_makes_of_it(cluster: Cluster) -> None:
    # The first run: every winner is the first of its cell.
    run = cluster.run(distill)
    first = cluster.registry
    assert sorted(first.champions) == CELLS and first.serial == 1
    assert "# 2 of 2 cells promoted" in _only(run, "promote/summary").read_text()
    kept = read_json(_only(run, "snapshot/snapshot/snapshot.json"))
    assert kept["branch"] in git(cluster.repository, "branch", "--list", "runs/*")
    assert first.bento.url.startswith("s3://bucket/winners/")
    assert cluster.scaled() == [1, 0]

    # Nothing drifted, nothing is old: the run ends before the teacher is woken.
    run = cluster.run(retrain)
    assert {path.parent.name for path in run.rglob("executor_output.json")} == {"due", "teacher-down"}
    assert cluster.registry == first and cluster.scaled() == []

    # One language drifted; it is trained again on the same data, which is no reason to put the champion away.
    _drift(cluster.store, "clinic/sw")
    run = cluster.run(retrain)
    assert read_json(_only(run, "fetch/data/fetch.json"))["cells"].keys() == {"clinic/sw"}
    assert "# 0 of 1 cells promoted" in _only(run, "promote/summary").read_text()
    assert cluster.registry.champions == first.champions
    assert list(cluster.registry.lost) == ["clinic/sw"]
    assert cluster.scaled() == [1, 0]

    # It waits for other data, then, and the teacher sleeps on.
    run = cluster.run(retrain)
    assert "but the challenger of" in _only(run, "due/summary").read_text()
    assert cluster.scaled() == []

    # With newer data it takes the champion's place; the bento holds the other champion beside it.
    seeds = cluster.checkout / "data/clinic/sw/human.csv"
    lines = seeds.read_text("utf-8").splitlines(keepends=True)
    seeds.write_text("".join(lines[:-1]), "utf-8")
    cluster.keep("fewer human texts", "2026-04-01")
    git(cluster.checkout, "push", "--quiet", str(cluster.repository), "main")
    run = cluster.run(retrain)
    second = cluster.registry
    assert "# 1 of 1 cells promoted" in _only(run, "promote/summary").read_text()
    assert second.lost == {}
    assert second.serial == 2 and second.champions["clinic/sl"] == first.champions["clinic/sl"]
    assert second.champions["clinic/sw"].data.commit != first.champions["clinic/sw"].data.commit
    bento = next(run.rglob("package/bento"))
    assert (
        sorted(file.parent.relative_to(bento / "src/winners").as_posix() for file in bento.rglob("winner.json"))
        == CELLS
    )
    assert sorted(read_json(_only(run, "monitor/monitored/monitor.json"))["cells"]) == CELLS


def _only(run: Path, end: str) -> Path:
    (found,) = run.rglob(end)
    return found


def _drift(store: Store, cell: str) -> None:
    """Leave the verdict that the drift monitor leaves where a language has drifted."""
    verdicts = {name: {"retrain": name == cell, "reasons": ["labels moved by 0.40"]} for name in CELLS}
    content = {"schema_version": 1, "time": datetime.now(UTC).isoformat(), "cells": verdicts}
    store.write(VERDICT, json.dumps(content).encode())
