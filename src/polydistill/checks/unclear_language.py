"""Finds texts too short to tell their language, which is no fault: the filter marks them, unless told otherwise."""

from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.foreign import count_letters
from polydistill.params import FilterParams


class UnclearLanguage(TextCheck):
    """The text has so few letters that `wrong_language` does not judge it."""

    meaning = "too short to tell the language"

    def __init__(self, min_letters: int) -> None:
        self._min_letters = min_letters

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with its settings."""
        return cls(params.unclear_language.min_letters)

    def fault(self, text: str) -> str | None:
        """Return how many letters there are, where they are too few."""
        letters = count_letters(text)
        return f"{letters} letters, it takes {self._min_letters}" if letters < self._min_letters else None
