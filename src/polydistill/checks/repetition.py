"""Texts that say the same over and over."""

from collections import Counter
from typing import Self

import numpy as np

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams
from polydistill.text import fold, words

_COUNTED_WORDS = 8
_LOOP_ROUNDS = 4
_LOOP_CHARS = 16
_LOOKED_AT = 4_000  # characters, since to look for loops takes time by the square of the length


class Repetition(TextCheck):
    """Finds texts of which one word, or a loop of the same characters, makes up more than `max_share`.

    The loop is looked for without regard to spaces: so it is found in scripts without them, and where a phrase of
    several words goes round; only at the beginning of a very long text. Words are counted in texts of eight or more; a
    loop shorter than four rounds or 16 characters is how people write.
    """

    meaning = "one word or phrase over and over"

    def __init__(self, max_share: float) -> None:
        self.max_share = max_share

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the bound of `params`."""
        return cls(params.repetition.max_share)

    def fault(self, text: str) -> str | None:
        """Count words, then look for a loop."""
        all_words = words(text)
        # Where one word is as frequent as that, there are few different ones.
        if len(all_words) >= _COUNTED_WORDS and len(set(all_words)) <= len(all_words) * (1 - self.max_share) + 1:
            word, count = Counter(all_words).most_common(1)[0]
            if count > self.max_share * len(all_words):
                return f"{count} of {len(all_words)} words are: {word}"
        folded = fold(text[:_LOOKED_AT])
        unit, length = _longest_loop(folded, self.max_share)
        if length >= _LOOP_CHARS and length > self.max_share * len(folded):
            return f"{length // len(unit)} times over: {unit}"
        return None


def _longest_loop(text: str, min_share: float) -> tuple[str, int]:
    """Return the unit and the length of the longest stretch that repeats one unit at least `_LOOP_ROUNDS` times.

    A loop shorter than `min_share` of the text may be missed.
    """
    # Inside a loop there are no more different 4-grams than the unit is long: most texts are done here.
    different = len({text[i : i + 4] for i in range(len(text))})
    if different > len(text) * (1 - min_share * (1 - 1 / _LOOP_ROUNDS)) + 4:
        return "", 0
    points = np.array([ord(c) for c in text])
    best = ("", 0)
    for period in range(1, len(text) // _LOOP_ROUNDS + 1):
        breaks = np.flatnonzero(points[period:] != points[:-period])
        edges = np.concatenate(([-1], breaks, [len(text) - period]))
        runs = np.diff(edges) - 1
        longest = int(runs.argmax())
        length = int(runs[longest]) + period
        if length >= _LOOP_ROUNDS * period and length > best[1]:
            start = int(edges[longest]) + 1
            best = (text[start : start + period], length)
    return best
