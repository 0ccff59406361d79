"""The in-context student, and the teacher without examples, on a real vLLM server."""

import asyncio
import csv
from pathlib import Path

import numpy as np
import pytest
from test_server import ANSWERED, HITS
from tiny_demo import REPOSITORY, Server

from polydistill.files import read_yaml
from polydistill.labelling import ask_zero_shot
from polydistill.params import BudgetParams, TeacherParams, check
from polydistill.students import Context, load_student
from polydistill.students.icl import SURE, IclStudent
from polydistill.task import load_task

pytestmark = pytest.mark.vllm

DATA = REPOSITORY / "data/clinic"
PARAMS = read_yaml(REPOSITORY / "params.yaml")
BUDGET = check(BudgetParams, PARAMS["budget"], "test")
TASK = load_task(DATA / "task.yaml")


def teacher_params(server: Server) -> TeacherParams:
    changes = {"kind": "openai", "url": server.url, "concurrency": 16, "max_tokens": 50}
    return check(TeacherParams, PARAMS["teacher"] | changes, "test")


def read(name: str) -> tuple[list[str], list[str]]:
    """Return the texts and labels of a file."""
    with (DATA / "sl" / name).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row["text"] for row in rows], [row["label"] for row in rows]


@pytest.mark.parametrize("choose", ["random", "similar"])
def test_every_answer_is_a_label(vllm_server: Server, tmp_path: Path, choose: str) -> None:
    context = Context(TASK, "sl", teacher_params(vllm_server), BUDGET, journal=tmp_path / "journal")
    student = IclStudent(shots=4, choose=choose, seed=1).fit(*read("seeds.csv"))
    student.context = context
    asked = read("human.csv")[0][::3]
    hits = vllm_server.metric(HITS)
    probabilities = student.predict_proba(asked)

    assert probabilities.max(axis=1) == pytest.approx(np.full(len(asked), SURE))  # the schema leaves no other answer
    assert len(set(student.predict(asked))) > 2  # not one label whatever the text
    if choose == "random":
        assert vllm_server.metric(HITS) > hits  # all prompts begin with the same examples

    answered = vllm_server.metric(ANSWERED)
    student.save(tmp_path)
    again = load_student(tmp_path)
    again.context = context
    assert np.array_equal(again.predict_proba(asked), probabilities)
    assert vllm_server.metric(ANSWERED) == answered  # the journal has it all


def test_without_examples_every_answer_is_a_label_too(vllm_server: Server, tmp_path: Path) -> None:
    asked = read("human.csv")[0][::3]
    params = teacher_params(vllm_server)
    said = asyncio.run(ask_zero_shot(asked, TASK, "sl", params, BUDGET, tmp_path / "none", tmp_path))
    assert said is not None
    assert set(said.labels) <= set(TASK.label_names)
    assert len(set(said.labels)) > 2
