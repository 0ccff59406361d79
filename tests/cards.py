"""Builds cards, the facts of a cell, with numbers that a reader can check by eye."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polydistill.cell import Card
from polydistill.files import write_json

LABELS = ("book_appointment", "cancel_appointment", "opening_hours", "prescription", "test_results")
NAMES = {"sl": "Slovenian", "sw": "Swahili", "az": "Azerbaijani", "ar": "Arabic"}


def interval(middle: float, half: float = 0.07) -> tuple[float, float]:
    return round(middle - half, 4), round(min(middle + half, 1), 4)


def point(source: str, size: int, mean: float, half: float = 0.03, runs: int = 20) -> dict[str, Any]:
    f1 = round(mean - 0.01, 4)
    return {
        "source": source,
        "size": size,
        "runs": runs,
        "mean": mean,
        "std": half,
        "interval": interval(mean, half),
        "macro_f1": {"mean": f1, "std": half, "interval": interval(f1, half)},
    }


def finding(reason: str, count: int, *texts: tuple[str, str], meaning: str = "what the reason means") -> dict[str, Any]:
    """Return what a check found, with these examples: text and detail."""
    examples = [{"text": text, "label": LABELS[0], "detail": detail} for text, detail in texts]
    return {"reason": reason, "count": count, "meaning": meaning, "examples": examples}


def explained(reason: str, count: int, meaning: str) -> dict[str, Any]:
    return {"reason": reason, "count": count, "meaning": meaning}


def asked(purpose: str, requests: int, **changes: Any) -> dict[str, Any]:
    """Return what requests of 500 prompt and 200 reply tokens took, at 1 and 3 a million, in 2 s each."""
    return {
        "purpose": purpose,
        "requests": requests,
        "retries": 0,
        "failed": 0,
        "prompt_tokens": 500 * requests,
        "completion_tokens": 200 * requests,
        "cost": 0.0011 * requests,
        "seconds": 2.0 * requests,
        "failures": [],
        "faults": [],
        **changes,
    }


ALONE = {"ms_a_text": None, "difference": 0.0, "interval": [0.0, 0.0], "separable": False}
"""What is told of the cost and the standing of a student without a rival."""


def apart(difference: float, **changes: Any) -> dict[str, Any]:
    """Return how two sides differ on the test texts: beyond chance where that is more than five points."""
    found = {"difference": round(difference, 4), "interval": interval(difference, 0.05), "detectable_gap": 0.08}
    return {**found, "p_value": 0.001 if abs(difference) > 0.05 else 0.3, **changes}


def break_even(size: int | None) -> dict[str, Any]:
    """Return from which size on the teacher is overtaken, between half of it and twice as many."""
    if size is None:
        return {"size": None, "low": None, "high": None, "told": "at no size that was tried"}
    return {"size": size, "low": size // 2, "high": 2 * size, "told": f"at {size} texts"}


EXAMPLE = {"text": "Good morning!", "label": LABELS[0], "detail": "likelier English"}


def beside(synthetic: float, human: float, half: float, meaning: str) -> dict[str, Any]:
    """Return a measure of both sides, each and their difference with an interval of twice that half."""
    values = {"synthetic": synthetic, "human": human, "difference": round(synthetic - human, 4)}
    intervals = {name: [round(value - half, 4), round(value + half, 4)] for name, value in values.items()}
    return {**values, "intervals": intervals, "meaning": meaning}


def of_label() -> dict[str, Any]:
    """Return what is told of the diversity of a label."""
    measures = {name: beside(0.7, 0.8, 0.1, "") for name in ("distinct_2", "nearest_similarity")}
    return {"n": 20, "measures": measures, "apart": {"auc": {"value": 0.88, "interval": None, "meaning": ""}}}


def drift_test(question: str, effect: float, p_value: float, verdict: str) -> dict[str, Any]:
    """Return a test of drift, with the limit 0.3."""
    return {
        "question": question,
        "what": "largest gap",
        "effect": effect,
        "interval": [round(max(effect - 0.09, 0), 4), round(effect + 0.09, 4)],
        "limit": 0.3,
        "p_value": p_value,
        "verdict": verdict,
    }


def gate(value: float | None, limit: float, **changes: Any) -> dict[str, Any]:
    """Return a gate that warns, and that is passed."""
    content = {"action": "warn", "value": value, "limit": limit, "bound": "at most", "passed": True}
    return {**content, "meaning": "what the gate looks at", "examples": [], **changes}


NOT_COUNTED = dict.fromkeys(("prompt_tokens", "completion_tokens", "cost", "seconds"))
"""Of a recording nobody knows these."""


def make_card(
    language: str = "sl",
    task: str = "clinic",
    *,
    teacher: float | None = 0.78,
    synthetic: Mapping[int, float] | None = None,
    human: Mapping[int, float] | None = None,
    final: float = 0.85,
    overtakes: int | None = 100,
    rejected: Sequence[dict[str, Any]] | None = None,
    **changes: Any,
) -> Card:
    """Return the card of a cell with 263 accepted texts of 300; `changes` replace whole keys of it."""
    synthetic = {10: 0.42, 20: 0.56, 50: 0.71, 100: 0.79, 200: 0.83} if synthetic is None else synthetic
    human = {10: 0.44, 20: 0.6, 50: 0.76, 100: 0.85} if human is None else human
    if rejected is None:
        rejected = [finding("near_duplicate", 25, ("Dober dan!", "0.83 like: Dober dan.")), finding("markup", 12)]
    curve = [point("synthetic", n, mean, 0.4 / n**0.5) for n, mean in synthetic.items()]
    curve += [point("human", n, mean, 0.4 / n**0.5) for n, mean in human.items()]
    scores = {"accuracy": final, "macro_f1": round(final - 0.01, 4)}
    content = {
        "task": {"name": task, "instruction": "Classify what a patient writes to the reception of a health clinic."},
        "language": language,
        "language_name": NAMES.get(language, language),
        "labels": [{"name": label, "description": f"about {label}", "accepted": 53, "rejected": 7} for label in LABELS],
        "counts": {
            "seeds": 50,
            "human": 100 if human else 0,
            "test": 100,
            "generated": 300,
            "accepted": 263,
            "rejected": 37,
            "kept_leaks": 0,
        },
        "removed": [],
        "warnings": [],
        "confidence": 0.95,
        "teacher": {
            "kind": "recorded",
            "model": "Llama-3-70B-Instruct",
            "revision": None,
            "zero_shot_model": None if teacher is None else "Llama-3-70B-Instruct",
            "accuracy": teacher,
            "macro_f1": None if teacher is None else round(teacher - 0.02, 4),
            "interval": None
            if teacher is None
            else {"accuracy": interval(teacher), "macro_f1": interval(teacher - 0.02)},
            "abstained": None if teacher is None else 6,
            "note": "zero-shot was switched off" if teacher is None else "",
        },
        "students": {
            "linear": {
                "final": {
                    "size": 263,
                    **scores,
                    "interval": {"accuracy": interval(final), "macro_f1": interval(final - 0.01)},
                },
                "against_teacher": None if teacher is None else apart(final - teacher),
                "break_even": None if teacher is None else break_even(overtakes),
                "restarted": 0,
                "collapsed": 0,
                "curve": curve,
                "subset": "random",
            }
        },
        "pairs": [],
        "generation": {
            "strategy": "plain",
            "structured": True,
            "wanted": 250,
            "usable": 263,
            "unreadable": [explained("cut_off", 2, "the reply stops before its end")],
            "shortfall": [
                {
                    "label": "prescription",
                    "missing": 4,
                    "reasons": [
                        explained("near_duplicate", 3, "nearly the same as another text of the label"),
                        explained("cut_off", 2, "the reply stops before its end"),
                    ],
                }
            ],
            "judge": {
                "accept": 270,
                "repair": 9,
                "reject": 15,
                "none": 6,
                "accepts_what_rules_reject": [explained("wrong_language", 27, "another language is likelier")],
                "faults_language_that_rules_accept": 3,
            },
        },
        "asked": [asked("generate", 32), asked("revise", 30)],
        "checks": {"language": True, "self_revision": True},
        "rejected": list(rejected),
        "marked": [finding("doubtful_label", 6, ("Kdaj pridem?", "rather opening_hours, 0.97 against 0.02"))],
        "agreement": {
            "pairs": [{"checks": ["wrong_language", "judge_rejected"], "texts": 5, "found": [8, 12]}],
            "alone": [{"reason": "markup", "count": 12}],
        },
        "diversity": {
            "compared_with": "human" if human else "seed",
            "n": 100 if human else 50,
            "measures": {
                "compression_ratio": beside(2.41, 2.06, 0.1, "bytes before over bytes after zlib; larger = repetitive"),
                "distinct_2": beside(
                    0.712, 0.843, 0.02, "share of the neighbouring words that are different pairs; larger = more varied"
                ),
                "label_balance": beside(0.98, 0.97, 0.02, "how evenly the labels share the texts, 1 = all alike"),
                "mean_characters": beside(71.4, 52.9, 4, "characters per text; larger = longer"),
            },
            "apart": {"auc": {"value": 0.91, "interval": [0.87, 0.95], "meaning": "0.5 = not at all, 1 = always"}},
            "labels": {label: of_label() for label in LABELS},
            "drift": {
                "verdict": "important",
                "significance": 0.05,
                "questions": {"labels": "whether the labels are alike", "properties": "whether the texts are alike"},
                "tests": {
                    "labels": drift_test("labels", 0.06, 0.878, "none"),
                    "characters": drift_test("properties", 0.41, 0.0001, "important"),
                    "share of capitals": drift_test("properties", 0.22, 0.016, "small"),
                },
            },
            "gates": {
                "auc": gate(0.91, 0.95),
                "near_duplicates": gate(0.08, 0.1),
                "language_purity": gate(0.93, 0.95, bound="at least", passed=False, examples=[EXAMPLE]),
            },
        },
        "winner": {
            "student": "linear",
            "metric": "accuracy",
            "reason": "the only student that was trained",
            "no_candidates": [],
            "validation": {"linear": {"accuracy": 0.868, "macro_f1": 0.866, "n": 53, "bytes": 412_000, **ALONE}},
            "digests": {"model": "a3f1" * 16, "accepted": "09bc" * 16},
        },
    }
    return Card.model_validate({**content, **changes})


def write_cards(folder: Path, *cards: Card) -> Path:
    """Write cards where `polydistill card` writes them, below `folder`."""
    for card in cards:
        write_json(folder / card.task.name / card.language / "card.json", card.model_dump(mode="json"))
    return folder
