"""Decides which texts give a test set away: those that are, nearly are, hold, or are a piece of a test text."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polydistill.near import Nearness, code_grams, hashed, mixed, near_copies
from polydistill.params import LeakParams
from polydistill.text import fold

_CHUNK = 10_000  # texts whose stretches are hashed at once


@dataclass(frozen=True)
class Leak:
    """The test text that a text gives away, by its index, and how: "0.93 like" or "holds", for example."""

    test: int
    how: str

    def told(self, tests: Sequence[str]) -> str:
        """Return the leak for a person to read."""
        return f"{self.how}: {tests[self.test]}"


def find_leaks(texts: Sequence[str], tests: Sequence[str], params: LeakParams) -> dict[int, Leak]:
    """Find the texts that leak, by their index; of several test texts the most similar one is named.

    Args:
        texts: The texts to look at.
        tests: The texts of the test set.
        params: When a text is near to a test text, and how long what one holds of the other must be to count.
    """
    if not texts or not tests:
        return {}
    nearness = Nearness.of(params)
    found = {i: Leak(match.index, match.how(nearness)) for i, match in near_copies(texts, tests, nearness).items()}
    folded, folded_tests = hashed(tuple(texts), nearness).folded, [fold(text) for text in tests]
    for test, i in _held(folded_tests, folded, params.min_held):
        found.setdefault(i, Leak(test, "holds"))
    for i, test in _held(folded, folded_tests, params.min_held):
        found.setdefault(i, Leak(test, "a piece of"))
    return dict(sorted(found.items()))


def _held(pieces: Sequence[str], wholes: Sequence[str], least: int) -> Iterator[tuple[int, int]]:
    """Yield the index of each piece, of `least` characters or more, and that of a whole that it stands in."""
    openings: dict[int, list[int]] = defaultdict(list)
    long_enough = [i for i, piece in enumerate(pieces) if len(piece) >= least]
    if not long_enough:
        return
    beginnings = [pieces[i][:least] for i in long_enough]
    first = np.concatenate(
        [_stretches(beginnings[start : start + _CHUNK], least)[0] for start in range(0, len(beginnings), _CHUNK)]
    )
    for i, opening in zip(long_enough, first.tolist(), strict=True):
        openings[opening].append(i)
    known = np.sort(first)
    for start in range(0, len(wholes), _CHUNK):
        hashes, owners = _stretches(wholes[start : start + _CHUNK], least)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        hits = np.flatnonzero(known[places] == hashes)
        for opening, whole in dict.fromkeys(zip(hashes[hits].tolist(), (owners[hits] + start).tolist(), strict=True)):
            yield from ((i, whole) for i in openings[opening] if pieces[i] in wholes[whole])


def _stretches(folded: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a hash of each stretch of `length` characters, three or more, within the texts.

    Returns:
        The hashes, uint64 of shape (n_stretches,), and the text that each is of, int64 of the same shape.
    """
    grams, ends = code_grams(folded)
    grams = mixed(grams)
    owners = np.repeat(np.arange(len(folded)), np.diff(ends))
    last = length - 3  # where the last 3-gram of a stretch begins
    count = max(len(grams) - last, 0)
    hashes = np.zeros(count, np.uint64)
    for place in [*range(0, last, 3), last]:
        hashes = mixed(hashes ^ grams[place : place + count])
    within = owners[:count] == owners[last : last + count]
    return hashes[within], owners[:count][within]
