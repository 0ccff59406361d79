"""The chain on Kubeflow, run by kfp's local runner, beside the same chain on DVC."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kfp import local

from pipelines.distill import distill
from polydistill.cluster.arguments import chain_arguments
from polydistill.files import digest, read_json, read_yaml, write_json
from polydistill.params import load_params

ROOT = Path(__file__).parents[2]
CELLS = ["clinic/sl", "clinic/sw"]
LOOP = "for-loop-2-iteration-{}"  # the exit handler is 1
TINY = {"train": {"sizes": [10, 20], "runs": 2}, "measure": {"max_texts": 20}}

# kfp doubts an image that has no "python" in its name.
pytestmark = pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp")


class Engines(NamedTuple):
    """Where each engine left its results of the same inputs and parameters."""

    dvc: Path
    kubeflow: Path

    def outputs(self, of_dvc: str, of_kubeflow: str, cell: str) -> tuple[Path, Path]:
        return self.dvc / of_dvc.format(cell=cell), self.kubeflow / LOOP.format(CELLS.index(cell)) / of_kubeflow


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    workspace = tmp_path_factory.mktemp("workspace")
    fill(workspace, CELLS)
    _run_dvc(workspace)
    runs = tmp_path_factory.mktemp("kubeflow")
    runner = local.SubprocessRunner(use_venv=False)
    local.init(runner, pipeline_root=str(runs / "root"), workspace_root=str(runs / "workspace"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")  # two cells run at once; DVC's run, with all threads, must agree
        distill(**chain_arguments(load_params(workspace / "params.yaml"), str(workspace), ""))
    (run,) = (runs / "root").iterdir()
    return Engines(workspace / "work", run)


def fill(workspace: Path, cells: Sequence[str]) -> None:
    """Write the demo's workspace with tiny parameters, and a human text that stands twice."""
    shutil.copytree(ROOT / "data/clinic", workspace / "data/clinic")
    human = workspace / "data/clinic/sl/human.csv"
    lines = human.read_text("utf-8").splitlines(keepends=True)
    human.write_text("".join([*lines, lines[1]]), "utf-8")
    params = read_yaml(ROOT / "params.yaml") | {"cells": [*cells]}
    for section, values in TINY.items():
        params[section] |= values
    write_json(workspace / "params.yaml", params)  # JSON is YAML
    shutil.copy(ROOT / "dvc.yaml", workspace)


def _run_dvc(workspace: Path) -> None:
    for command in ("git init --quiet", "dvc init --quiet", "dvc repro --quiet evaluate select"):
        run_command(command, workspace)


def run_command(command: str, folder: Path) -> str:
    """Run a program of this environment; return what it says."""
    beside_python = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{beside_python}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "true",
    }
    done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("of_dvc", "of_kubeflow"),
    [
        pytest.param("{cell}/prepared", "prepare/prepared", id="prepared"),
        pytest.param("{cell}/heldout", "prepare/heldout", id="heldout"),
        pytest.param("{cell}/generated/samples.parquet", "generate/generated/samples.parquet", id="generated"),
        pytest.param("{cell}/generated/usage.json", "generate/generated/usage.json", id="usage"),
        pytest.param("{cell}/generated/journal", "generate/generated/journal", id="journal"),
        pytest.param("{cell}/filtered/accepted.parquet", "filter/filtered/accepted.parquet", id="accepted"),
        pytest.param("{cell}/filtered/rejected.parquet", "filter/filtered/rejected.parquet", id="rejected"),
        pytest.param("{cell}/trained/linear", "for-loop-3-iteration-0/train/trained", id="trained"),
        pytest.param("{cell}/evaluated/evaluation.json", "evaluate/evaluated/evaluation.json", id="evaluation"),
        pytest.param("{cell}/evaluated/journal", "evaluate/evaluated/journal", id="answers"),
        pytest.param("winners/{cell}/winner.json", "select/winner/winner.json", id="winner"),
        pytest.param("winners/{cell}/model", "select/winner/model", id="model"),
    ],
)
def test_the_engines_agree(engines: Engines, cell: str, of_dvc: str, of_kubeflow: str) -> None:
    one, other = engines.outputs(of_dvc, of_kubeflow, cell)
    assert one.exists() and other.exists()
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    ("section", "key", "value", "stages"),
    [
        pytest.param("prepare", "seeds_per_label", 9, {"prepare"}, id="prepare"),
        pytest.param("generate", "temperature", 0.5, {"generate"}, id="generate"),
        pytest.param("generate", "self_revision", False, {"generate", "filter"}, id="self-revision"),
        pytest.param("teacher", "max_tokens", 99, {"generate", "train", "evaluate"}, id="teacher"),
        pytest.param("filter", "too_short", {"min_chars": 6}, {"generate", "filter"}, id="filter"),
        pytest.param("budget", "requests", 9999, set(), id="budget"),
        pytest.param("train", "runs", 3, {"train"}, id="train"),
        pytest.param("evaluate", "confidence", 0.9, {"evaluate"}, id="evaluate"),
        pytest.param("select", "metric", "macro_f1", {"select"}, id="select"),
        pytest.param("serve", "port", 3001, set(), id="serve"),
    ],
)
def test_a_parameter_changes_only_the_stages_that_read_it(
    engines: Engines, section: str, key: str, value: object, stages: set[str]
) -> None:
    params = engines.dvc.parent / "params.yaml"
    before = params.read_text(encoding="utf-8")
    changed = read_yaml(params)
    changed[section][key] = value
    write_json(params, changed)
    try:
        told = json.loads(run_command("dvc status --json prepare generate filter train evaluate select", params.parent))
    finally:
        params.write_text(before, encoding="utf-8")
    assert set(told) == {f"{stage}@{cell}{'-linear' * (stage == 'train')}" for stage in stages for cell in CELLS}


