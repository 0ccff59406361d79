"""What the sources of the components and the pipelines compile to, and the words that all engines share."""

import importlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components import IMAGE
from pipelines.compile import COMPILED, compile_all, stale
from polydistill.cli import cli
from polydistill.files import read_yaml

ROOT = Path(__file__).parents[2]
TEN = {"prepare", "generate", "filter", "measure", "train", "evaluate", "select", "package", "serve", "monitor"}
STEPS = {*TEN, "card", "report"}
ON_A_CLUSTER = {
    *("teacher_up", "teacher_down", "fetch", "load", "champions", "due"),
    *("challenge", "bundle", "snapshot", "promote", "deploy"),
}
OF_ABLATE = {"ablate", "locate"}
OTHER_COMMANDS = {"ablate", "pipeline", "rejected", "show", "init", "import-paper", "facets"}


@pytest.mark.parametrize("step", sorted(STEPS | ON_A_CLUSTER | OF_ABLATE))
def test_a_component_compiles_under_its_word(step: str, tmp_path: Path) -> None:
    component = getattr(importlib.import_module(f"components.{step}.component"), step)
    compiler.Compiler().compile(component, str(tmp_path / "component.yaml"))
    content = read_yaml(tmp_path / "component.yaml")
    container = content["deploymentSpec"]["executors"][f"exec-{step.replace('_', '-')}"]["container"]
    assert container["image"] == IMAGE
    assert "pip install" not in str(container)


@pytest.mark.parametrize("pipeline", ["distill", "retrain", "ablate"])
def test_no_step_is_told_of_two_lists(pipeline: str) -> None:
    """All artifacts of a list stand in the arguments of a pod, so that two of the cells would halve `MOST_CELLS`."""
    content, _ = yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text(encoding="utf-8"))
    for name, component in content["components"].items():
        artifacts = component.get("inputDefinitions", {}).get("artifacts", {})
        lists = [artifact for artifact, of in artifacts.items() if of.get("isArtifactList")]
        assert len(lists) <= 1, name


@pytest.mark.parametrize("pipeline", ["distill", "retrain", "ablate"])
def test_no_output_has_a_name_that_another_of_its_step_begins_with(pipeline: str) -> None:
    """Launchers download by the beginning of an address (kubeflow/pipelines, backend/src/v2/objectstore)."""
    content, _ = yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text(encoding="utf-8"))
    for name, component in content["components"].items():
        outputs = sorted(component.get("outputDefinitions", {}).get("artifacts", {}))
        assert not any(after.startswith(output) for output, after in pairwise(outputs)), name


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
    assert {path.parent.name for path in (ROOT / "components").glob("*/component.py")} == (
        STEPS | ON_A_CLUSTER | OF_ABLATE
    )
    assert set(read_yaml(ROOT / "dvc.yaml")["stages"]) == STEPS
    assert set(cli.commands) - OTHER_COMMANDS == STEPS
    distill, retrain = ({task for task, _ in _tasks(name)} for name in ("distill", "retrain"))
    assert distill == STEPS | ON_A_CLUSTER - {"due"}
    assert retrain == STEPS | ON_A_CLUSTER


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
    takers = {name for name, task in _tasks("distill") if any(output in source for source in _artifacts(task).values())}
    assert takers == readers | {"bundle"}  # which copies all that a cell left, for the snapshot


@pytest.mark.parametrize("pipeline", ["distill", "retrain", "ablate"])
def test_a_cached_task_is_given_the_digest_of_each_artifact_that_it_reads(pipeline: str) -> None:
    """Kubeflow's cache goes by what made an artifact and the values of parameters, not by what is in the artifact."""
    cached = {name: task for name, task in _tasks(pipeline) if name in _cached(pipeline) - {"load"}}
    assert {"generate", "filter", "train"} <= cached.keys()
    # `prepare` reads the cell's part of `data`; the digest that it returns is of both splits and of that part.
    covered = {"prepare": {"data": "data_digest"}}
    after = {
        **{"data": "prepared_digest", "prepared": "prepared_digest", "heldout": "prepared_digest"},
        **{"generated": "generated_digest", "filtered": "filtered_digest", "trained": "trained_digests"},
    }
    for name, task in cached.items():
        wanted = {covered.get(name, after)[artifact] for artifact in _artifacts(task)}
        assert wanted <= task["inputs"]["parameters"].keys(), name


