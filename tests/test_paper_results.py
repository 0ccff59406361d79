from pathlib import Path
from statistics import mean

import pytest

from polydistill.evaluate import run_evaluate
from polydistill.files import read_json
from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.paper import new_paper_workspace
from polydistill.prepare import run_prepare
from polydistill.train import run_train
from polydistill.workspace import Workspace

LANGUAGES = ["az", "de", "en", "sl", "sw", "te"]


@pytest.mark.paper_data
@pytest.mark.parametrize(("task", "wanted"), [("topic", 0.665), ("intent", 0.925), ("sentiment", 0.670)])
def test_the_final_student_is_as_good_as_one_without_pretraining_is_wanted_to_be(
    paper_data: Path, tmp_path: Path, task: str, wanted: float
) -> None:
    new_paper_workspace(paper_data, tmp_path, [task], LANGUAGES)
    workspace = Workspace.open(tmp_path)
    params = workspace.params
    curves = params.train.model_copy(update={"sources": ["synthetic"], "sizes": [10], "runs": 1})
    asks_nothing = params.evaluate.model_copy(update={"zero_shot": False})
    accuracy = []
    for cell in workspace.cells():
        prepared, generated, filtered = cell.room("prepared"), cell.room("generated"), cell.room("filtered")
        run_prepare(cell.task_folder, cell.language, prepared, cell.room("heldout"), params.prepare)
        sections = (params.generate, params.filter, params.teacher, params.budget)
        run_generate(prepared, cell.recording, generated, *sections)
        run_filter(prepared, generated, filtered, params.filter, self_revision=params.generate.self_revision)
        run_train(prepared, filtered, cell.trained("linear"), cell.finished("linear"), "linear", curves)
        rooms = prepared, cell.room("heldout"), [cell.trained("linear")], cell.recording, cell.room("evaluated")
        run_evaluate(*rooms, asks_nothing, params.teacher, params.budget)
        final = read_json(cell.room("evaluated") / "evaluation.json")["students"]["linear"]["final"]
        accuracy.append(final["accuracy"])
    assert mean(accuracy) >= wanted, dict(zip(LANGUAGES, accuracy, strict=True))
