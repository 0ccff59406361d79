"""Finds texts with a clause in another language beside one in the right language."""

import re
from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.foreign import ForeignRule, count_letters
from polydistill.params import FilterParams
from polydistill.records import Sample

# Where a clause may end: at what closes a sentence in many scripts, at brackets, at a dash or stroke between spaces.
# A run of signs is looked at where it begins, and whole, so that a long one does not take time by its square.
_BREAK = re.compile(r"(?<![.!?…;:؟؛۔։])[.!?…;:؟؛۔։]++\s|[।॥。！？；：\n()（）\[\]]|\s[-–—|/]++\s")


class MixedLanguage(TextCheck):
    """A long clause is in another language though another clause is right.

    Names, titles, borrowed words and short asides in another language are no fault: people switch.
    """

    meaning = "a clause in another language"

    def __init__(self, rule: ForeignRule, min_letters: int) -> None:
        self._rule = rule
        self._min_letters = min_letters

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for one cell."""
        section = params.mixed_language
        return cls(ForeignRule.open(params, context, stricter=section.stricter), section.min_letters)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look at the clauses of all texts at once, which says the same as one text after the other."""
        clauses = [(i, clause) for i, sample in enumerate(samples) for clause in self._clauses(sample.record.text)]
        assessed = self._rule.assess([clause for _, clause in clauses])
        beside_right = {i for (i, _), (_, right) in zip(clauses, assessed, strict=True) if right}
        found: dict[int, str] = {}
        for (i, clause), (detail, _) in zip(clauses, assessed, strict=True):
            if detail is not None and i in beside_right and count_letters(clause) >= self._min_letters:
                found.setdefault(i, f"{detail}: {clause}")
        return found

    def fault(self, text: str) -> str | None:
        """Return the first clause in another language, and the likeliest languages with their probabilities."""
        clauses = self._clauses(text)
        assessed = self._rule.assess(clauses)
        if not any(right for _, right in assessed):
            return None
        for clause, (detail, _) in zip(clauses, assessed, strict=True):
            if detail is not None and count_letters(clause) >= self._min_letters:
                return f"{detail}: {clause}"
        return None

    def _clauses(self, text: str) -> list[str]:
        """Return the clauses of a text that has several of them, one at least long enough to be judged."""
        clauses = [clause for part in _BREAK.split(text) if (clause := part.strip())]
        judged = len(clauses) > 1 and any(count_letters(clause) >= self._min_letters for clause in clauses)
        return clauses if judged else []
