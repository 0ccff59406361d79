"""Texts that repeat one of the seeds."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.near import NearIndex, Nearness, near_copies
from polydistill.params import FilterParams
from polydistill.records import Sample


class CopiedSeed(TextCheck):
    """Finds texts that are, or nearly are, one of the examples that guided the teacher."""

    meaning = "the same as a seed, or nearly"

    def __init__(self, seeds: Sequence[str], nearness: Nearness) -> None:
        self.seeds, self.nearness = seeds, nearness
        self._index = NearIndex(nearness)
        for seed in seeds:
            self._index.add(seed)

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for the seeds of the cell."""
        return cls(context.seeds, Nearness.of(params.copied_seed))

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Compare all at once."""
        found = near_copies([sample.record.text for sample in samples], self.seeds, self.nearness)
        return {i: match.told(self.seeds, self.nearness) for i, match in found.items()}

    def fault(self, text: str) -> str | None:
        """Compare with each seed."""
        match = self._index.most_similar(text)
        return match.told(self.seeds, self.nearness) if match else None
