"""Texts that are too long."""

from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams


class TooLong(TextCheck):
    """Finds texts of more than `max_chars` code points."""

    meaning = "more characters than max_chars"

    def __init__(self, max_chars: int) -> None:
        self.max_chars = max_chars

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the bound of `params`."""
        return cls(params.too_long.max_chars)

    def fault(self, text: str) -> str | None:
        """Count the characters."""
        return f"{len(text)} characters, allowed {self.max_chars}" if len(text) > self.max_chars else None
