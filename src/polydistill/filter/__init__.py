"""Decides which generated texts are kept; each of the others goes for the first check that finds it."""

import difflib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from polydistill.checks import Check, Context, open_checks
from polydistill.checks.wrong_language import WrongLanguage
from polydistill.errors import DataError, ParamsError
from polydistill.files import new_folder, read_json, remove_folder, require_input, write_json
from polydistill.leaks import Leak, find_leaks
from polydistill.params import FilterParams
from polydistill.records import (
    QUESTION,
    REJECTED,
    Sample,
    read_records,
    read_rows,
    read_samples,
    to_row,
    write_records,
    write_rows,
)
from polydistill.task import Task
from polydistill.text import tidy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """A text with a fault: the reason is the name of the check, the detail the fact behind it."""

    sample: Sample
    reason: str
    detail: str


@dataclass(frozen=True)
class FilterResult:
    """What came of each text, in an order that does not depend on that of the input.

    Attributes:
        accepted: The texts that stay.
        rejected: The texts that go, each for the first check that finds it.
        marked: What checks that only mark find among the texts that stay; a text may stand there more than once.
        agreement: How often two checks that look at each text by itself find the same one, by their names.
        found: How many texts each of those finds.
    """

    accepted: list[Sample]
    rejected: list[Finding]
    marked: list[Finding]
    agreement: dict[tuple[str, str], int]
    found: dict[str, int]


def filter_samples(samples: Sequence[Sample], checks: Iterable[Check], mark: Sequence[str] = ()) -> FilterResult:
    """Run the checks one after the other.

    Args:
        samples: The texts, in any order.
        checks: What to look for, in the order in which it counts.
        mark: Reasons of checks that take nothing away.
    """
    ordered = sorted(samples, key=_canonical)
    left = list(range(len(ordered)))
    rejected: list[Finding] = []
    marks: list[tuple[int, str, str]] = []
    by_itself: dict[str, set[int]] = {}
    for check in checks:
        looked_at = left if check.compares else range(len(ordered))
        found = {looked_at[i]: detail for i, detail in check.find([ordered[i] for i in looked_at]).items()}
        if wrong := [detail for detail in found.values() if not isinstance(detail, str)]:
            raise ParamsError(
                f"filter.checks: {check.reason} says {wrong[0]!r} of a text; wanted what is wrong, or None"
            )
        if not check.compares:
            by_itself[check.reason] = set(found)
        if check.reason in mark:
            marks += [(i, check.reason, detail) for i, detail in sorted(found.items())]
            continue
        rejected += [Finding(ordered[i], check.reason, found[i]) for i in left if i in found]
        left = [i for i in left if i not in found]
    stays = set(left)
    return FilterResult(
        accepted=[ordered[i] for i in left],
        rejected=rejected,
        marked=[Finding(ordered[i], reason, detail) for i, reason, detail in marks if i in stays],
        agreement={
            (one, other): len(by_itself[one] & by_itself[other])
            for one, other in combinations(by_itself, 2)
            if by_itself[one] & by_itself[other]
        },
        found={reason: len(of_check) for reason, of_check in by_itself.items()},
    )


def _canonical(sample: Sample) -> tuple[str, ...]:
    record = sample.record
    return record.label, record.id, *map(str, astuple(record.source))


def summary(
    result: FilterResult, labels: Sequence[str], checks: Sequence[Check], mark: Sequence[str], *, self_revision: bool
) -> dict[str, Any]:
    """Return the content of filter.json."""
    samples = [*result.accepted, *(finding.sample for finding in result.rejected)]
    reasons, marks = Counter(f.reason for f in result.rejected), Counter(f.reason for f in result.marked)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome, of_outcome in (("accepted", result.accepted), ("rejected", [f.sample for f in result.rejected])):
        for sample in of_outcome:
            outcomes[sample.record.label][outcome] += 1
    decisions = Counter(sample.decision or "none" for sample in samples)
    return {
        "schema_version": 2,
        "generated": len(samples),
        "accepted": len(result.accepted),
        "rejected": len(result.rejected),
        "by_reason": {check.reason: reasons[check.reason] for check in checks if check.reason not in mark},
        "marked": {check.reason: marks[check.reason] for check in checks if check.reason in mark},
        "reasons": {check.reason: check.meaning for check in checks},
        "by_label": {
            label: {outcome: outcomes[label][outcome] for outcome in ("accepted", "rejected")}
            for label in dict.fromkeys([*labels, *sorted(outcomes)])
        },
        "found": result.found,
        "agreement": [{"checks": list(pair), "texts": n} for pair, n in result.agreement.items()],
        "language": {"checked": any(isinstance(check, WrongLanguage) and check.rule.known for check in checks)},
        "self_revision": {
            "checked": self_revision,
            "verdicts": {decision: decisions[decision] for decision in ("accept", "repair", "reject", "none")},
        },
    }


