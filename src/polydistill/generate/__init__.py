"""Has the teacher write N usable texts a label, guided by the seeds, and its own verdict on each."""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from polydistill.checks import Context
from polydistill.errors import DataError, PolydistillError
from polydistill.files import read_json, require_input, write_json
from polydistill.generate.quota import LabelQuota, Quota, RequestPlan, verdicts_of
from polydistill.generate.rules import Rules
from polydistill.params import BudgetParams, FilterParams, GenerateParams, TeacherParams
from polydistill.prompts import prompt_hash
from polydistill.records import SAMPLE, Record, Source, read_records, to_row, write_rows
from polydistill.replies import FAULTS, faults_of, read_texts
from polydistill.strategies import Strategy, open_strategy
from polydistill.task import Task
from polydistill.teachers import (
    Journal,
    RecordedTeacher,
    Teacher,
    ask,
    check_target,
    follows_schema,
    ledger,
    open_journal,
    open_teacher,
)

log = logging.getLogger(__name__)


def run_generate(
    prepared: Path,
    recording: Path,
    generated: Path,
    params: GenerateParams,
    checks: FilterParams,
    teacher_params: TeacherParams,
    budget: BudgetParams,
    *,
    record_to: Path | None = None,
) -> None:
    """Ask the teacher for the texts of a cell.

    Args:
        prepared: What `prepare` wrote.
        recording: Recorded replies of the cell; read only where the teacher is a recorded one.
        generated: Folder to write: samples.parquet (the texts with their verdicts), usage.json (what was asked and
            what it took, what is short of the quota and why) and journal/<strategy>.jsonl, or
            journal/recorded-<strategy>.jsonl, which a second run reads first so that nothing is asked for twice.
        params: Section `generate` of params.yaml.
        checks: Section `filter` of params.yaml: what makes a text unusable.
        teacher_params: Section `teacher` of params.yaml.
        budget: Section `budget` of params.yaml.
        record_to: File to write the replies to as a recording, at the end, whatever the end is.

    Raises:
        TeacherError: If the teacher cannot be asked, or the budget is reached; the replies until then stay in the
            journal.
        DataError: If the journal belongs to another plan or another process, or cannot be written.
        PolydistillError: If no reply held a text.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    task, language = Task.model_validate(facts["task"]), facts["language"]
    seeds = read_records(prepared / "seeds.parquet")
    strategy = open_strategy(task, language, seeds, params)  # what it lacks is said before anything is asked
    check_target(record_to)

    async def run() -> None:
        async with open_teacher(teacher_params, recording) as teacher:
            if isinstance(teacher, RecordedTeacher) and teacher.strategy != params.strategy:
                raise DataError(
                    f"{recording} holds replies by the strategy {teacher.strategy}, and params.yaml:generate.strategy "
                    f"is {params.strategy}; set it to {teacher.strategy}, or ask a server (params.yaml:teacher)"
                )
            plan_facts = _plan_facts(task, language, seeds, strategy, params, checks, teacher)
            name = params.strategy
            with open_journal(generated, name, plan_facts, teacher, record_to, strategy=name) as journal:
                # Of an earlier run: no step is to go on from it if this run does not come to its end.
                (generated / "samples.parquet").unlink(missing_ok=True)
                known = sum(of.requests for of in journal.usage.values())
                teacher.structured = await follows_schema(teacher, journal, teacher_params, budget)
                quota = open_quota(task, language, seeds, params, checks, teacher)
                usage = await _fill(quota, generated, journal, teacher, teacher_params, budget)
                _tell(usage, known)

    asyncio.run(run())


def open_plan(
    task: Task, language: str, seeds: Sequence[Record], params: GenerateParams, *, structured: bool
) -> RequestPlan:
    """Return what is to be asked for a cell; raises as `open_strategy` does."""
    return RequestPlan(task, language, open_strategy(task, language, seeds, params), params, structured)


def open_quota(
    task: Task,
    language: str,
    seeds: Sequence[Record],
    params: GenerateParams,
    checks: FilterParams,
    teacher: Teacher,
) -> Quota:
    """Return what there is to ask the teacher for a cell; raises as `open_strategy` does."""
    context = Context(
        language,
        task.languages,
        [seed.text for seed in seeds],
        self_revision=params.self_revision,
        labels=task.names_of_labels,
    )
    return Quota(
        open_plan(task, language, seeds, params, structured=teacher.structured is not False),
        Rules.open(checks, context),
        lambda request: request.digest(teacher.models[request.purpose], teacher.revision),
    )


async def _fill(
    quota: Quota,
    generated: Path,
    journal: Journal,
    teacher: Teacher,
    teacher_params: TeacherParams,
    budget: BudgetParams,
) -> dict[str, Any]:
    """Ask until the quota is met or its bound is; return the content of usage.json."""

    def write_usage(*, ended: bool) -> dict[str, Any]:
        usage = usage_facts(quota, journal, teacher, budget, ended=ended)
        write_json(generated / "usage.json", usage)
        return usage

    try:
        before = dict(journal.latest)  # of earlier runs; in this one a failure is final anyway
        await ask(
            quota, teacher, journal, teacher_params, budget, faults_of, lambda request: quota.stands(request, before)
        )
    except BaseException:
        with suppress(DataError):  # what stopped the asking is the news, perhaps a full disk
            write_usage(ended=False)
        raise
    usage = write_usage(ended=True)
    if not usage["texts"]["written"]:
        raise PolydistillError(
            f"no reply held a text: {usage['unreadable']}; is {teacher.models['generate']} a chat model?"
        )
    write_rows(generated / "samples.parquet", sample_rows(quota, journal, teacher.models["generate"]), SAMPLE)
    return usage


def _plan_facts(
    task: Task,
    language: str,
    seeds: Sequence[Record],
    strategy: Strategy,
    params: GenerateParams,
    checks: FilterParams,
    teacher: Teacher,
) -> dict[str, Any]:
    """Return what all replies of a journal have in common; where it changes, they are of no use any more."""
    facts: dict[str, Any] = {
        "instruction": task.instruction,
        "labels": [[label.name, label.description] for label in task.labels],
        "language": language,
        "seeds": _hash(sorted([seed.label, seed.id] for seed in seeds)),
        "model": teacher.models.get("generate"),
        "revision": teacher.revision,
        "prompts": {purpose: prompt_hash(purpose) for purpose in ("generate", "revise")},
    }
    facts |= {name: getattr(params, name) for name in ("strategy", "temperature", "seed")}
    facts |= {name: getattr(params, name) for name in ("texts_per_request", "seeds_per_request")}
    if strategy.ahead is not None:
        # Its prompts name accepted texts, so they depend on what is accepted.
        facts["facets"] = _hash(task.facets.model_dump() if task.facets else None)
        facts |= {"self_revision": params.self_revision, "filter": checks.model_dump()}
    return facts


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def sample_rows(quota: Quota, journal: Journal, model: str) -> Iterator[dict[str, Any]]:
    """Yield a row of `SAMPLE` for each text that was written, usable or not, in the order of labels and requests.

    The texts come from the journal, so that not all of them stand in memory.
    """
    for label in quota.labels.values():
        for number, (digest, verdicts_digest) in enumerate(label.digests):
            yield from _rows_of_part(label, number, digest, verdicts_digest, journal, model)


def _rows_of_part(
    label: LabelQuota, number: int, digest: str, verdicts_digest: str | None, journal: Journal, model: str
) -> Iterator[dict[str, Any]]:
    reply = journal.get(digest)
    if reply is None:
        return
    plan = label.plan
    texts = read_texts(plan.shape("generate", plan.per_request), reply).texts
    said = journal.get(verdicts_digest) if verdicts_digest else None
    verdicts = verdicts_of(plan.shape("revise", len(texts)), said) if said else [None] * len(texts)
    for position, (text, verdict) in enumerate(zip(texts, verdicts, strict=True)):
        repaired = verdict.repaired if verdict else None
        source = Source(
            teacher=model,
            prompt=prompt_hash("generate"),
            request=f"generate/{label.label.name}/{number}",
            position=position,
            repair=prompt_hash("revise") if repaired else None,
        )
        yield to_row(
            Record(repaired or text, label.label.name, plan.language, "synthetic", source),
            decision=verdict.decision if verdict else None,
            verdict_reason=verdict.reason if verdict else "",
            original=text if repaired else None,
        )


def usage_facts(
    quota: Quota, journal: Journal, teacher: Teacher, budget: BudgetParams, *, ended: bool
) -> dict[str, Any]:
    """Return the content of usage.json: what was asked and what it took, over all runs of the journal.

    It counts as complete once all was asked (`ended`) and came to a text at least.
    """
    labels, judging = quota.labels.values(), quota.judging
    unreadable = sum((label.unreadable for label in labels), Counter())
    unusable = sum((label.unusable for label in labels), Counter())
    usable = sum(len(label.accepted) for label in labels)
    written = usable + unusable.total()
    return {
        "schema_version": 2,
        "complete": ended and written > 0,
        "teacher": {
            "kind": teacher.kind,
            "model": teacher.models.get("generate"),
            "revision": teacher.revision,
            "structured": teacher.structured,
        },
        "strategy": quota.plan.params.strategy,
        "purposes": ledger(journal.usage, budget),
        "texts": {
            "wanted": quota.plan.params.texts_per_label * len(quota.labels),
            "written": written,
            "usable": usable,
        },
        "unusable": dict(sorted(unusable.items())),
        "unreadable": dict(sorted(unreadable.items())),
        "faults": {fault: FAULTS[fault] for fault in sorted(unreadable) if fault in FAULTS},
        "shortfall": {
            name: {"missing": label.missing, "reasons": dict(label.lost)}
            for name, label in quota.labels.items()
            if label.missing
        },
        "judge": {
            "verdicts": {decision: judging.verdicts[decision] for decision in ("accept", "repair", "reject", "none")},
            "accepts_what_rules_reject": dict(sorted(judging.accepts_what_rules_reject.items())),
            "faults_language_that_rules_accept": judging.faults_language_that_rules_accept,
        },
    }


def _tell(usage: Mapping[str, Any], known: int) -> None:
    """Sum up a run; `known` are the requests of those before it."""
    texts = usage["texts"]
    requests = sum(of["requests"] for of in usage["purposes"].values())
    log.info(
        "%d usable texts of %d written, from %d requests to %s, %d of them in this run",
        texts["usable"],
        texts["written"],
        requests,
        usage["teacher"]["model"],
        requests - known,
    )
    for label, short in usage["shortfall"].items():
        reasons = ", ".join(f"{reason} {n}" for reason, n in short["reasons"].items())
        log.warning("%s is %d usable texts short: %s", label, short["missing"], reasons)
