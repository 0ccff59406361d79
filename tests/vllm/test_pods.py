"""`generate` and `evaluate` beside vLLM, started as Kubeflow starts them in the image polydistill-generate."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_demo import ENVIRONMENT, REPOSITORY, run

from pipelines.compile import COMPILED
from polydistill.files import read_json, read_yaml, write_json
from polydistill.params import Params, check, to_struct

pytestmark = pytest.mark.vllm

VLLM = {"tensor_parallel_size": 1, "quantization": None, "max_model_len": 2048, "gpu_memory_utilization": 0.2}


def test_generate_and_evaluate_run_beside_vllm(workspace: Path, vllm_python: Path, tiny_llama: Path) -> None:
    content = read_yaml(REPOSITORY / "params.yaml")
    content |= {"cells": ["clinic/sl"], "train": content["train"] | {"sizes": [10], "runs": 2}}
    write_json(workspace / "params.yaml", content)  # JSON is YAML
    for step in ("prepare", "generate", "filter", "train"):  # with the demo's recording
        run(["polydistill", step], workspace)
    content["teacher"] |= {"kind": "vllm", "model": str(tiny_llama), "vllm": VLLM, "max_tokens": 700}
    content["generate"] |= {"texts_per_label": 5, "texts_per_request": 5, "self_revision": False}
    params = check(Params, content, "test")
    cell = workspace / "work/clinic/sl"
    inputs = {"data": workspace / "data", "prepared": cell / "prepared"}
    parameters = {
        "cell": "clinic/sl",
        "prepared_digest": "0",
        "teacher": to_struct(params.teacher),
        "budget": to_struct(params.budget),
    }

    of_generate = {"params": to_struct(params.generate), "checks": to_struct(params.filter)}
    usage = read_json(
        start("generate", vllm_python, workspace / "generate", parameters | of_generate, inputs)
        / "generated/usage.json"
    )
    assert usage["teacher"]["kind"] == "vllm"
    assert usage["texts"]["usable"] > 0

    of_evaluate = {"params": to_struct(params.evaluate), "trained_digests": []}
    inputs |= {"heldout": cell / "heldout", "trained": cell / "trained/linear"}
    scores = read_json(
        start("evaluate", vllm_python, workspace / "evaluate", parameters | of_evaluate, inputs)
        / "evaluated/evaluation.json"
    )
    assert scores["teacher"]["accuracy"] is not None
    assert scores["students"]["linear"]["final"]["accuracy"] is not None


def start(step: str, python: Path, folder: Path, parameters: Mapping[str, Any], inputs: Mapping[str, Path]) -> Path:
    """Run the command of the compiled pipeline for a step with another Python; return the folder of its outputs."""
    pipeline = next(yaml.safe_load_all((COMPILED / "distill.yaml").read_text("utf-8")))
    container = pipeline["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    outputs = pipeline["components"][f"comp-{step}"]["outputDefinitions"]["artifacts"]
    folder.mkdir(parents=True)
    told = {
        "inputs": {
            "parameterValues": dict(parameters),
            "artifacts": {name: _artifact(name, path, "system.Artifact") for name, path in inputs.items()},
        },
        "outputs": {
            "artifacts": {
                name: _artifact(name, folder / name, of["artifactType"]["schemaTitle"]) for name, of in outputs.items()
            },
            "parameters": {"Output": {"outputFile": str(folder / "Output")}},
            "outputFile": str(folder / "executor_output.json"),
        },
    }
    command = [
        *container["command"],
        *(argument.replace("{{$}}", json.dumps(told)) for argument in container["args"]),
    ]
    environment = ENVIRONMENT | {"PATH": f"{python.parent}{os.pathsep}{ENVIRONMENT['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{step}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return folder


def _artifact(name: str, path: Path, schema: str) -> dict[str, Any]:
    return {"artifacts": [{"name": name, "uri": str(path), "type": {"schemaTitle": schema}, "metadata": {}}]}
