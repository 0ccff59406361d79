"""Decides what is wrong with a text, one reason a text; `generate` tops up what `filter` would take away by it."""

from collections.abc import Callable, Mapping
from functools import partial

from polydistill.checks import rules
from polydistill.checks.language import LanguageRule
from polydistill.params import FilterParams

# The order is that of the checks, and a text is not looked at again once it is out. What is wrong with a text alone
# comes first, then what it has in common with texts that are there anyhow, then the judge. Repeats among the generated
# texts come last, so that of two alike none goes for the sake of one that goes too.
REASONS = {
    "empty": "nothing but white space and punctuation",
    "too_short": "fewer characters than min_chars",
    "too_long": "more characters than max_chars",
    "markup": "HTML, markdown, a label or list numbering left over",
    "repetition": "one word or phrase over and over",
    "wrong_language": "another language is likelier",
    "test_leak": "the same as a test text, or nearly",
    "copied_seed": "the same as a seed, or nearly",
    "no_verdict": "the judge gave no readable verdict",
    "judge_rejected": "the judge said no",
    "conflicting_label": "the same text stands under another label; both go",
    "exact_duplicate": "the same text once more, but for case, punctuation and spaces",
    "near_duplicate": "nearly the same as another text of the label",
}

TextCheck = Callable[[str], str | None]
"""Looks at one text alone: the fact against it, for a person to read, or None where it is fine."""


def text_checks(params: FilterParams, language: LanguageRule) -> dict[str, TextCheck]:
    """Return what can be said of a text alone, by the reason that it goes for, in the order of `REASONS`."""
    return {
        "empty": rules.empty,
        "too_short": partial(rules.too_short, min_chars=params.min_chars),
        "too_long": partial(rules.too_long, max_chars=params.max_chars),
        "markup": rules.markup,
        "repetition": partial(rules.repetition, max_share=params.max_repetition),
        "wrong_language": language,
    }


def first_fault(text: str, checks: Mapping[str, TextCheck]) -> tuple[str, str] | None:
    """Return the first reason that the text goes for and the fact behind it, or None where it passes all checks."""
    for reason, check in checks.items():
        if (detail := check(text)) is not None:
            return reason, detail
    return None
