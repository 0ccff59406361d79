"""The pod of the service runs as manifests/ have it: from the wait for a first promotion to the last line it logs."""

import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from clients import classify
from kustomized import Object, built, of_kind, one

from conftest import Engine
from polydistill.cluster.due import VERDICT
from polydistill.cluster.shipping import TRAFFIC
from polydistill.cluster.store import Store, open_store
from polydistill.package import run_package
from polydistill.params import PackageParams
from polydistill.serve import rehearse
from promotions import TEXTS, Run, new_winner
from s3_server import S3, s3_server

pytestmark = pytest.mark.containers

PORT = "3017"
WITHIN_S = 120


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A store for this process and for the containers, which share the network of this machine."""
    with s3_server() as server:
        server.use(monkeypatch)
        yield server


class Pod:
    """Starts the containers of a pod one by one, with what its manifest gives each; ends those that still run."""

    def __init__(self, engine: Engine, image: str, user: str, folder: Path, variables: dict[str, str]) -> None:
        self.engine, self.image, self.user, self.folder, self.variables = engine, image, user, folder, variables
        self.stack = ExitStack()

    def start(self, container: Object) -> subprocess.Popen[str]:
        """Start a container; what it says goes to a file of its name."""
        given = {variable["name"]: variable["value"] for variable in container["env"]}
        variables = (self.variables if "envFrom" in container else {}) | given
        options = [f"--user={self.user}", *(f"--env={name}={value}" for name, value in variables.items())]
        limits = container["resources"]["limits"]
        options.append(f"--memory={limits['memory'].removesuffix('i').lower()}")
        for mount in container["volumeMounts"]:
            if mount["mountPath"] != "/tmp":  # which each gets from `running`
                volume = self.folder / mount["name"]
                volume.mkdir(mode=0o777, exist_ok=True)
                volume.chmod(0o777)  # in place of fsGroup
                options.append(f"--volume={volume}:{mount['mountPath']}" + (":ro" if mount.get("readOnly") else ""))
        told = [*container["command"], *container["args"]]
        command = [re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], argument) for argument in told]
        command = [argument.replace("--port=3000", f"--port={PORT}") for argument in command]
        log = self.stack.enter_context(self.log(container["name"]).open("w"))
        process = subprocess.Popen(
            self.engine.running(self.image, *command, options=options), stdout=log, stderr=subprocess.STDOUT, text=True
        )
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return process

    def log(self, name: str) -> Path:
        """Return the file with what a container said."""
        return self.folder / f"{name}.log"


@pytest.fixture
def pod(engine: Engine, core: str, user: str, s3: S3, tmp_path: Path) -> Iterator[Pod]:
    """A pod whose containers find the store as the overlay `local` would have them find it."""
    configs = of_kind(built("local"), "ConfigMap")
    (config,) = (found for found in configs if found["metadata"]["name"].startswith("polydistill-store-"))
    variables = config["data"] | s3.environment | {"POLYDISTILL_STORE": f"{s3.bucket}/polydistill"}
    started = Pod(engine, core, user, tmp_path, variables)
    with started.stack:
        yield started


def wait_until(condition: Any, process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


def answers(path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def read(store: Store, path: str) -> bytes:
    found = store.read(path)
    assert found, path
    return found[0]


def promote(store_url: str, work: Path) -> None:
    """Promote the winner of one cell, trained/winners/clinic/sl, in a bento of its own."""
    run = Run(store_url, work / "runs", "spring")
    run.win(new_winner(work / "trained", "clinic/sl", TEXTS), "clinic/sl")
    trained = work / "trained"
    run_package(trained / "winners", trained / "cards", run.work / "bento", PackageParams(name="polydistill"))
    run.promote()


def test_the_service_waits_fetches_serves_and_ships_its_log(pod: Pod, s3: S3, tmp_path: Path) -> None:
    spec = one(built("local"), "Deployment", "serving")["spec"]["template"]["spec"]
    fetch, ship = spec["initContainers"]
    (serve,) = spec["containers"]
    store_url = f"{s3.bucket}/polydistill"

    fetching = pod.start(fetch)
    wait_until(lambda: "waiting for the first" in pod.log("fetch-bento").read_text(), fetching, pod.log("fetch-bento"))
    promote(store_url, tmp_path)
    assert fetching.wait(WITHIN_S) == 0, pod.log("fetch-bento").read_text()
    assert "SHA-256 as it should be" in pod.log("fetch-bento").read_text()

    shipping, serving = pod.start(ship), pod.start(serve)
    wait_until(lambda: answers(serve["readinessProbe"]["httpGet"]["path"]), serving, pod.log("serving"))
    assert answers(serve["livenessProbe"]["httpGet"]["path"])
    url = f"http://127.0.0.1:{PORT}"
    assert len(rehearse(url, tmp_path / "trained" / "winners")) == 40  # which is not logged
    asked = ["Rada bi naročila termin.", "Žal odpovedujem obisk."]
    assert [found["label"] for found in classify(url, asked, "sl")] == ["book", "cancel"]

    for process, name in ((serving, "serving"), (shipping, "ship-traffic")):  # the sidecar last
        process.terminate()
        assert process.wait(spec["terminationGracePeriodSeconds"]) == 0, pod.log(name).read_text()
    store = open_store(store_url)
    lines = [line for path in store.paths(TRAFFIC) for line in read(store, path).splitlines()]
    assert sorted(json.loads(line)["text"] for line in lines) == sorted(asked)

    job = one(built("local"), "CronJob", "monitor")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    params = one(built("local"), "ConfigMap", "polydistill-params")["data"]["params.yaml"]
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "params.yaml").write_text(params, encoding="utf-8")
    assert pod.start(job["containers"][0]).wait(WITHIN_S) == 0, pod.log("monitor").read_text()
    assert json.loads(read(store, VERDICT))["days"] == 7
