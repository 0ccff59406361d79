"""Asks an LLM for the label of each text, and reads what it says: a label of the task, or an abstention.

The labels stand in another order in front of each text, so that what a model prefers for its place averages out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from polydistill.errors import TeacherError
from polydistill.params import BudgetParams, TeacherParams
from polydistill.prompts import prompt_hash, render
from polydistill.records import text_id
from polydistill.replies import faults_of, read_label, reply_faults
from polydistill.replies.parsing import answer_of
from polydistill.task import Label, Task
from polydistill.teachers import (
    ChatRequest,
    Journal,
    Outcome,
    RecordedTeacher,
    Reply,
    Teacher,
    ask_all,
    check_target,
    follows_schema,
    ledger,
    open_journal,
    open_teacher,
)

Asked = Literal["zero-shot", "icl"]
Example = tuple[str, str]  # a text and its label


@dataclass(frozen=True)
class Answers:
    """The label that a model gave each text, None for an abstention, and what asking it took, by purpose."""

    model: str
    labels: list[str | None]
    usage: dict[str, dict[str, Any]]


async def ask_zero_shot(
    texts: Sequence[str],
    task: Task,
    language: str,
    params: TeacherParams,
    budget: BudgetParams,
    recording: Path,
    folder: Path,
    record_to: Path | None = None,
) -> Answers | None:
    """Return the teacher's label of each text, asked without examples; None where a recording holds no such answers.

    Args:
        texts: Texts of the cell.
        task: What the labels are and mean.
        language: Of the texts.
        params: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        recording: Recorded replies of the cell; read only where the teacher is a recorded one.
        folder: Of the step; its journal/ gets the replies.
        record_to: File to write the replies to as a recording, beside what it holds of other purposes.

    Raises:
        TeacherError: As of `ask_labels`.
        DataError: As of `open_journal`.
    """
    check_target(record_to)
    async with open_teacher(params, recording) as teacher:
        if "zero-shot" not in teacher.models:
            return None
        plan = plan_of("zero-shot", task, language, teacher)
        with open_journal(folder, "zero-shot", plan, teacher, record_to) as journal:
            labels = await ask_labels(
                "zero-shot", texts, [()] * len(texts), task, language, teacher, journal, params, budget
            )
            usage = ledger(journal.usage, budget)
    return Answers(teacher.models["zero-shot"], labels, usage)


def plan_of(purpose: Asked, task: Task, language: str, teacher: Teacher) -> dict[str, Any]:
    """Return what all replies in a journal of labels have in common."""
    return {
        "instruction": task.instruction,
        "labels": {label.name: label.description for label in task.labels},
        "language": language,
        "model": teacher.models[purpose],
        "revision": teacher.revision,
        "prompts": {purpose: prompt_hash(purpose)},
    }


async def ask_labels(
    purpose: Asked,
    texts: Sequence[str],
    examples: Sequence[Sequence[Example]],
    task: Task,
    language: str,
    teacher: Teacher,
    journal: Journal,
    params: TeacherParams,
    budget: BudgetParams,
) -> list[str | None]:
    """Return a label of the task for each text, None for an abstention; what the journal holds is not asked again.

    Args:
        purpose: Of the requests.
        texts: What to label; a text that stands there twice is asked about once.
        examples: Those to show before each text, as many lists as texts.
        task: What the labels are and mean.
        language: Of the texts.
        teacher: Whom to ask, connected.
        journal: Open, with the plan of `plan_of`.
        params: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.

    Raises:
        TeacherError: As of `ask`; or if a text got no reply that says anything.
    """
    structured = await follows_schema(teacher, journal, params, budget)
    requests = [
        label_request(purpose, text, shown, task, language, structured=structured)
        for text, shown in zip(texts, examples, strict=True)
    ]
    if isinstance(teacher, RecordedTeacher):
        # What was recorded may have been asked with the labels in another order, or without numbers.
        requests = [replace(request, about=_recorded_options(teacher, request.id)) for request in requests]
    outcomes = await ask_all(
        list({request.id: request for request in requests}.values()), teacher, journal, params, budget, faults_of
    )
    return [
        _read(outcomes[request.id], request.about or {}, text, task, language)
        for request, text in zip(requests, texts, strict=True)
    ]


def label_request(
    purpose: Asked, text: str, examples: Sequence[Example], task: Task, language: str, *, structured: bool
) -> ChatRequest:
    """Return the request for the label of a text; its `about` holds the labels as the prompt numbers them from 1."""
    id = text_id(text, language)
    options = in_order(task.labels, id)
    # A label may itself be a number.
    numbered = not any(name.isdecimal() for label in options for name in (label.name, *label.names.values()))
    prompt = render(
        purpose,
        task=task,
        labels=options,
        numbered=numbered,
        examples=examples,
        text=text,
        structured=structured,
    )
    return ChatRequest(
        "/".join([purpose, *([_hash(examples)] if examples else []), id]),
        purpose,
        prompt,
        temperature=0.0,
        seed=0,
        schema=label_schema(task) if structured else None,
        about={"options": [label.name for label in options]} if numbered else None,
    )


def in_order(labels: Sequence[Label], id: str) -> list[Label]:
    """Return the labels in the order in which the text of this id has them: any is as likely as any other."""
    return sorted(labels, key=lambda label: hashlib.sha256(f"{id}\0{label.name}".encode()).digest())


def label_schema(task: Task) -> dict[str, Any]:
    """Return the schema of an answer: the same for all texts, since a server prepares each schema that it is given."""
    return {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": task.label_names}},
        "required": ["label"],
        "additionalProperties": False,
    }


def _hash(examples: Sequence[Example]) -> str:
    return hashlib.sha256(json.dumps(list(examples)).encode()).hexdigest()[:16]


def _recorded_options(teacher: RecordedTeacher, id: str) -> dict[str, Any] | None:
    return {"options": teacher.options[id]} if id in teacher.options else None


def _read(outcome: Outcome, about: Mapping[str, Any], text: str, task: Task, language: str) -> str | None:
    if isinstance(outcome, Reply):
        # A label in half an answer, or among thoughts, may be one that the whole answer goes on to deny.
        if reply_faults(outcome):
            return None
        answer = answer_of(outcome.text)[0]
        label = read_label(answer, task.labels, language, options=about.get("options", ()), asked=text)
        return label if label in task.label_names else None  # a recording may number labels that are gone
    if outcome.refused:
        return None  # a text that the teacher will not look at is one that it has no label for
    raise TeacherError(f"the teacher did not answer every text: {outcome.cause}; run again to ask for the rest")
