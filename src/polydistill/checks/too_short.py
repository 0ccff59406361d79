"""Texts that are too short."""

from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams


class TooShort(TextCheck):
    """Finds texts of fewer than `min_chars` code points."""

    meaning = "fewer characters than min_chars"

    def __init__(self, min_chars: int) -> None:
        self.min_chars = min_chars

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the bound of `params`."""
        return cls(params.too_short.min_chars)

    def fault(self, text: str) -> str | None:
        """Count the characters."""
        return f"{len(text)} characters, wanted {self.min_chars}" if len(text) < self.min_chars else None
