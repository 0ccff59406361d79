"""Which texts say the same as others: after folding, or nearly, by the character 4-grams that they share."""

import math
from collections import defaultdict
from collections.abc import Sequence

from polydistill.text import fold, grams


class NearIndex:
    """Finds, among the texts added so far, the one that is most similar to a text; no pair is missed.

    Two texts are as similar as the Jaccard similarity of the character 4-grams of their folded forms. A text that
    reaches the threshold holds so many of the 4-grams asked for that it must hold one of the rarest few, and only the
    texts that do are compared.

    Source: after the prefix filter of Chaudhuri et al. 2006, "A Primitive Operator for Similarity Joins in Data
    Cleaning". Here all 4-grams of an added text are indexed, not only a prefix in an order common to all texts, so that
    "rare" can follow the texts as they come.
    """

    def __init__(self, threshold: float) -> None:
        """Compare texts for a similarity of `threshold`, in (0, 1], or more."""
        self.threshold = threshold
        self._numbers: dict[str, int] = {}  # 4-gram -> its number, which is cheaper to hold and to compare
        self._holders: list[list[int]] = []  # by 4-gram: the texts that it is in
        self._members: list[tuple[int, ...]] = []  # by text: its 4-grams

    def __len__(self) -> int:
        """Return how many texts were added."""
        return len(self._members)

    def add(self, text: str) -> int:
        """Add a text and return its index: how many were added before it."""
        index = len(self)
        members = tuple(self._numbers.setdefault(gram, len(self._numbers)) for gram in grams(text))
        self._members.append(members)
        self._holders += [[] for _ in range(len(self._numbers) - len(self._holders))]
        for gram in members:
            self._holders[gram].append(index)
        return index

    def most_similar(self, text: str) -> tuple[int, float] | None:
        """Return the index of the most similar text, the first of equals, and the similarity; None below threshold."""
        wanted = grams(text)
        known = {self._numbers[gram] for gram in wanted if gram in self._numbers}
        # No more is shared than the smaller set has and no union is smaller than the larger set, so a similar text
        # holds at least `fewest` of the 4-grams, and lacks too few of them to lack all that are asked for here.
        fewest = _at_least(self.threshold, len(wanted))
        rarest = sorted((self._holders[gram] for gram in known), key=len)[: max(0, len(known) - fewest + 1)]
        found: tuple[int, float] | None = None
        for index in sorted(set().union(*rarest)):
            size = len(self._members[index])
            if size < fewest or len(wanted) < _at_least(self.threshold, size):
                continue
            shared = len(known.intersection(self._members[index]))
            similarity = shared / (len(wanted) + size - shared)
            if similarity >= self.threshold and (found is None or similarity > found[1]):
                found = index, similarity
        return found


def conflicts(texts: Sequence[str], labels: Sequence[str]) -> dict[int, str]:
    """Find the texts that stand, folded, under several labels: index -> the other labels."""
    groups = _groups(texts)
    found = {}
    for group in groups.values():
        of_group = {labels[i] for i in group}
        found.update({i: ", ".join(sorted(of_group - {labels[i]})) for i in group if len(of_group) > 1})
    return found


def repeats(texts: Sequence[str]) -> dict[int, str]:
    """Find the texts that repeat, folded, an earlier one: index -> that one."""
    return {i: texts[first] for first, *others in _groups(texts).values() for i in others}


def copies(texts: Sequence[str], of: Sequence[str], threshold: float) -> dict[int, str]:
    """Find the texts that are, or nearly are, one of the texts `of`: index -> the most similar one."""
    index = NearIndex(threshold)
    for text in of:
        index.add(text)
    found = {i: index.most_similar(text) for i, text in enumerate(texts)}
    return {i: _likeness(of[near[0]], near[1]) for i, near in found.items() if near}


def near_repeats(texts: Sequence[str], labels: Sequence[str], threshold: float) -> dict[int, str]:
    """Find the texts that are nearly an earlier one of their label that stays: index -> that one.

    One word can make a text one of another label, so texts of different labels are not compared.
    """
    found = {}
    for label in sorted(set(labels)):
        index = NearIndex(threshold)
        stays: list[str] = []
        for i, of_member in enumerate(labels):
            if of_member != label:
                continue
            if near := index.most_similar(texts[i]):
                found[i] = _likeness(stays[near[0]], near[1])
            else:
                index.add(texts[i])
                stays.append(texts[i])
    return found


def _at_least(share: float, of: int) -> int:
    """Return the least whole number that is `share` of a number, or more; what floats get wrong makes it no larger."""
    return math.ceil(share * of * (1 - 1e-9))


def _groups(texts: Sequence[str]) -> dict[str, list[int]]:
    groups = defaultdict(list)
    for i, text in enumerate(texts):
        groups[fold(text)].append(i)
    return groups


def _likeness(text: str, similarity: float) -> str:
    return f"{similarity:.2f} like: {text}"
