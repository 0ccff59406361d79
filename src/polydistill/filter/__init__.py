"""Decides which generated texts are kept; each of the others goes for the first of `REASONS` that applies."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from polydistill.checks import REASONS, TextCheck, duplicates, text_checks
from polydistill.checks.language import LanguageRule, language_rule
from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.params import FilterParams
from polydistill.records import (
    QUESTION,
    REJECTED,
    SAMPLE,
    Record,
    read_records,
    read_rows,
    to_record,
    to_row,
    write_records,
    write_rows,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A generated text and what the judge decided, accept, repair or reject; None where nothing could be read."""

    record: Record
    decision: str | None = None
    verdict_reason: str = ""


@dataclass(frozen=True)
class Rejected:
    """A text that goes: one of `REASONS`, and in `detail` the fact behind it."""

    sample: Sample
    reason: str
    detail: str


@dataclass(frozen=True)
class FilterResult:
    """What came of each text, in an order that does not depend on that of the input."""

    accepted: list[Sample]
    rejected: list[Rejected]


Check = Callable[[Sequence[Sample]], dict[int, str]]
"""Finds the samples that must go: index -> detail."""


def build_checks(
    params: FilterParams, language: LanguageRule, *, seeds: Sequence[str], tests: Sequence[str], self_revision: bool
) -> dict[str, Check]:
    """Return the checks by the reason that they reject for, in the order of `REASONS`."""
    near = params.near_duplicate
    checks: dict[str, Check] = {
        **{reason: _each(check) for reason, check in text_checks(params, language).items()},
        "test_leak": lambda samples: duplicates.copies(_texts(samples), tests, near),
        "copied_seed": lambda samples: duplicates.copies(_texts(samples), seeds, near),
        "no_verdict": _verdict(None),
        "judge_rejected": _verdict("reject"),
        "conflicting_label": lambda samples: duplicates.conflicts(_texts(samples), _labels(samples)),
        "exact_duplicate": lambda samples: duplicates.repeats(_texts(samples)),
        "near_duplicate": lambda samples: duplicates.near_repeats(_texts(samples), _labels(samples), near),
    }
    of_judge = {"no_verdict", "judge_rejected"}
    return {reason: checks[reason] for reason in REASONS if self_revision or reason not in of_judge}


def filter_samples(samples: Sequence[Sample], checks: dict[str, Check]) -> FilterResult:
    """Run the checks one after the other, each on what the earlier ones left."""
    kept = sorted(samples, key=_canonical)
    rejected: list[Rejected] = []
    for reason, check in checks.items():
        found = check(kept)
        rejected += [Rejected(kept[i], reason, found[i]) for i in sorted(found)]
        kept = [sample for i, sample in enumerate(kept) if i not in found]
    return FilterResult(kept, rejected)


def _canonical(sample: Sample) -> tuple[str, ...]:
    record = sample.record
    return record.label, record.id, json.dumps(asdict(record.source), sort_keys=True)


def _each(rule: TextCheck) -> Check:
    def check(samples: Sequence[Sample]) -> dict[int, str]:
        details = {i: rule(sample.record.text) for i, sample in enumerate(samples)}
        return {i: detail for i, detail in details.items() if detail is not None}

    return check


def _verdict(unwanted: str | None) -> Check:
    return lambda samples: {i: s.verdict_reason for i, s in enumerate(samples) if s.decision == unwanted}


def _texts(samples: Sequence[Sample]) -> list[str]:
    return [sample.record.text for sample in samples]


def _labels(samples: Sequence[Sample]) -> list[str]:
    return [sample.record.label for sample in samples]


def summary(
    result: FilterResult, labels: Sequence[str], language: LanguageRule, *, self_revision: bool
) -> dict[str, Any]:
    """Return the content of filter.json."""
    accepted, reasons = result.accepted, Counter(r.reason for r in result.rejected)
    samples = [*accepted, *(r.sample for r in result.rejected)]
    accepted_by_label = Counter(_labels(accepted))
    rejected_by_label = Counter(_labels([r.sample for r in result.rejected]))
    decisions = Counter(sample.decision or "none" for sample in samples)
    return {
        "schema_version": 1,
        "generated": len(samples),
        "accepted": len(accepted),
        "rejected": len(result.rejected),
        "by_reason": {reason: reasons[reason] for reason in REASONS},
        "reasons": REASONS,
        "by_label": {
            label: {"accepted": accepted_by_label[label], "rejected": rejected_by_label[label]}
            for label in dict.fromkeys([*labels, *accepted_by_label, *rejected_by_label])
        },
        "language": {
            "checked": language.known,
            "candidates": language.identifier.languages,
            "too_short_to_tell": sum(language.too_short_to_tell(s.record.text) for s in accepted),
        },
        "self_revision": {
            "checked": self_revision,
            "verdicts": {decision: decisions[decision] for decision in ("accept", "repair", "reject", "none")},
            "rejected_by_judge": reasons["judge_rejected"],
            "without_verdict": reasons["no_verdict"],
        },
    }


def run_filter(prepared: Path, generated: Path, filtered: Path, params: FilterParams, *, self_revision: bool) -> None:
    """Write accepted.parquet, rejected.parquet and filter.json for one cell.

    Args:
        prepared: The folder that `prepare` wrote.
        generated: The folder that `generate` wrote.
        filtered: The folder to write.
        params: Section `filter` of params.yaml.
        self_revision: Whether a text needs the judge's yes; without it verdicts are not looked at.

    Raises:
        DataError: If an input is missing or damaged, or no text is kept.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    rows = read_rows(require_input(generated / "samples.parquet", "generate"), SAMPLE)
    samples = [Sample(to_record(row), row["decision"], row["verdict_reason"] or "") for row in rows]
    task = facts["task"]
    language = language_rule(facts["language"], task["languages"], params)
    if not language.known:
        log.warning("py3langid does not know %s, so no text is rejected for its language", language.wanted)
    checks = build_checks(
        params,
        language,
        seeds=[record.text for record in read_records(prepared / "seeds.parquet")],
        tests=[row["text"] for row in read_rows(prepared / "questions.parquet", QUESTION)],
        self_revision=self_revision,
    )
    result = filter_samples(samples, checks)
    counts = Counter(rejected.reason for rejected in result.rejected)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.most_common()) or "none"
    if not result.accepted:
        cell = f"{task['name']}/{facts['language']}"
        raise DataError(
            f"{cell}: filter kept none of {len(samples)} generated texts; rejected: {reasons}; "
            f"loosen the section `filter` of params.yaml, or generate again"
        )
    log.info("kept %d of %d generated texts; rejected: %s", len(result.accepted), len(samples), reasons)
    labels = [label["name"] for label in task["labels"]]
    content = summary(result, labels, language, self_revision=self_revision)
    for label, of_label in content["by_label"].items():
        if not of_label["accepted"]:
            log.warning("no text of the label %s is left", label)
    with new_folder(filtered) as folder:
        write_records(folder / "accepted.parquet", [sample.record for sample in result.accepted])
        rejected = (to_row(r.sample.record, reason=r.reason, detail=r.detail) for r in result.rejected)
        write_rows(folder / "rejected.parquet", rejected, REJECTED)
        write_json(folder / "filter.json", content)
