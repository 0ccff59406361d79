"""Which measured values are bad enough to warn of, or to stop the run for."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polydistill.errors import PolydistillError
from polydistill.measure.diversity import rounded
from polydistill.measure.drift import properties_of
from polydistill.measure.tokens import tokens
from polydistill.params import GatesParams
from polydistill.records import Record
from polydistill.text import fold, tidy

log = logging.getLogger(__name__)

EXAMPLES = 3
_SHOWN_CHARS = 120

MEANING = {
    "near_duplicates": "share of the generated texts that repeat another one, exactly or nearly; filter has rejected "
    "or marked them",
    "copied_seeds": "share of the generated texts that repeat a seed, exactly or nearly; filter has rejected or marked "
    "them",
    "language_purity": "share of the generated texts that filter neither rejected nor marked for their language",
    "distinct_2_ratio": "different pairs of neighbouring words in accepted texts, as a share of those in human ones",
    "auc": "how well a linear model tells accepted from human texts; 0.5 = not at all, 1 = always",
    "drift": "size of the largest drift of a property or of the labels, 0 to 1: the low end of its interval, 0 where "
    "it may be chance",
}
AT_LEAST = {"language_purity", "distinct_2_ratio"}

# What it takes to measure the value of a gate.
NEEDS = {
    "near_duplicates": "exact_duplicate or near_duplicate in filter.checks",
    "copied_seeds": "copied_seed in filter.checks",
    "language_purity": "wrong_language in filter.checks, and a language that its identifier knows",
    "distinct_2_ratio": "texts of two words or more on both sides",
    "auc": "more texts of a label on both sides",
    "drift": "texts on both sides",
}

# What filter rejected or marked counts here by these reasons of its checks.
REPEATS = ("exact_duplicate", "near_duplicate")
COPIES = ("copied_seed",)
OTHER_LANGUAGE = ("wrong_language", "wrong_script", "mixed_language")


class GateError(PolydistillError):
    """A gate that is to stop the run is not passed; all that was measured is written."""


class Example(NamedTuple):
    """A text that speaks against passing a gate, and what is wrong with it."""

    text: str
    label: str
    detail: str


def found_share(
    filtering: Mapping[str, Any], found: Sequence[Mapping[str, Any]], reasons: Sequence[str]
) -> float | None:
    """Return which share of the generated texts filter found for one of the reasons.

    Args:
        filtering: The content of filter.json.
        found: The texts that filter rejected or marked; one may be marked for several reasons, and counts once.
        reasons: The names of the checks that count.

    Returns:
        The share, None where `filter.checks` lists none of these checks.
    """
    if not any(reason in filtering["reasons"] for reason in reasons):
        return None
    texts = {(row["id"], row["label"], *row["source"].values()) for row in found if row["reason"] in reasons}
    return len(texts) / int(filtering["generated"])


def found_examples(found: Sequence[Mapping[str, Any]], reasons: Sequence[str]) -> list[Example]:
    """Return texts that filter found for the reasons, each once: the most alike or the most surely foreign first."""
    rows = [row for row in found if row["reason"] in reasons]
    rows.sort(key=lambda row: (-_how_bad(row), reasons.index(row["reason"]), row["text"]))
    once: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        once.setdefault(fold(row["text"]), row)
    return [Example(row["text"], row["label"], row["detail"] or row["reason"]) for row in once.values()]


def _how_bad(row: Mapping[str, Any]) -> float:
    """Return the number in the detail of a check: a similarity, the probability of the other language, a share."""
    if row["reason"] == "exact_duplicate":
        return 1.0
    detail = row["detail"] or ""
    if row["reason"] == "wrong_script":
        return sum(map(int, re.findall(r"(\d+)%", detail))) / 100
    number = re.match(r"(?:\S+ )?(\d\.\d+)", detail)
    return float(number[1]) if number else 0.0  # "one word apart", which is less alike than what has a number


def repetitive_examples(records: Sequence[Record]) -> list[Example]:
    """Return a text for each of the pairs of neighbouring words that most texts hold."""
    pairs = [sorted(set(zip(words, words[1:], strict=False))) for words in (tokens(r.text) for r in records)]
    texts_with = Counter(pair for of_text in pairs for pair in of_text)
    found: list[Example] = []
    repeated = [(pair, count) for pair, count in texts_with.items() if count > 1]
    for pair, count in sorted(repeated, key=lambda item: (-item[1], item[0])):
        record = next(r for r, of_text in zip(records, pairs, strict=True) if pair in of_text)
        if all(record.text != example.text for example in found):
            found.append(
                Example(record.text, record.label, f"`{' '.join(pair)}` is in {count} of {len(records)} texts")
            )
        if len(found) == EXAMPLES:
            break
    return found


def told_apart_examples(records: Sequence[Record], scores: np.ndarray) -> list[Example]:
    """Return the synthetic texts that look most synthetic to the classifier.

    Args:
        records: The synthetic texts.
        scores: The classifier's scores of these and then of the human texts.
    """
    own, human = scores[: len(records)], scores[len(records) :]
    order = np.argsort(-own, kind="stable")
    return [
        Example(
            records[i].text,
            records[i].label,
            f"looks more synthetic than {(human < own[i]).sum()} of {len(human)} human texts",
        )
        for i in order
    ]


def drifted_examples(
    synthetic: Sequence[Record], human: Sequence[Record], name: str, languages: Sequence[str]
) -> list[Example]:
    """Return the synthetic texts that a drift is most visible in.

    Args:
        synthetic: The one side.
        human: The other.
        name: What drifted: `labels`, or a property.
        languages: The tag of the wanted language, then those of all languages of the task.
    """
    if name == "labels":
        sides = [Counter(r.label for r in side) for side in (synthetic, human)]
        shares = [{label: n / counts.total() for label, n in counts.items()} for counts in sides]
        moved = sorted(shares[0], key=lambda label: -abs(shares[0][label] - shares[1].get(label, 0)))
        return [
            Example(
                next(r.text for r in synthetic if r.label == label),
                label,
                f"its label has {shares[0][label]:.0%} of the synthetic texts, the human {shares[1].get(label, 0):.0%}",
            )
            for label in moved
        ]
    own, others = (properties_of([r.text for r in side], languages)[name] for side in (synthetic, human))
    middle = float(np.median(others))
    order = np.argsort(-np.abs(own - middle), kind="stable")
    return [
        Example(synthetic[i].text, synthetic[i].label, f"{name}: {own[i]:.3g}, the middle human text {middle:.3g}")
        for i in order
    ]


def worst_drift(drift: Mapping[str, Any]) -> tuple[str, float]:
    """Return what drifted farthest for sure among labels and properties, and how far; 0 where it may be chance."""
    sure = {
        name: test["interval"][0] if test["verdict"] != "none" and test["interval"] else 0.0
        for name, test in drift["tests"].items()
        if test["question"] != "vocabulary"
    }
    return max(sure.items(), key=lambda item: item[1])


def judge(
    values: Mapping[str, float | None], examples: Mapping[str, Callable[[], Sequence[Example]]], params: GatesParams
) -> dict[str, dict[str, Any]]:
    """Return for each gate its value beside its limit, whether it is passed, and the worst texts where it is not.

    Args:
        values: What was measured, by gate; None where it could not be, which passes.
        examples: What returns the texts that speak against passing a gate, the worst first.
        params: Section `measure.gates` of params.yaml.
    """
    told = {}
    for name, meaning in MEANING.items():
        gate, value = getattr(params, name), values[name]
        least = name in AT_LEAST
        passed = value is None or (value >= gate.limit if least else value <= gate.limit)
        worst = [] if passed or gate.action == "off" else list(examples[name]())[:EXAMPLES]
        told[name] = {
            "action": gate.action,
            "value": rounded(value),
            "limit": gate.limit,
            "bound": "at least" if least else "at most",
            "passed": None if value is None else passed,
            "meaning": meaning,
            "examples": [
                {"text": tidy(e.text, _SHOWN_CHARS), "label": e.label, "detail": tidy(e.detail, _SHOWN_CHARS)}
                for e in worst
            ],
        }
    return told


def explain(name: str, gate: Mapping[str, Any]) -> str:
    """Return why a gate is not passed, with its worst texts, over several lines."""
    lines = [f"gate {name}: {gate['value']:.3g}, {gate['bound']} {gate['limit']:g} wanted ({gate['meaning']})"]
    lines += [f"  {e['text']!r} ({e['label']}): {e['detail']}" for e in gate["examples"]]
    return "\n".join(lines)


def enforce(cell: str, gates: Mapping[str, Mapping[str, Any]], measured: Path) -> None:
    """Warn of each gate that is not passed or stops and could not be measured, and stop where one is to.

    Raises:
        GateError: If a gate that stops is not passed.
    """
    for name, gate in gates.items():
        if gate["action"] == "stop" and gate["passed"] is None:
            log.warning("gate %s stops nothing, since it could not be measured: it takes %s", name, NEEDS[name])
        if gate["action"] == "warn" and gate["passed"] is False:
            log.warning("%s", explain(name, gate))
    require_passed(cell, gates, str(measured))


def require_passed(cell: str, gates: Mapping[str, Mapping[str, Any]], place: str) -> None:
    """Stop where a gate that is to stop is not passed.

    Args:
        cell: task/language.
        gates: What `judge` returned.
        place: Where all that was measured is.

    Raises:
        GateError: If there is such a gate; the message tells of all of them.
    """
    failed = {name: gate for name, gate in gates.items() if gate["action"] == "stop" and gate["passed"] is False}
    if failed:
        raise GateError(
            "\n".join(
                [
                    f"{cell}: stopped by params.yaml:measure.gates; all that was measured is in {place}",
                    *(explain(name, gate) for name, gate in failed.items()),
                    "mend the texts (params.yaml:generate and filter), or the gate: another limit, or `warn`",
                ]
            )
        )
