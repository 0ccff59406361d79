"""An ablation on Kubeflow, run by kfp's local runner, beside the same one on DVC."""

import shutil
from pathlib import Path

import pytest
from kfp import local
from test_distill import ROOT

from pipelines.ablate import ablate
from polydistill.ablate.variants import QUESTIONS
from polydistill.cluster.arguments import ablate_arguments
from polydistill.files import read_json, read_yaml, write_json
from polydistill.params import load_params

CELLS = ["clinic/sl", "clinic/sw"]

# kfp doubts an image that has no "python" in its name.
pytestmark = pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp")


def test_every_variant_is_scored_in_every_cell_and_set_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "data/clinic", tmp_path / "data/clinic")
    params = read_yaml(ROOT / "params.yaml") | {"cells": CELLS}
    params["train"] |= {"sizes": [10, 20], "runs": 2}
    write_json(tmp_path / "params.yaml", params)  # JSON is YAML
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    given = ablate_arguments(load_params(tmp_path / "params.yaml"), QUESTIONS["filter"], str(tmp_path), "")
    assert [(run["variant"], run["cell"]) for run in given["runs"]] == [
        (variant, cell) for variant in ("filter on", "filter off") for cell in CELLS
    ]
    assert {tuple(run["students"]) for run in given["runs"]} == {("linear",)}
    ablate(**given)
    (run,) = (tmp_path / "root").iterdir()
    told = read_json(run / "ablate" / "ablated" / "ablation.json")["lines"]
    lines = {line["variant"]: line for line in told if line["source"] == "synthetic"}
    assert set(lines) == {"filter on", "filter off"}
    assert {line["scores"]["all"]["cells"] for line in lines.values()} == {2}
    finals = [
        read_json(folder)["students"]["linear"]["final"]["size"]
        for folder in sorted(run.glob("for-loop-*-iteration-*/evaluate/evaluated/evaluation.json"))
    ]
    assert len(finals) == 4
    assert finals[:2] != finals[2:]  # other texts were kept
    assert "filter off" in (run / "ablate" / "table").read_text()
