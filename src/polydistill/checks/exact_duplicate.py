"""Texts that stand there more than once."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.params import FilterParams
from polydistill.records import Sample
from polydistill.text import fold


class ExactDuplicate(Check):
    """Finds texts that repeat, folded, an earlier one."""

    meaning = "the same text once more, but for case, punctuation and spaces"
    compares = True

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which has no settings."""
        return cls()

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Keep the first of each; the detail is that one."""
        first: dict[str, int] = {}
        earliest = [first.setdefault(fold(sample.record.text), i) for i, sample in enumerate(samples)]
        return {i: samples[earlier].record.text for i, earlier in enumerate(earliest) if earlier != i}
