"""Finds words that are written in two scripts, as where one letter looks like another."""

import unicodedata
from itertools import groupby
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams
from polydistill.scripts import count_scripts, scripts_of_letters

# Zero-width joiners stand within words, as marks do, which are no word characters for Python.
_JOINERS = "\u200c\u200d"
# Their letters look alike: one letter of another of them within a word is a slip or a trick.
_ALIKE = {"LATIN", "CYRILLIC", "GREEK"}
# These make up one word together in Japanese and Korean.
_TOGETHER = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
_MIN_LETTERS = 3


class MixedScript(TextCheck):
    """A word has letters of two scripts and is no foreign word with a native ending."""

    meaning = "letters of two scripts within one word"

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check; it has no settings and is the same for every cell."""
        return cls()

    def fault(self, text: str) -> str | None:
        """Return the words in question."""
        if len(count_scripts(text)) < 2:
            return None
        mixed = [word for word in _words(text) if _is_mixed(word)]
        return ", ".join(mixed) if mixed else None


def _words(text: str) -> list[str]:
    return "".join(c if unicodedata.category(c)[0] in "LM" or c in _JOINERS else " " for c in text).split()


def _is_mixed(word: str) -> bool:
    scripts = ["together" if script in _TOGETHER else script for script in scripts_of_letters(word)]
    runs = [(script, len(list(of_run))) for script, of_run in groupby(scripts)]
    if len(runs) < 2 or len(scripts) < _MIN_LETTERS:
        return False
    if len(runs) > 2:
        return True
    # One change is a foreign word with an ending; but not where it is of one letter only, and the scripts look alike.
    return {script for script, _ in runs} <= _ALIKE and min(length for _, length in runs) == 1
