"""What a task's texts may differ in: the teacher proposes it once, task.yaml keeps it, and the user edits it there."""

import asyncio
import logging
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from polydistill.errors import DataError, ParamsError, TeacherError
from polydistill.files import explained, new_file, read_yaml
from polydistill.params import BudgetParams, TeacherParams, check
from polydistill.prompts import render
from polydistill.replies import FAULTS, faults_of, reply_faults
from polydistill.replies.parsing import answer_of, find_object
from polydistill.task import Facets, Task, language_name, load_task
from polydistill.teachers import ChatRequest, Failure, Journal, Reply, Teacher, ask_all, ask_one, ledger, open_teacher
from polydistill.text import fold

log = logging.getLogger(__name__)

FEW, MANY, MANY_TOPICS = 4, 6, 10
"""How many values the teacher is asked for; topics are asked for by label."""

_TOOK = ("requests", "retries", "prompt_tokens", "completion_tokens", "cost")
_MOST = 20  # values that are taken of one list; what is beyond is left out
_MOST_CHARS = 120  # of one value
_COMMENT = "# What texts may differ in, as the teacher proposed it; `diverse` combines these. Change it as you like."


def facets_request(task: Task, *, seed: int = 0) -> ChatRequest:
    """Return a request that has a teacher propose the facets of a task; another seed is another try."""
    content = render(
        "facets",
        task=task,
        languages=[language_name(tag) for tag in task.languages],
        few=FEW,
        many=MANY,
        many_topics=MANY_TOPICS,
    )
    return ChatRequest(f"facets/{task.name}/{seed}", "facets", content, 0.7, seed, _schema(task))


def _schema(task: Task) -> dict[str, Any]:
    values = {"type": "array", "items": {"type": "string"}}
    topics = _object({name: values for name in task.label_names})
    return _object({"lengths": values, "registers": values, "speakers": values, "topics": topics})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def read_facets(reply: Reply, task: Task) -> Facets:
    """Return the facets in a teacher's reply; a value that cannot be used, or stands twice, is left out.

    Raises:
        TeacherError: If the reply holds no facets, or fewer than two values of one; the message lists it all.
    """
    faults = reply_faults(reply)
    content, found = (None, faults) if faults else find_object(answer_of(reply.text)[0], "topics")
    if content is None:
        way = "raise params.yaml:teacher.max_tokens" if found[0] == "cut_off" else "run it again"
        raise TeacherError(f"the teacher's facets cannot be used: {FAULTS[found[0]]}; {way}")
    topics = content["topics"] if isinstance(content["topics"], dict) else {}
    lists = {name: content.get(name) for name in ("lengths", "registers", "speakers")}
    lists |= {f"topics.{name}": topics.get(name) for name in task.label_names}
    usable = {name: _usable(values) if isinstance(values, list) else [] for name, values in lists.items()}
    short = [f"{name} {len(values)}" for name, values in usable.items() if len(values) < 2]
    if short:
        raise TeacherError(
            f"the teacher's facets cannot be used, usable values in {', '.join(short)}, and 2 are needed; "
            "run it again, or write the block `facets` in task.yaml by hand"
        )
    of_labels = {name: usable.pop(f"topics.{name}") for name in task.label_names}
    return check(Facets, {**usable, "topics": of_labels}, "the teacher's facets")


def _usable(values: Iterable[Any]) -> list[str]:
    """Return the first values that are a few visible words, each once, on one line."""
    usable: dict[str, str] = {}
    for value in values:
        if len(usable) == _MOST:
            break
        if not isinstance(value, str) or len(value) > _MOST_CHARS:
            continue
        words = " ".join(value.split())
        # Control, format and private characters, half characters, and what is no character at all.
        if any(c.isalnum() for c in words) and not any(unicodedata.category(c)[0] == "C" for c in words):
            usable.setdefault(fold(words), words)
    return list(usable.values())


def has_facets(path: Path) -> bool:
    """Say whether a task.yaml has the key `facets`, be it empty.

    Raises:
        DataError: If there is no such file, or it is no YAML.
    """
    content = read_yaml(path)
    return isinstance(content, dict) and "facets" in content


