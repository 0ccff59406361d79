"""Texts on which the judge gave no readable verdict."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.params import FilterParams
from polydistill.records import Sample


class NoVerdict(Check):
    """Finds texts without a verdict, where each was to be judged: the judge fails closed."""

    meaning = "the judge gave no readable verdict"

    def __init__(self, *, self_revision: bool) -> None:
        self.self_revision = self_revision

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which finds nothing where there was to be no judge."""
        return cls(self_revision=context.self_revision)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look for missing decisions; the detail is what stands in their place."""
        return {i: s.verdict_reason for i, s in enumerate(samples) if self.self_revision and s.decision is None}
