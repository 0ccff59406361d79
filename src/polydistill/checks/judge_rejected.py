"""Texts that the judge rejects."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.params import FilterParams
from polydistill.records import Sample


class JudgeRejected(Check):
    """Finds texts that the teacher, asked for its verdict, does not want (self-revision)."""

    meaning = "the judge said no"

    def __init__(self, *, self_revision: bool) -> None:
        self.self_revision = self_revision

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which finds nothing where there was to be no judge."""
        return cls(self_revision=context.self_revision)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look for a no; the detail is the judge's own."""
        return {i: s.verdict_reason for i, s in enumerate(samples) if self.self_revision and s.decision == "reject"}
