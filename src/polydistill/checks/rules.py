"""What makes a text unfit on its own, whatever its language and whatever other texts there are.

Each rule returns what it found, for a person to read, or None where the text is fine.
"""

import re
import unicodedata
from collections import Counter

import numpy as np

from polydistill.text import fold, words

_MARKUP = {
    "HTML": re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|&(?:[a-zA-Z]+|#\d+|#x[0-9a-fA-F]+);"),
    "markdown": re.compile(
        r"(?<!\w)(\*\*|__)(?=\S).+?(?<=\S)\1(?!\w)"  # bold
        r"|^\s*\#{1,6}\s|```|\[[^\]]+\]\([^)\s]+\)",  # heading, code, link
        re.DOTALL,
    ),
    "a label": re.compile(
        r"^\W*(?:text|example|sentence|label|output|sample|note)\s*\d*\s*:|\"text\"\s*:", re.IGNORECASE
    ),
    "a list": re.compile(r"^\s*(?:\(?\d{1,3}\)|[*•-])\s+\S"),
}
_NUMBERED = re.compile(r"^\s*\d{1,3}\.\s+(\S)")

_COUNTED_WORDS = 8
_LOOP_ROUNDS = 4
_LOOP_CHARS = 16


def empty(text: str) -> str | None:
    """Find a text of nothing but white space, punctuation and invisible characters."""
    says_something = any(unicodedata.category(c)[0] in "LNS" for c in text)
    return None if says_something else "no letter, digit or symbol"


def too_short(text: str, min_chars: int) -> str | None:
    """Find a text of fewer than `min_chars` code points."""
    return f"{len(text)} characters, wanted {min_chars}" if len(text) < min_chars else None


def too_long(text: str, max_chars: int) -> str | None:
    """Find a text of more than `max_chars` code points."""
    return f"{len(text)} characters, allowed {max_chars}" if len(text) > max_chars else None


def markup(text: str) -> str | None:
    """Find HTML, markdown, a label such as "Text:" and list numbering, all left over from a reply's layout.

    "1. maja" is a date, so a number with a full stop counts as numbering only where no small letter follows.
    """
    for kind, pattern in _MARKUP.items():
        if found := pattern.search(text):
            return f"{kind}: {found.group().strip()}"
    if (found := _NUMBERED.match(text)) and not found.group(1).islower():
        return f"a list: {found.group().strip()}"
    return None


def repetition(text: str, max_share: float) -> str | None:
    """Find a text of which one word, or a loop of the same characters, makes up more than `max_share`.

    The loop is looked for without regard to spaces: so it is found in scripts without them, and where a phrase of
    several words goes round. Words are counted in texts of eight or more; a loop shorter than four rounds or 16
    characters is how people write.
    """
    all_words = words(text)
    if len(all_words) >= _COUNTED_WORDS:
        word, count = Counter(all_words).most_common(1)[0]
        if count > max_share * len(all_words):
            return f"{count} of {len(all_words)} words are: {word}"
    folded = fold(text)
    unit, length = _longest_loop(folded, max_share)
    if length >= _LOOP_CHARS and length > max_share * len(folded):
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
