"""Decides what to ask the teacher for: N texts a label, guided by the seeds, and its own verdict on each."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polydistill.errors import PolydistillError
from polydistill.files import read_json, require_input, write_json
from polydistill.params import GenerateParams, TeacherParams
from polydistill.prompts import Purpose, prompt_hash, render
from polydistill.records import SAMPLE, Record, Source, read_records, to_row, write_rows
from polydistill.replies import (
    TEXTS_SCHEMA,
    VERDICTS_SCHEMA,
    UnreadableReply,
    Verdict,
    read_texts,
    read_verdicts,
)
from polydistill.task import Label, Task, language_name
from polydistill.teachers import ChatRequest, Journal, Reply, Teacher, ask_all, open_teacher

log = logging.getLogger(__name__)


def plan_generation(task: Task, language: str, seeds: Sequence[Record], params: GenerateParams) -> list[ChatRequest]:
    """Return the requests for texts: enough to reach the quota, each with its label's seeds in an order of its own."""
    return [
        _generation_request(task, language, label, number, seeds, params)
        for label in task.labels
        for number in range(_parts(params))
    ]


def _parts(params: GenerateParams) -> int:
    return -(-params.texts_per_label // params.texts_per_request)


def _generation_request(
    task: Task, language: str, label: Label, number: int, seeds: Sequence[Record], params: GenerateParams
) -> ChatRequest:
    examples = [seed.text for seed in seeds if seed.label == label.name]
    random.Random(f"{params.seed}/{language}/{label.name}/{number}").shuffle(examples)
    before = number * params.texts_per_request
    content = render(
        "generate",
        task=task,
        language=language,
        language_name=language_name(language),
        label=label,
        seeds=examples,
        count=min(params.texts_per_request, params.texts_per_label - before),
        part=number + 1,
        parts=_parts(params),
    )
    id = f"generate/{label.name}/{number}"
    return ChatRequest(id, "generate", content, params.temperature, params.seed + number, TEXTS_SCHEMA)


def plan_revision(
    task: Task, language: str, written: Mapping[str, Sequence[str]], params: GenerateParams
) -> list[ChatRequest]:
    """Return a request for verdicts on each reply that held texts; `written` maps its request's id to the texts."""
    labels = {label.name: label for label in task.labels}
    requests = []
    for id, texts in written.items():
        if not texts:
            continue
        label, number = _label_and_number(id)
        content = render(
            "revise",
            task=task,
            language=language,
            language_name=language_name(language),
            label=labels[label],
            texts=texts,
        )
        requests.append(ChatRequest(f"revise/{label}/{number}", "revise", content, 0.0, params.seed, VERDICTS_SCHEMA))
    return requests


def run_generate(
    prepared: Path, recording: Path, generated: Path, params: GenerateParams, teacher_params: TeacherParams
) -> None:
    """Have the teacher write the texts of a cell.

    Args:
        prepared: What `prepare` wrote.
        recording: Recorded replies of the cell; read only where the teacher is a recorded one.
        generated: Folder to write: samples.parquet (the texts with their verdicts), usage.json (requests, tokens, what
            could not be read, what is short of the quota) and journal.jsonl, which a second run reads first so that
            nothing is asked for twice.
        params: Section `generate` of params.yaml.
        teacher_params: Section `teacher` of params.yaml.

    Raises:
        TeacherError: If the teacher cannot be asked; the replies until then stay in the journal.
        PolydistillError: If no reply held a text.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    task, language = Task.model_validate(facts["task"]), facts["language"]
    seeds = read_records(prepared / "seeds.parquet")
    asyncio.run(_generate(task, language, seeds, recording, generated, params, teacher_params))


async def _generate(
    task: Task,
    language: str,
    seeds: Sequence[Record],
    recording: Path,
    generated: Path,
    params: GenerateParams,
    teacher_params: TeacherParams,
) -> None:
    async with open_teacher(teacher_params, recording) as teacher:
        with Journal(generated / "journal.jsonl") as journal:
            requests = plan_generation(task, language, seeds, params)
            replies = await ask_all(teacher, requests, journal, teacher_params.concurrency)
            written: dict[str, list[str]] = {}
            unreadable = []
            for request in requests:
                try:
                    written[request.id] = read_texts(replies[request.id])
                except UnreadableReply as exc:
                    unreadable.append({"request": request.id, "reason": str(exc)})
            verdicts: dict[str, list[Verdict]] = {}
            if params.self_revision:
                revisions = plan_revision(task, language, written, params)
                judged = await ask_all(teacher, revisions, journal, teacher_params.concurrency)
                for request in revisions:
                    id = request.id.replace("revise/", "generate/", 1)
                    verdicts[id] = read_verdicts(judged[request.id], len(written[id]))
                replies |= judged
        rows = list(_rows(written, verdicts, language, teacher))
        if not rows:
            reasons = dict(Counter(entry["reason"] for entry in unreadable))
            raise PolydistillError(
                f"none of {len(requests)} replies held a text: {reasons}; is {teacher.kind} a chat model?"
            )
        counts = Counter(row["label"] for row in rows)
        shortfall = {
            n: params.texts_per_label - counts[n] for n in task.label_names if counts[n] < params.texts_per_label
        }
        write_rows(generated / "samples.parquet", rows, SAMPLE)
        usage = {
            "schema_version": 1,
            "teacher": {"kind": teacher.kind, "model": teacher.models["generate"]},
            "purposes": usage_by_purpose(replies),
            "unreadable": unreadable,
            "shortfall": shortfall,
        }
        write_json(generated / "usage.json", usage)
    log.info("%d texts from %d replies of %s", len(rows), len(written), teacher.models["generate"])
    for entry in unreadable:
        log.warning("reply to %s could not be read: %s", entry["request"], entry["reason"])


def _label_and_number(id: str) -> tuple[str, str]:
    """Take a request's id apart; the label may hold slashes itself."""
    label, _, number = id.partition("/")[2].rpartition("/")
    return label, number


def _rows(
    written: Mapping[str, Sequence[str]], verdicts: Mapping[str, Sequence[Verdict]], language: str, teacher: Teacher
) -> Iterable[dict[str, Any]]:
    for id, texts in written.items():
        label, _ = _label_and_number(id)
        for position, text in enumerate(texts):
            verdict = verdicts[id][position] if id in verdicts else Verdict(None, "")
            source = Source(
                teacher=teacher.models["generate"], prompt=prompt_hash("generate"), request=id, position=position
            )
            record = Record(text, label, language, "synthetic", source)
            yield to_row(record, verdict=verdict.accept, verdict_reason=verdict.reason)


def usage_by_purpose(replies: Mapping[str, Reply]) -> dict[Purpose, dict[str, int | None]]:
    """Return requests and tokens by purpose; tokens are None where the teacher does not count them."""
    purposes: dict[Any, list[Reply]] = {}
    for id, reply in replies.items():
        purposes.setdefault(id.split("/")[0], []).append(reply)
    return {
        purpose: {
            "requests": len(of_purpose),
            "prompt_tokens": _total([reply.prompt_tokens for reply in of_purpose]),
            "completion_tokens": _total([reply.completion_tokens for reply in of_purpose]),
        }
        for purpose, of_purpose in purposes.items()
    }


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
