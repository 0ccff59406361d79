"""Texts that nearly repeat another one."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.near import Nearness, near_repeats
from polydistill.params import FilterParams
from polydistill.records import Sample


class NearDuplicate(Check):
    """Finds texts that are near to an earlier one of their label that stays.

    One word can make a text one of another label, so texts of different labels are not compared.
    """

    meaning = "nearly the same as another text of the label"
    compares = True

    def __init__(self, nearness: Nearness) -> None:
        self.nearness = nearness

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the bounds of `params`."""
        return cls(Nearness.of(params.near_duplicate))

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Compare the texts of each label; the detail is the one that stays."""
        texts = [sample.record.text for sample in samples]
        found = near_repeats(texts, [sample.record.label for sample in samples], self.nearness)
        return {i: match.told(texts, self.nearness) for i, match in found.items()}
