"""What the sources of the components and the pipelines compile to, and the words that all engines share."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from components import IMAGE
from pipelines.compile import COMPILED, compile_all, stale
from polydistill.cli import cli
from polydistill.files import read_yaml

ROOT = Path(__file__).parents[2]
TEN = {"prepare", "generate", "filter", "measure", "train", "evaluate", "select", "package", "serve", "monitor"}
STEPS = {*TEN, "card", "report"}
OTHER_COMMANDS = {"ablate", "rejected", "show", "init", "import-paper", "facets"}


@pytest.mark.parametrize("step", sorted(STEPS | {"ablate"}))
def test_a_component_compiles_under_its_word(step: str, tmp_path: Path) -> None:
    component = getattr(importlib.import_module(f"components.{step}.component"), step)
    compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
    content = read_yaml(tmp_path / "component.yaml")
    container = content["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    assert container["image"] == IMAGE
    assert "pip install" not in str(container)


def test_compiling_anew_changes_no_byte() -> None:
    assert stale(COMPILED) == []


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    compile_all(tmp_path)
    assert stale(tmp_path) == []
    (tmp_path / "distill.yaml").write_text("components: {}\n")
    (tmp_path / "of-a-deleted-pipeline.yaml").touch()
    assert stale(tmp_path) == ["distill.yaml", "of-a-deleted-pipeline.yaml"]


def test_library_components_stages_and_commands_share_their_words() -> None:
    assert all(hasattr(importlib.import_module(f"polydistill.{step}"), f"run_{step}") for step in TEN)
    assert {path.parent.name for path in (ROOT / "components").glob("*/component.py")} == STEPS | {"ablate"}
    assert set(read_yaml(ROOT / "dvc.yaml")["stages"]) == STEPS
    assert set(cli.commands) - OTHER_COMMANDS == STEPS
    assert {name for name, _ in _tasks()} == STEPS


@pytest.mark.parametrize(
    ("output", "readers"),
    [
        pytest.param("heldout", {"evaluate"}, id="the labelled test set"),
        pytest.param("evaluated", {"card"}, id="scores on it"),
    ],
)
def test_test_labels_reach_no_step_that_decides(output: str, readers: set[str]) -> None:
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    assert {name for name, stage in stages.items() if any(f"/{output}" in dep for dep in stage["deps"])} == readers
    assert {name for name, artifacts in _tasks() if any(output in source for source in artifacts)} == readers


def _tasks() -> Iterator[tuple[str, list[str]]]:
    """Yield each task of the compiled pipeline that is a step, and the outputs that it takes."""
    pipeline = read_yaml(COMPILED / "distill.yaml")
    for part in (pipeline["root"], *pipeline["components"].values()):
        for name, task in part.get("dag", {}).get("tasks", {}).items():
            if not name.startswith("for-loop"):
                artifacts = task.get("inputs", {}).get("artifacts", {}).values()
                yield name, [_source(artifact) for artifact in artifacts]


def _source(artifact: dict[str, Any]) -> str:
    source: str = artifact.get("componentInputArtifact") or artifact["taskOutputArtifact"]["outputArtifactKey"]
    return source