def require_no_facets(path: Path) -> Task:
    """Return the task of a task.yaml without facets; to be asked before the teacher is.

    Raises:
        PolydistillError: If the file is missing or wrong, or holds facets.
    """
    task = load_task(path)
    if has_facets(path):
        raise DataError(f"{path} holds facets already; edit them there, or delete the block `facets` to have new ones")
    return task


def append_facets(path: Path, facets: Facets) -> None:
    """Add the block `facets` at the end of a task.yaml; what is there stays as it is, byte by byte.

    Raises:
        PolydistillError: If the file is missing or wrong, holds facets, or cannot be gone on with at its end.
    """
    task = require_no_facets(path)
    values = yaml.safe_dump({"facets": facets.model_dump()}, sort_keys=False, allow_unicode=True, width=1_000)
    with explained(path, "read"):
        before = path.read_bytes()
    newline = "\r\n" if b"\r\n" in before else "\n"
    block = f"{_COMMENT}\n{values}".replace("\n", newline)
    gap = "" if before.endswith(b"\n") else newline
    with new_file(path) as partial:
        partial.write_bytes(before + f"{gap}{block}".encode())
        # A file that ends with `...`, or whose keys stand in braces or further right, does not go on like that.
        if _task_or_none(partial) != task.model_copy(update={"facets": facets}):
            raise DataError(f"{path} cannot be gone on with at its end; put this among its keys yourself:\n{values}")


def _task_or_none(path: Path) -> Task | None:
    try:
        return load_task(path)
    except (DataError, ParamsError):
        return None


def run_facets(
    task_file: Path, journal: Path, params: TeacherParams, budget: BudgetParams, *, named: bool = True
) -> None:
    """Have the teacher propose the facets of a task, once, and add them to its task.yaml.

    Args:
        task_file: The task.yaml.
        journal: File that keeps the teacher's replies until facets stand in task.yaml.
        params: Section `teacher` of params.yaml; a recorded teacher proposes nothing.
        budget: Section `budget` of params.yaml.
        named: Whether the user asked for this very task; else one that has facets is passed over.

    Raises:
        PolydistillError: If there are facets already, the teacher cannot be asked, or its reply is of no use; another
            run asks for another reply.
    """
    if has_facets(task_file):
        journal.unlink(missing_ok=True)  # of a run that was killed when they stood there
        if not named:
            log.info("%s has facets already", task_file)
            return
    task = require_no_facets(task_file)
    if params.kind == "recorded":
        raise ParamsError(
            "a recorded teacher proposes no facets; set params.yaml:teacher to a server, or write the block `facets` "
            f"in {task_file} by hand"
        )

    async def answer(request: ChatRequest, teacher: Teacher, opened: Journal) -> Reply:
        outcome = await ask_one(request, teacher, opened, params, budget, faults_of)
        if isinstance(outcome, Failure):
            # Refused for the schema? Without one the prompt still says which JSON it wants.
            plain = replace(request, schema=None)
            outcome = (await ask_all([plain], teacher, opened, params, budget, faults_of))[plain.id]
        assert isinstance(outcome, Reply)  # a failure would have been all there is, and told
        return outcome

    async def propose() -> Facets:
        async with open_teacher(params, task_file.with_name("recording.jsonl")) as teacher:
            with Journal(journal, {}) as opened:
                paid, seed = len(opened), 0
                while True:
                    reply = await answer(facets_request(task, seed=seed), teacher, opened)
                    try:
                        facets = read_facets(reply, task)
                    except TeacherError:
                        if len(opened) > paid:
                            raise
                        seed += 1  # that reply is of an earlier run; another seed is another request
                        continue
                    took = ledger(opened.usage, budget)["facets"]
                    log.info(
                        "it took %s", ", ".join(f"{name} {took[name]}" for name in _TOOK if took[name] is not None)
                    )
                    return facets

    append_facets(task_file, asyncio.run(propose()))
    journal.unlink()
    log.info("%s has facets now: look them through, run `polydistill prepare`, then generate by `diverse`", task_file)