def run_filter(prepared: Path, generated: Path, filtered: Path, params: FilterParams, *, self_revision: bool) -> None:
    """Write accepted.parquet, rejected.parquet, marked.parquet and filter.json for one cell.

    What was in the folder goes first, and where this step fails accepted.parquet is missing, so that no step goes on.

    Args:
        prepared: The folder that `prepare` wrote.
        generated: The folder that `generate` wrote.
        filtered: The folder to write.
        params: Section `filter` of params.yaml.
        self_revision: Whether a text needs the judge's yes; without it verdicts are not looked at.

    Raises:
        DataError: If an input is missing or damaged, no text is kept, or a text is kept that gives the test set away
            where `prepare` was not told that it may.
        ParamsError: If a check lacks a setting.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    samples = read_samples(require_input(generated / "samples.parquet", "generate"))
    tests = [row["text"] for row in read_rows(prepared / "questions.parquet", QUESTION)]
    seeds = [record.text for record in read_records(prepared / "seeds.parquet")]
    task = Task.model_validate(facts["task"])
    context = Context(facts["language"], task.languages, seeds, tests, self_revision, task.names_of_labels)
    checks = open_checks(params, context)
    remove_folder(filtered)
    result = filter_samples(samples, checks, params.mark)
    leaks = {}
    if "test_leak" not in params.rejecting:
        leaks = find_leaks([sample.record.text for sample in result.accepted], tests, params.test_leak)
    failure = _failure(result, leaks, tests, allowed=facts["allow_leaks"])
    log.info("kept %d of %d generated texts; rejected: %s", len(result.accepted), len(samples), _told(result.rejected))
    if result.marked:
        log.info("marked, and kept: %s", _told(result.marked))
    content = summary(result, task.label_names, checks, params.mark, self_revision=self_revision)
    content |= {"kept_leaks": len(leaks), "warnings": _warnings(result, leaks, tests, content["by_label"])}
    with new_folder(filtered) as folder:
        if not failure:
            write_records(folder / "accepted.parquet", [sample.record for sample in result.accepted])
        for name, findings in (("rejected", result.rejected), ("marked", result.marked)):
            rows = (to_row(f.sample.record, reason=f.reason, detail=f.detail) for f in findings)
            write_rows(folder / f"{name}.parquet", rows, REJECTED)
        write_json(folder / "filter.json", content)
    if failure:
        raise DataError(f"{task.name}/{facts['language']}: {failure}")
    for warning in content["warnings"]:
        log.warning("%s", warning)


def list_findings(
    filtered: Path, reasons: Collection[str] = (), *, marked: bool = False
) -> Iterator[tuple[str, str, str, str]]:
    """Yield reason, label, text and detail, each on one line, of the texts that were rejected, or marked.

    Args:
        filtered: The folder that `filter` wrote.
        reasons: Those wanted; all where there are none.
        marked: Whether to yield what was marked.

    Raises:
        DataError: If filter has not run, or had no check of one of these names.
    """
    facts = read_json(require_input(filtered / "filter.json", "filter"))
    checks = facts["reasons"]
    for reason in sorted(set(reasons) - set(checks)):
        close = difflib.get_close_matches(reason, checks, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there were {', '.join(checks)}"
        raise DataError(f"{filtered}: no check `{reason}` was run; {hint}")
    only_marked = sorted(set(reasons) & set(facts["marked"]))
    if only_marked and not marked:
        log.warning("%s only marks here; add --marked", ", ".join(only_marked))
    for row in read_rows(filtered / ("marked.parquet" if marked else "rejected.parquet"), REJECTED):
        if not reasons or row["reason"] in reasons:
            reason, label, text, detail = (
                tidy(row[key], len(row[key])) for key in ("reason", "label", "text", "detail")
            )
            yield reason, label, text, detail


def _told(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.reason for finding in findings)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common()) or "none"


def _failure(result: FilterResult, leaks: Mapping[int, Leak], tests: Sequence[str], *, allowed: bool) -> str | None:
    """Return why the chain cannot go on from here, and what to do; None where it can."""
    if not result.accepted and not result.rejected:
        return "generate wrote no text; see usage.json beside samples.parquet for what became of the replies"
    if not result.accepted:
        return (
            f"filter kept none of {len(result.rejected)} generated texts; rejected: {_told(result.rejected)}; "
            "`polydistill rejected` lists them; loosen the section `filter` of params.yaml, or generate again"
        )
    if leaks and not allowed:
        return (
            f"{_leaking(result, leaks, tests)}; have `test_leak` in params.yaml:filter.checks and not in filter.mark, "
            "or name the cell in prepare.allow_leaks and run from `polydistill prepare` on"
        )
    return None


def _warnings(
    result: FilterResult, leaks: Mapping[int, Leak], tests: Sequence[str], by_label: Mapping[str, Mapping[str, int]]
) -> list[str]:
    leaking = [f"{_leaking(result, leaks, tests)}; no score on it can be trusted"] if leaks else []
    return leaking + [f"no text of the label {label} is left" for label, n in by_label.items() if not n["accepted"]]


def _leaking(result: FilterResult, leaks: Mapping[int, Leak], tests: Sequence[str]) -> str:
    first, leak = next(iter(leaks.items()))
    return (
        f"{len(leaks)} of {len(result.accepted)} kept texts give the test set away, such as: "
        f"{result.accepted[first].record.text} ({leak.told(tests)})"
    )
