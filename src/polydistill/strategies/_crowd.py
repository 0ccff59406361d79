"""Which of a label's texts stand where it is crowded, by the character 4-grams that they share."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from heapq import heappush, heappushpop
from itertools import chain

from polydistill.text import grams

WINDOW = 200
"""No more than so many of the latest texts are compared, and no fewer than half, where there are as many."""

_NEIGHBOURS = 5
_COMPARED_CHARS = 300  # longer texts are compared by their beginning


class Crowd:
    """The latest texts of a label, each known with its likeness to those nearest to it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._grams: list[set[str]] = []
        self._holders: dict[str, list[int]] = defaultdict(list)
        self._nearest: list[list[float]] = []

    def add(self, text: str) -> None:
        """Take one more text into account."""
        of_text = grams(text[:_COMPARED_CHARS])
        shared = Counter(chain.from_iterable(self._holders[gram] for gram in of_text))
        new: list[float] = []
        for i, n in shared.items():
            likeness = n / (len(of_text) + len(self._grams[i]) - n)
            for nearest in (new, self._nearest[i]):
                if len(nearest) < _NEIGHBOURS:
                    heappush(nearest, likeness)
                else:
                    heappushpop(nearest, likeness)
        for gram in of_text:
            self._holders[gram].append(len(self.texts))
        self.texts.append(text)
        self._grams.append(of_text)
        self._nearest.append(new)

    def most_crowded(self) -> list[int]:
        """Return the indexes of the texts, those first whose mean likeness to their nearest others is highest."""
        # The same sum in whichever order they were found.
        crowding = [math.fsum(nearest) for nearest in self._nearest]
        return sorted(range(len(self.texts)), key=lambda i: (-crowding[i], i))

    def likeness(self, one: int, other: int) -> float:
        """Return the Jaccard similarity of the character 4-grams of two texts."""
        shared = len(self._grams[one] & self._grams[other])
        return shared / (len(self._grams[one]) + len(self._grams[other]) - shared)


def crowd_of(texts: Sequence[str], known: Crowd | None) -> Crowd:
    """Return the crowd of the latest texts; `known`, gone on with where it fits, only saves work."""
    # The window moves on by half its size at a time, since nothing can be taken out of a crowd.
    start = max(0, len(texts) // (WINDOW // 2) - 1) * (WINDOW // 2)
    recent = list(texts[start:])
    if known is None or known.texts != recent[: len(known.texts)]:
        known = Crowd()
    for text in recent[len(known.texts) :]:
        known.add(text)
    return known
