"""The demo's pipeline on kfp's DockerRunner, every step in its image and as confined as in a cluster, beside DVC's run.

The repository is a git server's, what is promoted goes to an S3 server, and the teacher is scaled by an API server.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from clients import classify
from container_engine import REGISTRY, REPOSITORY, START_S, TAG, Engine
from kfp import compiler, components, local

from git_server import TOKEN, USER, bare, commit_all, git, git_server
from kube_server import deployment, kube_server
from pipelines.ablate import ablate
from pipelines.distill import distill
from polydistill.ablate.variants import Variant
from polydistill.cluster.arguments import ablate_arguments, chain_arguments
from polydistill.cluster.placement import place
from polydistill.files import digest, read_json, read_yaml, write_json
from polydistill.params import Params, load_params
from polydistill.serve import rehearse
from s3_server import S3, s3_server

CELLS = ["clinic/sl", "clinic/sw"]
TEACHER = {"namespace": "polydistill", "deployment": "teacher", "replicas": 1}
TEACHER |= {"ready_within_s": 60, "hold_within_s": 600}
# What the secret of the storage holds.
STORAGE = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION")

pytestmark = [
    pytest.mark.containers,
    # kfp says that what a cluster heeds has no effect here.
    pytest.mark.filterwarnings("ignore:Task .* settings .* have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
]

Launch = Callable[[Any, Path, Params, Mapping[str, Any], Mapping[str, str]], Path]


class Run(NamedTuple):
    """What is left of the same data and parameters, run by DVC and run in the images."""

    workspace: Path
    outputs: Path
    repository: Path
    promoted: list[str]
    scaled: list[int]


@pytest.fixture(scope="module")
def launch(engine: Engine, core: str, user: str) -> Launch:
    """Runs a pipeline in the images: pipeline, root folder, settings, arguments, environment; returns its outputs."""

    def launch(
        pipeline: Any, root: Path, params: Params, arguments: Mapping[str, Any], environment: Mapping[str, str]
    ) -> Path:
        root.mkdir(exist_ok=True)
        root.chmod(0o777)  # the containers run as somebody else
        compiled = root.with_name(f"{root.name}.yaml")
        # Read again, a pipeline that is called as one of its steps would be taken for that step.
        compiler.Compiler().compile(pipeline, str(compiled), pipeline_name="tested")
        compiled.write_text(place(compiled.read_text("utf-8"), params), "utf-8")
        runner = local.DockerRunner(
            network_mode="host",
            read_only=True,
            tmpfs={"/tmp": ""},
            user=user,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            environment={**environment, "OMP_NUM_THREADS": "1"},
        )
        local.init(runner, pipeline_root=str(root))
        with pytest.MonkeyPatch.context() as ours:
            for name, value in engine.environment.items():
                ours.setenv(name, value)
            components.load_component_from_file(str(compiled))(**arguments)
        (outputs,) = root.glob("tested-*")
        # kfp takes a step that failed for one that ended well where its container is gone before kfp looks.
        executors = next(yaml.safe_load_all(compiled.read_text("utf-8")))["deploymentSpec"]["executors"]
        ran = {path.parent.name for path in outputs.rglob("executor_output.json")}
        assert ran == {name.removeprefix("exec-") for name in executors}
        return outputs

    return launch


@pytest.fixture(scope="module")
def run(launch: Launch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    workspace, root = folder / "workspace", folder / "root"
    with git_server(folder / "git") as git_there, s3_server() as s3, kube_server() as kube:
        url = f"{git_there.url}/texts"
        kube.add(deployment("polydistill", "teacher"))
        params = fill(workspace, {"repository": url, "store": f"{s3.bucket}/polydistill", "teacher": TEACHER})
        repository = commit(workspace, s3, git_there.folder / "texts")
        dvc(workspace, "repro --quiet evaluate select", s3)
        root.mkdir()
        secrets = {name: s3.environment[name] for name in STORAGE} | {"GIT_USERNAME": USER, "GIT_TOKEN": TOKEN}
        environment = {**secrets, "KUBECONFIG": str(kube.kubeconfig(root / "kubeconfig"))}
        outputs = launch(distill, root, params, chain_arguments(params, url, "main"), environment)
        scaled = [patched["spec"]["replicas"] for patched in kube.patched]
        yield Run(workspace, outputs, repository, s3.keys(), scaled)


def fill(workspace: Path, cluster: Mapping[str, Any], **train: Any) -> Params:
    """Write the demo's workspace with few and small trainings, and return its settings."""
    shutil.copytree(REPOSITORY / "data/clinic", workspace / "data/clinic")
    shutil.copy(REPOSITORY / "dvc.yaml", workspace)
    params = read_yaml(REPOSITORY / "params.yaml") | {"cells": CELLS}
    params["train"] |= {"sizes": [10, 20], "runs": 2, **train}
    params["measure"] |= {"max_texts": 20}
    params["cluster"] |= {"registry": REGISTRY, "tag": TAG, **cluster}
    write_json(workspace / "params.yaml", params)  # JSON is YAML
    return load_params(workspace / "params.yaml")


