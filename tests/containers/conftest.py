"""The images of a CPU, as `make` builds them."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_engine import REGISTRY, REPOSITORY, START_S, TAG, Engine

TORCH_FOR_CPU = "https://download.pytorch.org/whl/cpu"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    if _works("docker", "info"):
        yield Engine("docker", {})
    elif _works("podman", "info"):
        address = f"unix://{tmp_path_factory.mktemp('podman')}/podman.sock"
        service = subprocess.Popen(["podman", "system", "service", "--time=0", address], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_S
            while not _works("podman", "--url", address, "version"):
                assert service.poll() is None and time.monotonic() < deadline, "podman's service does not start"
                time.sleep(0.1)
            yield Engine("podman", {"DOCKER_HOST": address})
        finally:
            service.terminate()
            service.wait()
    else:
        pytest.skip("neither docker nor podman runs here")


def _works(*command: str) -> bool:
    return shutil.which(command[0]) is not None and not subprocess.run(command, capture_output=True).returncode


@pytest.fixture(scope="session")
def core(engine: Engine) -> str:
    return _built(engine, "image-core", "polydistill")


@pytest.fixture(scope="session")
def train(engine: Engine) -> str:
    return _built(engine, "image-train", "polydistill-train")


@pytest.fixture(scope="session", params=["core", "train"])
def image(request: pytest.FixtureRequest) -> str:
    """Each of the images, by its name."""
    name: str = request.getfixturevalue(request.param)
    return name


def _built(engine: Engine, target: str, name: str) -> str:
    arguments = " ".join(["--network=host", *_pytorch_for_cpu(engine)])
    command = [
        "make",
        target,
        f"ENGINE={engine.name}",
        f"REGISTRY={REGISTRY}",
        f"TAG={TAG}",
        f"PYTHON={sys.executable}",
    ]
    command.append(f"BUILD_ARGS={arguments}")
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return f"{REGISTRY}/{name}:{TAG}"


def _pytorch_for_cpu(engine: Engine) -> list[str]:
    """Return the arguments by which a build takes the small PyTorch: a wheel of this machine, where it has one."""
    wheels = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if engine.name == "podman" and wheels and any(Path(wheels).glob("torch-*+cpu-*.whl")):
        return [f"--volume={wheels}:{wheels}:ro", f"--build-arg=PIP_FIND_LINKS={wheels}"]
    return [f"--build-arg=TORCH_INDEX={TORCH_FOR_CPU}"]


@pytest.fixture(scope="session")
def user() -> str:
    """Who runs in containers that write into folders of this machine: the image's own user, or who runs the tests."""
    return f"{os.getuid()}:{os.getgid()}" if os.getuid() else "10001:10001"