def test_kubeflow_brings_the_winners_of_all_cells_together(engines: Engines) -> None:
    run = engines.kubeflow
    assert sorted(path.parent.name for path in run.glob("package/bento/src/winners/clinic/*/winner.json")) == [
        "sl",
        "sw",
    ]
    assert sorted(read_json(run / "monitor/monitored/monitor.json")["cells"]) == CELLS
    assert {row["language"] for row in read_json(run / "report/report/summary.json")["rows"]} == {"sl", "sw"}


def test_kubeflow_shows_scores_and_pages(engines: Engines) -> None:
    run = engines.kubeflow
    of_filter, facts = _logged(run, "filter"), read_json(run / LOOP.format(0) / "filter/filtered/filter.json")
    assert (of_filter["accepted"], of_filter["rejected"]) == (facts["accepted"], facts["rejected"])
    of_evaluate, evaluation = _logged(run, "evaluate"), read_json(engines.dvc / "clinic/sl/evaluated/evaluation.json")
    of_generate, usage = _logged(run, "generate"), read_json(engines.dvc / "clinic/sl/generated/usage.json")
    assert of_generate["usable_texts"] == usage["texts"]["usable"]
    assert of_generate["unreadable_replies"] == sum(usage["unreadable"].values())
    assert of_generate["revise_requests"] == usage["purposes"]["revise"]["requests"] > 0
    assert of_evaluate["teacher_accuracy"] == evaluation["teacher"]["accuracy"]
    assert of_evaluate["linear_macro_f1"] == evaluation["students"]["linear"]["final"]["macro_f1"]
    drift, page = run / LOOP.format(0) / "measure/drift", run / "report/page"
    assert "<html" in drift.read_text("utf-8") and "<html" in page.read_text("utf-8")
    assert f"| clinic | Slovenian (sl) | {evaluation['teacher']['accuracy']:.1%}"[:-1] in (
        run / "report/summary"
    ).read_text("utf-8")
    matrix = _logged(run, "evaluate", "confusion")["confusionMatrix"]
    labels = evaluation["labels"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == [*labels, "no answer"]
    rows = [row["row"] for row in matrix["rows"]]
    right = sum(rows[i][i] for i in range(len(labels)))
    assert right / evaluation["n_test"] == pytest.approx(evaluation["students"]["linear"]["final"]["accuracy"])
    assert sum(map(sum, rows)) == evaluation["n_test"]


def _logged(run: Path, step: str, artifact: str = "metrics") -> dict[str, Any]:
    """Return the metrics that a step of the first cell logged."""
    output = json.loads((run / LOOP.format(0) / step / "executor_output.json").read_text())
    metadata: dict[str, Any] = output["artifacts"][artifact]["artifacts"][0]["metadata"]
    return metadata
