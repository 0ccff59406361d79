"""Texts that give the test set away."""

from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Check, Context
from polydistill.leaks import find_leaks
from polydistill.params import FilterParams, LeakParams
from polydistill.records import Sample


class TestLeak(Check):
    """Finds texts that are a test text, nearly are one, hold one, or are a piece of one."""

    __test__ = False  # its name is no reason for pytest to look for tests in it
    meaning = "the same as a test text, nearly so, or the one within the other"

    def __init__(self, tests: Sequence[str], params: LeakParams) -> None:
        self.tests, self.params = tests, params

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for the test texts of the cell."""
        return cls(context.tests, params.test_leak)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Compare with all test texts."""
        found = find_leaks([sample.record.text for sample in samples], self.tests, self.params)
        return {i: leak.told(self.tests) for i, leak in found.items()}