@pytest.mark.parametrize("pipeline", ["distill", "retrain", "ablate"])
def test_what_is_cached_starts_from_parameters_that_stay_the_same_until_the_texts_change(pipeline: str) -> None:
    """Kubeflow's cache knows an artifact by its number, and what is not cached makes one of a new number each time."""
    cached = _cached(pipeline)
    for name in cached:
        assert {made_by for made_by, _ in _sources(pipeline, name)} <= cached, name
    (load,) = (task for name, task in _tasks(pipeline) if name == "load")
    assert load["inputs"].keys() == {"parameters"}
    assert load["inputs"]["parameters"].keys() == {"repository", "cell", "commit", "digest"}


@pytest.mark.parametrize("pipeline", ["distill", "retrain", "ablate"])
def test_who_takes_a_list_of_cached_artifacts_takes_what_they_were_made_of_too(pipeline: str) -> None:
    """Kubeflow's launcher opens the storage of each input's first artifact; others of a list may be of other runs.

    All other runs have one storage: it is open where any first artifact is of one, and what a cached artifact was made
    of is of its run, or of one before.
    """
    cached = _cached(pipeline)
    for name, _ in _tasks(pipeline):
        sources = _sources(pipeline, name)
        listed = {made_by for made_by, is_list in sources if is_list} & cached
        assert listed <= {"train"} and (not listed or ("prepare", False) in sources), name


def test_what_changes_the_world_or_looks_at_it_is_never_cached() -> None:
    assert not _cached("retrain") & ((ON_A_CLUSTER - {"load"}) | {"package", "serve", "monitor"})


def _tasks(pipeline: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each task of a compiled pipeline that runs in a pod, by the name of its component."""
    content, _ = yaml.safe_load_all((COMPILED / f"{pipeline}.yaml").read_text(encoding="utf-8"))
    for part in (content["root"], *content["components"].values()):
        for name, task in part.get("dag", {}).get("tasks", {}).items():
            if "executorLabel" in content["components"][task["componentRef"]["name"]]:
                yield name.replace("-", "_"), task


def _cached(pipeline: str) -> set[str]:
    return {name for name, task in _tasks(pipeline) if task["cachingOptions"].get("enableCache")}


def _sources(pipeline: str, name: str) -> set[tuple[str, bool]]:
    """Return for each artifact that a task takes which one made it, and whether it is one of a list."""
    (task,) = (task for of, task in _tasks(pipeline) if of == name)
    sources = set()
    for source in task.get("inputs", {}).get("artifacts", {}).values():
        output = source.get("taskOutputArtifact", {"producerTask": ""})
        is_list = output["producerTask"].startswith("for-loop")
        key = source.get("componentInputArtifact") or output["outputArtifactKey"]
        within = re.fullmatch(r"pipelinechannel--(.+)-\w+", key)  # from within a loop, or into one
        made_by = (within[1] if within else output["producerTask"]).replace("-", "_")
        sources.add(("evaluate" if made_by == "score_variant" else made_by, is_list))
    return sources


def _artifacts(task: dict[str, Any]) -> dict[str, str]:
    """Return by each artifact that a task takes the output that it comes from."""
    artifacts = task.get("inputs", {}).get("artifacts", {})
    return {
        name: source.get("componentInputArtifact") or source["taskOutputArtifact"]["outputArtifactKey"]
        for name, source in artifacts.items()
    }
