"""Decides what is told of one cell: the facts of all its steps on one card, with examples of what checks found."""

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from polydistill.cell import Card
from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.records import REJECTED, read_rows
from polydistill.replies import FAULTS
from polydistill.task import language_name

log = logging.getLogger(__name__)

Json = Mapping[str, Any]

EXAMPLES = 3
MAX_CHARACTERS = 280
# The measures that are told label by label.
BY_LABEL = ("distinct_2", "nearest_similarity")
# In the order in which they come up in a run.
PURPOSES = ("canary", "generate", "revise", "zero-shot")
FILTER_COUNTS = ("generated", "accepted", "rejected", "kept_leaks")
WINNER_KEYS = ("student", "metric", "reason", "no_candidates", "validation", "digests")
TOKENS = ("prompt_tokens", "completion_tokens")
NO_REPLY = "the request failed, so that there is no reply"


def pick_examples(rows: Iterable[Json]) -> list[dict[str, str]]:
    """Return the shortest texts that a person can read, at most `EXAMPLES`; their order does not matter.

    A text without any letter comes last, since it shows little. Long texts are cut.
    """

    def order(row: Json) -> tuple[bool, int, str, str, str]:
        text = row["text"]
        return not any(c.isalpha() for c in text), len(text), text, row["label"], row["detail"] or ""

    chosen = sorted(rows, key=order)[:EXAMPLES]
    return [{"text": cut(r["text"]), "label": r["label"], "detail": cut(r["detail"] or "")} for r in chosen]


def cut(text: str) -> str:
    """Return the text with at most `MAX_CHARACTERS` characters, and control characters made visible."""
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)
    return shown if len(shown) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 1].rstrip() + "…"


def cut_or_none(text: str | None) -> str | None:
    """Return the text as `cut` does."""
    return None if text is None else cut(text)


