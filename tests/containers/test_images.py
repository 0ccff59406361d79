"""What is in the images, and how they run where a cluster is strict: as nobody, on a read-only root file system."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from container_engine import REPOSITORY, Engine

pytestmark = pytest.mark.containers

# The image of core may take 1.2 GB, of which the published python:3.11-slim-bookworm is 0.13.
MOST_BYTES_OF_OUR_OWN = 1_070_000_000


def inspected(engine: Engine, image: str) -> dict[str, Any]:
    (facts,) = json.loads(engine("image", "inspect", image))
    assert isinstance(facts, dict)
    return facts


def base_of(dockerfile: Path) -> str:
    found = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1]


def test_the_labels_say_what_it_is(engine: Engine, image: str) -> None:
    labels = inspected(engine, image)["Config"]["Labels"]
    told = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert told["version"] == project["version"]
    assert told["licenses"] == project["license"]
    assert told["revision"].removesuffix("-dirty") == commit.stdout.strip()
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["created"])
    assert told["title"] == image.partition("/")[2].partition(":")[0]


def test_it_runs_as_nobody_in_particular(engine: Engine, image: str) -> None:
    assert inspected(engine, image)["Config"]["User"] == "10001:10001"  # numbers, as Kubernetes asks for them
    assert engine.run(image, "id", "-u") == "10001\n"


@pytest.mark.parametrize("user", ["10001:10001", "54321:0"])
@pytest.mark.parametrize(
    "command",
    ["polydistill --help", "dvc --version", "bentoml --version", "python -m kfp.dsl.executor_main --help"],
)
def test_commands_run_on_a_read_only_root_as_any_user(engine: Engine, image: str, user: str, command: str) -> None:
    assert engine.run(image, *command.split(), options=[f"--user={user}"])


def test_only_tmp_can_be_written(engine: Engine, image: str) -> None:
    asked = "for d in / /opt /opt/polydistill /usr /var/tmp /tmp; do test -w $d && echo $d; done; true"
    places = engine.run(image, "sh", "-c", asked)
    assert places.split() == ["/tmp"]


def test_nothing_in_it_compiles_or_installs(engine: Engine, image: str) -> None:
    asked = "for c in cc gcc g++ c++ clang make ld cargo; do command -v $c; done; python -m pip --version 2>&1; true"
    assert engine.run(image, "sh", "-c", asked) == "/opt/polydistill/bin/python: No module named pip\n"


def test_what_is_installed_is_what_was_tested(engine: Engine, image: str) -> None:
    listed = "import importlib.metadata as m; [print(f'{d.name}=={d.version}') for d in m.distributions()]"
    installed = dict(map(_pin, engine.run(image, "python", "-c", listed).splitlines()))
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    tested = dict(_pin(line) for line in lines if not line.startswith("#"))
    assert installed.pop("polydistill")
    assert {name: version for name, version in installed.items() if tested.get(name) != version} == {}


def _pin(line: str) -> tuple[str, str]:
    name, _, version = line.partition("==")
    return re.sub(r"[-_.]+", "-", name).lower(), version.partition("+")[0]


def test_core_is_small(engine: Engine, core: str) -> None:
    base = base_of(REPOSITORY / "components/Dockerfile")
    own = inspected(engine, core)["Size"] - inspected(engine, base)["Size"]
    assert own <= MOST_BYTES_OF_OUR_OWN
