"""Which measured values are bad enough to warn of, or to stop the run for."""

import logging
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
from polydistill.text import tidy

log = logging.getLogger(__name__)

EXAMPLES = 3
_SHOWN_CHARS = 120

MEANING = {
    "near_duplicates": "share of the generated texts that repeat another one, exactly or nearly; filter has rejected "
    "them",
    "copied_seeds": "share of the generated texts that repeat a seed, exactly or nearly; filter has rejected them",
    "language_purity": "share of the generated texts that filter did not reject for their language",
    "distinct_2_ratio": "different pairs of neighbouring words in accepted texts, as a share of those in human ones",
    "auc": "how well a linear model tells accepted from human texts; 0.5 = not at all, 1 = always",
    "drift": "size of the largest drift of a property or of the labels, 0 to 1: the low end of its interval, 0 where "
    "it may be chance",
}
AT_LEAST = {"language_purity", "distinct_2_ratio"}

# What filter rejected counts here by these reasons of its checks.
REPEATS = ("exact_duplicate", "near_duplicate")
COPIES = ("copied_seed",)
OTHER_LANGUAGE = ("wrong_language", "wrong_script", "mixed_language")


class Example(NamedTuple):
    """A text that speaks against passing a gate, and what is wrong with it."""

    text: str
    label: str
    detail: str


def rejected_share(filtering: Mapping[str, Any], reasons: Sequence[str]) -> float | None:
    """Return which share of the generated texts filter rejected for one of the reasons."""
    generated = filtering["generated"]
    return sum(filtering["by_reason"].get(reason, 0) for reason in reasons) / generated if generated else None


def rejected_examples(rejected: Sequence[Mapping[str, Any]], reasons: Sequence[str]) -> list[Example]:
    """Return texts rejected for the reasons, those said to be most alike first."""
    rows = [row for row in rejected if row["reason"] in reasons]
    rows.sort(key=lambda row: (reasons.index(row["reason"]), row["text"]))
    rows.sort(key=lambda row: row["detail"] or "", reverse=True)
    return [Example(row["text"], row["label"], row["detail"] or row["reason"]) for row in rows]


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
    """Warn of each gate that is not passed, and stop where it is to.

    Raises:
        PolydistillError: If a gate that stops is not passed; the message tells of all of them.
    """
    failed = {name: gate for name, gate in gates.items() if gate["passed"] is False}
    for name, gate in failed.items():
        if gate["action"] == "warn":
            log.warning("%s", explain(name, gate))
    stopping = [explain(name, gate) for name, gate in failed.items() if gate["action"] == "stop"]
    if stopping:
        raise PolydistillError(
            "\n".join(
                [
                    f"{cell}: stopped by params.yaml:measure.gates; all that was measured is in {measured}",
                    *stopping,
                    "mend the texts (params.yaml:generate and filter), or the gate: another limit, or `warn`",
                ]
            )
        )