def by_frequency(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return reasons and their counts, most frequent first, equal ones by name; a reason that never came up is out."""
    return sorted(((r, n) for r, n in reasons.items() if n), key=lambda item: (-item[1], item[0]))


def groups(reasons: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return reasons and their counts as rows, in the order of `by_frequency`."""
    return [{"reason": cut(reason), "count": n} for reason, n in by_frequency(reasons)]


def explained_groups(reasons: Mapping[str, int], meanings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rows of `groups`, each with what its reason means."""
    return [{**group, "meaning": meanings.get(group["reason"], "")} for group in groups(reasons)]


def asked_rows(purposes: Iterable[tuple[str, Json]], meanings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row for what was asked of the teacher for each purpose, in the order in which they come up."""
    ordered = sorted(purposes, key=lambda item: PURPOSES.index(item[0]) if item[0] in PURPOSES else len(PURPOSES))
    return [
        {
            **{key: took[key] for key in ("requests", "retries", "failed", *TOKENS, "cost")},
            "purpose": cut(purpose),
            # Nobody waits for a recording, so that its time is none, which is not the teacher's.
            "seconds": took["seconds"] or None,
            "failures": groups(took["failures"]),
            "faults": explained_groups(took["faults"], meanings),
        }
        for purpose, took in ordered
    ]


def judge_facts(judge: Json, meanings: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what the judge said, None where it was not asked."""
    if not any(judge["verdicts"].values()):
        return None
    return {
        **{decision: judge["verdicts"][decision] for decision in ("accept", "repair", "reject", "none")},
        "accepts_what_rules_reject": explained_groups(judge["accepts_what_rules_reject"], meanings),
        "faults_language_that_rules_accept": judge["faults_language_that_rules_accept"],
    }


def found_rows(reasons: Json, meanings: Mapping[str, str], rows: Sequence[Json]) -> list[dict[str, Any]]:
    """Return what each check found, with examples from the rows of rejected.parquet or marked.parquet."""
    return [
        {**group, "examples": pick_examples(row for row in rows if row["reason"] == group["reason"])}
        for group in explained_groups(reasons, meanings)
    ]


def agreement_facts(filtering: Json) -> dict[str, Any]:
    """Return how far checks agree, the pair with most texts first."""
    found = filtering["found"]
    pairs = sorted(filtering["agreement"], key=lambda pair: (-pair["texts"], pair["checks"]))
    agreeing = {check for pair in pairs for check in pair["checks"]}
    return {
        "pairs": [{**pair, "found": [found[check] for check in pair["checks"]]} for pair in pairs],
        "alone": groups({check: n for check, n in found.items() if check not in agreeing}),
    }


def build_card(
    *,
    prepare: Json,
    usage: Json,
    filtering: Json,
    rejected: Sequence[Json],
    marked: Sequence[Json],
    diversity: Json,
    labels: Json,
    gates: Json,
    evaluation: Json,
    winner: Json,
) -> Card:
    """Return the card that the JSON files of a cell make, and its rows of rejected.parquet and marked.parquet.

    Raises:
        DataError: If the files are not of one cell, or do not hold what their step writes.
    """
    task = prepare["task"]
    cells = {
        "prepared": f"{task['name']}/{prepare['language']}",
        "evaluated": f"{evaluation['task']}/{evaluation['language']}",
        "selected": f"{winner['task']}/{winner['language']}",
    }
    if len(set(cells.values())) > 1:
        found = ", ".join(f"{folder} is of {cell}" for folder, cell in cells.items())
        raise DataError(f"the folders are not of one cell: {found}; give those of one")
    if not usage["complete"]:
        raise DataError("generate did not come to its end; run `polydistill generate` again, then what follows it")
    reply_meanings = {**FAULTS, "request_failed": NO_REPLY, **usage["faults"]}
    zero_shot = evaluation["teacher"]
    content = {
        "task": {"name": task["name"], "instruction": task["instruction"]},
        "language": prepare["language"],
        "language_name": language_name(prepare["language"]),
        "labels": [
            {
                "name": label["name"],
                "description": label["description"],
                **filtering["by_label"].get(label["name"], {"accepted": 0, "rejected": 0}),
            }
            for label in task["labels"]
        ],
        "counts": {**prepare["counts"], **{key: filtering[key] for key in FILTER_COUNTS}},
        "removed": groups(Counter(row["reason"] for row in prepare["removed"])),
        "warnings": [*prepare["warnings"], *filtering["warnings"]],
        "confidence": evaluation["confidence"],
        "teacher": {
            "kind": usage["teacher"]["kind"],
            "model": cut_or_none(usage["teacher"]["model"]),
            "revision": cut_or_none(usage["teacher"]["revision"]),
            "zero_shot_model": cut_or_none(zero_shot["model"]),
            **{key: zero_shot[key] for key in ("accuracy", "macro_f1", "interval", "abstained")},
            "note": cut(zero_shot["note"]),
        },
        "students": evaluation["students"],
        "pairs": evaluation["pairs"],
        "generation": {
            "strategy": usage["strategy"],
            "structured": usage["teacher"]["structured"],
            **{key: usage["texts"][key] for key in ("wanted", "usable")},
            "unreadable": explained_groups(usage["unreadable"], reply_meanings),
            "shortfall": [
                {
                    "label": label,
                    "missing": short["missing"],
                    "reasons": explained_groups(short["reasons"], {**reply_meanings, **filtering["reasons"]}),
                }
                for label, short in usage["shortfall"].items()
            ],
            "judge": judge_facts(usage["judge"], filtering["reasons"]),
        },
        "asked": asked_rows([*usage["purposes"].items(), *zero_shot["usage"].items()], reply_meanings),
        "checks": {check: filtering[check]["checked"] for check in ("language", "self_revision")},
        "rejected": found_rows(filtering["by_reason"], filtering["reasons"], rejected),
        "marked": found_rows(filtering["marked"], filtering["reasons"], marked),
        "agreement": agreement_facts(filtering),
        "diversity": {
            **{key: diversity[key] for key in ("compared_with", "n", "measures", "apart", "drift")},
            "labels": {
                name: {**label, "measures": {key: label["measures"][key] for key in BY_LABEL}}
                for name, label in labels["labels"].items()
            },
            "gates": gates["gates"],
        },
        "winner": {key: winner[key] for key in WINNER_KEYS},
    }
    return Card.model_validate(content)


def run_card(
    prepared: Path, generated: Path, filtered: Path, measured: Path, evaluated: Path, selected: Path, card: Path
) -> None:
    """Write `card/card.json`: all that the report page and the model card say of a cell.

    Raises:
        DataError: If a folder lacks a file, or they are not of one cell.
    """

    def facts(folder: Path, name: str, step: str) -> Any:
        return read_json(require_input(folder / name, step))

    rejected, marked = (
        read_rows(require_input(filtered / f"{name}.parquet", "filter"), REJECTED) for name in ("rejected", "marked")
    )
    try:
        content = build_card(
            prepare=facts(prepared, "prepare.json", "prepare"),
            usage=facts(generated, "usage.json", "generate"),
            filtering=facts(filtered, "filter.json", "filter"),
            rejected=rejected,
            marked=marked,
            diversity=facts(measured, "diversity.json", "measure"),
            labels=facts(measured, "labels.json", "measure"),
            gates=facts(measured, "gates.json", "measure"),
            evaluation=facts(evaluated, "evaluation.json", "evaluate"),
            winner=facts(selected, "winner.json", "select"),
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as exc:
        raise DataError(
            f"cannot make {card}: a step's file lacks or misstates {_key(exc)}; run the steps of this cell again"
        ) from exc
    with new_folder(card) as folder:
        write_json(folder / "card.json", content.model_dump(mode="json"))
    counts = content.counts
    log.info("%d of %d texts accepted, winner %s", counts.accepted, counts.generated, content.winner.student)


def _key(exc: KeyError | TypeError | AttributeError | ValidationError) -> str:
    if isinstance(exc, KeyError):
        return f"`{exc.args[0]}`"
    if not isinstance(exc, ValidationError):
        return f"something ({exc})"
    error = exc.errors()[0]
    return f"`{'.'.join(map(str, error['loc']))}` ({error['msg']})"
