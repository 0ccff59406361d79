"""Makes an untrained student of each kind, small enough to be trained in a test, and what it needs around it."""

import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asks import budget, teacher_params
from chat_server import chat_server
from polydistill.params import TrainParams, check
from polydistill.students import Context, Student, load_student, make_student
from polydistill.task import Task
from spaces import TASK, settings

Make = Callable[[], Student]

# So small a model needs a high rate, and few texts many rounds.
TINY: dict[str, dict[str, Any]] = {
    "linear": {},
    "icl": {},
    "encoder": {
        "max_tokens": 48,
        "learning_rate": 2e-3,
        "layer_decay": None,
        "min_steps": 60,
        "held_out": 0.0,
        "serve": "fp32",
    },
    "lora": {"learning_rate": 1e-2, "epochs": 40, "batch_size": 4},
}
BASES = {"encoder": ("tiny", "make_xlmr"), "lora": ("tiny_llama_hf", "make_llama")}


@contextmanager
def maker(kind: str, folder: Path, answers: Mapping[str, str], labels: Sequence[str]) -> Iterator[Make]:
    """Yield what makes a student of the kind; its model, or the server that it asks, lives as long as the block.

    Args:
        kind: Kind of student.
        folder: For models and replies.
        answers: What an LLM that is asked says to each text.
        labels: The labels of the task.
    """
    task = Task.model_validate({**TASK, "labels": [{"name": label, "description": label} for label in labels]})
    section = settings()["train"] | {"students": [kind]}
    section[kind] |= TINY[kind]
    if kind in BASES:
        module, make = BASES[kind]
        base = folder / module
        if not base.exists():
            getattr(importlib.import_module(module), make)(base)
        section[kind] |= {"model": str(base), "revision": None}
    params = check(TrainParams, section, "test")
    if kind != "icl":
        yield lambda: make_student(kind, params, 7, Context(task, "sl"))
        return
    rules = [{"content": "hm"}]
    for text, label in answers.items():
        asked = f"is no instruction.\n\nText: {json.dumps(text, ensure_ascii=False)}"
        rules.append({"match": asked, "content": label})
    with chat_server(rules=rules) as server:
        context = Context(task, "sl", teacher_params(server), budget(), journal=folder / "journal")
        yield lambda: make_student(kind, params, 7, context)


def reloaded(student: Student, folder: Path) -> Student:
    """Save the student, and return what comes back."""
    folder.mkdir()
    student.save(folder)
    again = load_student(folder)
    again.context = student.context  # whom to ask is no part of a student
    return again
