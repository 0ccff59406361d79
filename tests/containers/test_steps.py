"""The demo's pipeline on kfp's DockerRunner, every step in its image and as confined as in a cluster, beside DVC's run.

The repository is a git server's, what is promoted goes to an S3 server, and the teacher is scaled by an API server.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from container_engine import REGISTRY, REPOSITORY, START_S, TAG, Engine
from kfp import compiler, components, local

from git_server import TOKEN, USER, bare, commit_all, git, git_server
from kube_server import deployment, kube_server
from pipelines.distill import distill
from polydistill.cluster.arguments import chain_arguments
from polydistill.cluster.placement import place
from polydistill.files import digest, read_json, read_yaml, write_json
from polydistill.params import load_params
from polydistill.serve import rehearse
from s3_server import s3_server

CELLS = ["clinic/sl", "clinic/sw"]
TINY = {"train": {"sizes": [10, 20], "runs": 2}, "measure": {"max_texts": 20}}
TEACHER = {
    "namespace": "polydistill",
    "deployment": "teacher",
    "replicas": 1,
    "ready_within_s": 60,
    "hold_within_s": 600,
}

pytestmark = [
    pytest.mark.containers,
    # kfp says that what a cluster heeds has no effect here.
    pytest.mark.filterwarnings("ignore:Task .* settings .* have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
]


class Run(NamedTuple):
    """What is left of the same data and parameters, run by DVC and run in the images."""

    workspace: Path
    outputs: Path
    repository: Path
    promoted: list[str]
    scaled: list[int]
    steps: set[str]


@pytest.fixture(scope="module")
def run(engine: Engine, core: str, user: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    workspace, root = folder / "workspace", folder / "root"
    root.mkdir()
    root.chmod(0o777)  # the containers run as somebody else
    folder.chmod(0o755)
    with git_server(folder / "git") as git_there, s3_server() as s3, kube_server() as kube:
        kube.add(deployment("polydistill", "teacher"))
        shutil.copytree(REPOSITORY / "data/clinic", workspace / "data/clinic")
        shutil.copy(REPOSITORY / "dvc.yaml", workspace)
        write_params(workspace, f"{git_there.url}/texts", f"{s3.bucket}/polydistill")
        git(workspace, "init", "--quiet")
        dvc(workspace, "init --quiet")
        dvc(workspace, f"remote add --quiet --default store {s3.bucket}/dvc")
        commit_all(workspace)
        repository = bare(workspace, git_there.folder / "texts")
        dvc(workspace, "repro --quiet evaluate select")
        environment = {
            **s3.environment,
            "GIT_USERNAME": USER,
            "GIT_TOKEN": TOKEN,
            "KUBECONFIG": str(kube.kubeconfig(root / "kubeconfig")),
            "OMP_NUM_THREADS": "1",
        }
        params = load_params(workspace / "params.yaml")
        compiled = folder / "distill.yaml"
        compiler.Compiler().compile(distill, str(compiled))
        pipeline = components.load_component_from_text(place(compiled.read_text("utf-8"), params))
        runner = local.DockerRunner(
            network_mode="host",
            read_only=True,
            tmpfs={"/tmp": ""},
            user=user,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            environment=environment,
        )
        local.init(runner, pipeline_root=str(root))
        with pytest.MonkeyPatch.context() as ours:
            for name, value in engine.environment.items():
                ours.setenv(name, value)
            pipeline(**chain_arguments(params, f"{git_there.url}/texts", "main"))
        (outputs,) = (path for path in root.iterdir() if path.is_dir())
        executors = read_yaml(compiled)["deploymentSpec"]["executors"]
        yield Run(
            workspace,
            outputs,
            repository,
            s3.keys(),
            [patched["spec"]["replicas"] for patched in kube.patched],
            {name.removeprefix("exec-") for name in executors},
        )


def write_params(workspace: Path, repository: str, store: str) -> None:
    params = read_yaml(REPOSITORY / "params.yaml") | {"cells": CELLS}
    for section, values in TINY.items():
        params[section] |= values
    params["cluster"] |= {
        "repository": repository,
        "store": store,
        "registry": REGISTRY,
        "tag": TAG,
        "teacher": TEACHER,
    }
    write_json(workspace / "params.yaml", params)  # JSON is YAML


def dvc(workspace: Path, arguments: str) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "true",
    }
    command = [sys.executable, "-m", "dvc", *arguments.split()]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_step_ran(run: Run) -> None:
    ran = {path.parent.name for path in run.outputs.rglob("executor_output.json")}
    assert ran == run.steps


@pytest.mark.parametrize("cell", CELLS)
def test_the_winner_is_that_of_dvc(run: Run, cell: str) -> None:
    (winner,) = run.outputs.glob(f"package/bento/src/winners/{cell}")
    of_dvc = run.workspace / "work/winners" / cell
    assert digest(winner / "model") == digest(of_dvc / "model")
    assert read_json(winner / "winner.json")["digests"] == read_json(of_dvc / "winner.json")["digests"]


def test_the_bento_is_promoted_and_the_run_kept_in_git(run: Run) -> None:
    assert "polydistill/registry.json" in run.promoted
    assert any(branch.strip().startswith("runs/") for branch in git(run.repository, "branch").splitlines())


def test_the_teacher_was_scaled_up_and_down(run: Run) -> None:
    assert run.scaled[0] == 1 and run.scaled[-1] == 0


def test_the_bento_is_served_as_in_the_pod(run: Run, engine: Engine, core: str, user: str) -> None:
    pod = yaml.safe_load((REPOSITORY / "manifests/base/serving/deployment.yaml").read_text("utf-8"))["spec"]["template"]
    (serving,) = (container for container in pod["spec"]["containers"] if container["name"] == "serving")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name, url = f"polydistill-serving-{port}", f"http://127.0.0.1:{port}"
    options = [f"--name={name}", f"--user={user}", f"--volume={run.outputs / 'package/bento'}:/srv/bento:ro"]
    options += [
        "--tmpfs=/var/log/polydistill",
        *(f"--env={set_to['name']}={set_to['value']}" for set_to in serving["env"]),
    ]
    command = engine.running(core, *serving["command"], "--host=127.0.0.1", f"--port={port}", options=options)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(url):
            assert server.poll() is None and time.monotonic() < deadline, engine("logs", name)
            time.sleep(0.1)
        assert len(rehearse(url, run.workspace / "work/winners")) > 20
        assert engine("exec", name, "wc", "-l", "/var/log/polydistill/traffic.jsonl")
    finally:
        engine("rm", "--force", name)
        server.communicate()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return True
    except OSError:
        return False
