"""Self-BLEU: how much of each text is found in the other texts of its side."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

_ORDERS = 4


class SelfBLEU:
    """The mean BLEU of each text against all others, after Texygen (Zhu et al. 2018, arXiv 1802.01886).

    It agrees with sacrebleu's sentence BLEU (exponential smoothing, effective order), as a test holds it to. Calling
    that once a text with all the others as references takes time that grows with the square of the number of texts.
    Here one pass does: of each n-gram only the two texts that hold it most often matter, since the references of the
    one that holds it most clip it at what the second has, and those of any other do not clip it at all.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        """Count the n-grams of texts given as words."""
        self._lengths = np.array([len(words) for words in texts])
        ids: dict[tuple[str, ...], int] = {}
        entries = []
        for text, words in enumerate(texts):
            for order in range(1, _ORDERS + 1):
                counts = Counter(zip(*(words[i:] for i in range(order)), strict=False))
                entries += [(ids.setdefault(gram, len(ids)), count, text, order - 1) for gram, count in counts.items()]
        table = np.array(entries, dtype=np.int64).reshape(-1, 4)
        by_gram = np.lexsort((table[:, 2], -table[:, 1], table[:, 0]))  # in each the text first that holds it most
        self._gram, self._count, self._text, self._order = table[by_gram].T

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return self-BLEU from 0 to 1 for each selection of texts; not a number where it has fewer than two."""
        return np.array([self._of_selection(row) for row in rows])

    def _of_selection(self, row: np.ndarray) -> float:
        chosen = np.flatnonzero(row)
        if len(chosen) < 2:
            return float("nan")
        there = row[self._text]
        gram, count = self._gram[there], self._count[there]
        found = count.copy()
        new = np.append(True, gram[1:] != gram[:-1])[: len(gram)]
        second = np.append(np.where(new[1:], 0, count[1:]), 0)[: len(gram)]
        found[new] = second[new]
        # A row an order, a column a text.
        place = self._order[there] * len(row) + self._text[there]
        shape = (_ORDERS, len(row))
        hits = np.bincount(place, weights=found, minlength=_ORDERS * len(row)).reshape(shape)[:, chosen]
        lengths = self._lengths[chosen]
        totals = np.maximum(lengths - np.arange(_ORDERS)[:, None], 0)
        misses = np.cumsum((hits == 0) & (totals > 0), axis=0)  # each order without a hit counts half of the one before
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.where(hits > 0, hits, 0.5**misses) / totals)
        orders = (totals > 0).sum(axis=0)
        mean_log = np.where(totals > 0, logs, 0).sum(axis=0) / np.maximum(orders, 1)
        scores = np.where(hits.sum(axis=0) > 0, np.exp(mean_log + _brevity(lengths)), 0)
        return float(scores.mean())


def _brevity(lengths: np.ndarray) -> np.ndarray:
    """Return the log of the brevity penalty of each text: its closest other in length, of two the shorter."""
    known, counts = np.unique(lengths, return_counts=True)
    closest = {}
    for length, count in zip(known.tolist(), counts.tolist(), strict=True):
        others = [n for n in known.tolist() if n != length or count > 1]
        closest[length] = min(others, key=lambda n: (abs(n - length), n))
    reference = np.array([closest[length] for length in lengths.tolist()])
    return np.asarray(np.minimum(0, 1 - reference / np.maximum(lengths, 1)))