def commit(workspace: Path, s3: S3, repository: Path) -> Path:
    """Make a git repository of the workspace, with a remote of DVC, and put it where the server has it."""
    git(workspace, "init", "--quiet")
    dvc(workspace, "init --quiet", s3)
    dvc(workspace, f"remote add --quiet --default store {s3.bucket}/dvc", s3)
    commit_all(workspace)
    return bare(workspace, repository)


def dvc(workspace: Path, arguments: str, s3: S3) -> None:
    beside_python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **s3.environment, "PATH": beside_python, "DVC_NO_ANALYTICS": "true"}
    command = [sys.executable, "-m", "dvc", *arguments.split()]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cell", CELLS)
def test_the_winner_is_that_of_dvc(run: Run, cell: str) -> None:
    here, of_dvc = run.outputs / "package/bento/src/winners" / cell, run.workspace / "work/winners" / cell
    assert digest(here / "model") == digest(of_dvc / "model")
    assert digest(here / "winner.json") == digest(of_dvc / "winner.json")


def test_the_run_is_promoted_and_kept_in_git_and_storage(run: Run) -> None:
    assert "polydistill/registry.json" in run.promoted
    assert any(key.startswith("dvc/") for key in run.promoted)
    assert git(run.repository, "for-each-ref", "--format=%(refname:short)", "refs/heads/runs")


def test_the_teacher_is_up_while_it_runs(run: Run) -> None:
    assert (run.scaled[0], run.scaled[-1]) == (1, 0)


def test_the_bento_is_served_as_in_its_pod(run: Run, engine: Engine, core: str, user: str) -> None:
    pod = yaml.safe_load((REPOSITORY / "manifests/base/serving/deployment.yaml").read_text("utf-8"))["spec"]["template"]
    (serving,) = (container for container in pod["spec"]["containers"] if container["name"] == "serving")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    name, url = f"polydistill-serving-{port}", f"http://127.0.0.1:{port}"
    options = [f"--name={name}", f"--user={user}", f"--volume={run.outputs / 'package/bento'}:/srv/bento:ro"]
    options += [f"--env={variable['name']}={variable['value']}" for variable in serving["env"]]
    options.append("--tmpfs=/var/log/polydistill")
    command = engine.running(core, *serving["command"], "--host=127.0.0.1", f"--port={port}", options=options)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + START_S
        while not is_ready(url):
            assert server.poll() is None and time.monotonic() < deadline, engine("logs", name)
            time.sleep(0.1)
        assert len(rehearse(url, run.workspace / "work/winners")) > 20  # which is not logged
        (found,) = classify(url, ["Kdaj ste odprti ob sobotah?"], "sl")
        logged = engine("exec", name, "cat", "/var/log/polydistill/traffic.jsonl")
        assert [json.loads(line)["label"] for line in logged.splitlines()] == [found["label"]]
    finally:
        engine("rm", "--force", name)
        server.communicate()


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return True
    except OSError:
        return False


def test_an_encoder_is_trained_in_the_image_for_it(
    launch: Launch, engine: Engine, train: str, user: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    made = "import pathlib, tiny; tiny.make_xlmr(pathlib.Path('/made/xlmr'))"
    options = [f"--volume={REPOSITORY}:/repository:ro", f"--volume={root}:/made", f"--user={user}"]
    engine.run(train, "python", "-c", made, options=[*options, "--env=PYTHONPATH=/repository/tests/neural"])

    encoder = read_yaml(REPOSITORY / "params.yaml")["train"]["encoder"]
    encoder |= {"model": str(root / "xlmr"), "revision": None, "max_tokens": 32, "epochs": 1, "min_steps": 0}
    settings = {"students": ["encoder"], "sizes": [20], "runs": 1, "encoder": encoder}
    texts = tmp_path / "texts"
    params = fill(texts, {"model_cache": None}, sources=["synthetic"], **settings)
    params = params.model_copy(update={"cells": CELLS[:1]})
    with git_server(tmp_path / "git") as there:
        git(texts, "init", "--quiet")
        commit_all(texts)
        bare(texts, there.folder / "texts")
        arguments = ablate_arguments(params, [Variant("tiny", {})], f"{there.url}/texts", "main")
        outputs = launch(ablate, root, params, arguments, {"GIT_USERNAME": USER, "GIT_TOKEN": TOKEN})
    (evaluation,) = outputs.rglob("evaluation.json")
    assert read_json(evaluation)["students"]["encoder"]["final"]["accuracy"] > 0
    assert "tiny" in (outputs / "ablate/table").read_text("utf-8")
