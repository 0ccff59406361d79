"""A gate that stops the run, on kfp's local runner: what was measured is kept, and the cell goes no further."""

import json
from pathlib import Path

import pytest
from kfp import dsl, local

from components import component
from components.card.component import card as card_step
from components.measure.component import measure as measure_step
from polydistill.files import read_json
from polydistill.params import load_params, to_struct
from spaces import build_workspace
from test_measure_command import fill

pytestmark = [
    pytest.mark.slow,
    # kfp doubts an image that has no "python" in its name.
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
]


@component
def earlier_steps(
    cell: str,
    prepared: dsl.Output[dsl.Dataset],
    filtered: dsl.Output[dsl.Dataset],
    others: dsl.Output[dsl.Artifact],
) -> None:
    import shutil  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    shutil.copytree(Path(cell, "prepared"), prepared.path)
    shutil.copytree(Path(cell, "filtered"), filtered.path)
    Path(others.path).mkdir(parents=True)


@dsl.pipeline(name="gated")
def gated(cell: str, measure: dict) -> None:
    made = earlier_steps(cell=cell)
    prepared, filtered, others = (made.outputs[name] for name in ("prepared", "filtered", "others"))
    measured = measure_step(
        prepared=prepared, prepared_digest="", filtered=filtered, filtered_digest="", params=measure
    )
    card_step(
        prepared=prepared,
        generated=others,
        filtered=filtered,
        measured=measured.outputs["measured"],
        evaluated=others,
        selected=others,
    )


def test_a_gate_that_stops_leaves_what_was_measured_and_fails_the_card(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = build_workspace(
        tmp_path / "space",
        measure__gates__language_purity={"action": "stop", "limit": 0.9},
    )
    cell, params = fill(space), load_params(space / "params.yaml")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    with pytest.raises(RuntimeError, match="'card'"):
        gated(cell=str(cell), measure=to_struct(params.measure))
    told = capfd.readouterr()
    assert "GateError: demo/sl: stopped by params.yaml:measure.gates" in told.out + told.err
    assert "gate language_purity: 0.889, at least 0.9 wanted" in told.out + told.err

    (run,) = (tmp_path / "root").iterdir()
    # Kubeflow uploads the outputs of a step that wrote this file alone: its executor does so where the step ends well.
    artifacts = json.loads((run / "measure/executor_output.json").read_text("utf-8"))["artifacts"]
    n_words = artifacts["metrics"]["artifacts"][0]["metadata"]["mean_words_synthetic"]
    assert n_words == read_json(run / "measure/measured/diversity.json")["measures"]["mean_words"]["synthetic"] > 0
    assert "<html" in (run / "measure/drift").read_text("utf-8")
    assert not (run / "card/executor_output.json").exists() and not (run / "card/card").exists()
