"""Texts that stand under several labels."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.params import FilterParams
from polydistill.records import Sample
from polydistill.text import fold


class ConflictingLabel(Check):
    """Finds texts that stand, folded, under several labels: no one can say which is right, so all of them go.

    Near texts under different labels are no conflict: "louder, please" and "quieter, please" are a word apart.
    """

    meaning = "the same text stands under another label; both go"
    compares = True

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which has no settings."""
        return cls()

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look for several labels; the detail is the other ones."""
        labels: dict[str, set[str]] = defaultdict(set)
        folded = [fold(sample.record.text) for sample in samples]
        for text, sample in zip(folded, samples, strict=True):
            labels[text].add(sample.record.label)
        others = [labels[text] - {sample.record.label} for text, sample in zip(folded, samples, strict=True)]
        return {i: ", ".join(sorted(of_text)) for i, of_text in enumerate(others) if of_text}
