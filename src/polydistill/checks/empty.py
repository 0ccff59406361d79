"""Texts that say nothing."""

import unicodedata
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams


class Empty(TextCheck):
    """Finds texts of nothing but white space, punctuation and invisible characters."""

    meaning = "nothing but white space and punctuation"

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which has no settings."""
        return cls()

    def fault(self, text: str) -> str | None:
        """Look for a letter, a digit or a symbol."""
        says_something = any(unicodedata.category(c)[0] in "LNS" for c in text)
        return None if says_something else "no letter, digit or symbol"
