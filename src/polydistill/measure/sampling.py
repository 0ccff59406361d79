"""Which texts are compared, and how sure a number is that was computed from them."""

from collections.abc import Sequence

import numpy as np

from polydistill.records import Record

CONFIDENCE = 0.95
MIN_TEXTS = 8
"""With fewer texts of a side no interval is given."""

_NORMAL_QUANTILE = 1.959964
_HALVES = 100


def matched(
    synthetic: Sequence[Record], human: Sequence[Record], *, max_texts: int, seed: int
) -> tuple[list[Record], list[Record]]:
    """Draw from both sides the same number of texts of each label, at most `max_texts` a side.

    Large labels give way first, so that small ones stay whole. The order of the input plays no part.
    """
    available = {
        label: min(sum(r.label == label for r in synthetic), sum(r.label == label for r in human))
        for label in sorted({r.label for r in synthetic} & {r.label for r in human})
    }
    most = max(available.values(), default=0)
    while most > 1 and sum(min(n, most) for n in available.values()) > max_texts:
        most -= 1
    drawn: tuple[list[Record], list[Record]] = ([], [])
    for label, n in available.items():
        for side, records in zip(drawn, (synthetic, human), strict=True):
            side += sample([r for r in records if r.label == label], min(n, most), seed)
    return drawn


def sample(records: Sequence[Record], n: int, seed: int) -> list[Record]:
    """Draw `n` of the records, or all where there are fewer; the order of the input plays no part."""
    ordered = sorted(records, key=lambda r: (r.id, r.label))
    chosen = np.random.default_rng(seed).permutation(len(ordered))[:n]
    return [ordered[i] for i in sorted(chosen)]


def whole_and_halves(labels: Sequence[str], seed: int) -> np.ndarray:
    """Return selections of texts: in row 0 all of them, in the others random halves of each label.

    A bootstrap draws with replacement, and its repeats look like duplicates: every measure of diversity comes out too
    low. Half-samples without replacement hold no text twice. The spread of a statistic over them estimates its standard
    error on the full sample with no factor to correct for: they are the delete-d jackknife with d = n/2 (Shao & Wu
    1989, A general theory for jackknife variance estimation, Annals of Statistics 17(3)).

    Returns:
        Boolean array of shape (1 + number of halves, n_texts).
    """
    rng = np.random.default_rng(seed)
    classes = np.array(labels)
    rows = np.zeros((1 + _HALVES, len(classes)), dtype=bool)
    rows[0] = True
    for label in np.unique(classes):
        of_label = np.flatnonzero(classes == label)
        for row in rows[1:]:
            size = (len(of_label) + rng.integers(2)) // 2  # of an odd number, the middle text goes either way
            row[rng.permutation(of_label)[:size]] = True
    return rows


def standard_error(values: np.ndarray, *, growing: bool = False) -> float | None:
    """Return the standard error of a measure from its values on `whole_and_halves`, None where it has none.

    Where the measure is `growing` with the number of texts, so does its spread: that of the halves is as much too small
    as their mean.
    """
    if np.isnan(values).any():
        return None
    whole, halves = values[0], values[1:]
    scale = whole / halves.mean() if growing and halves.mean() > 0 else 1.0
    return float(halves.std(ddof=1) * scale)


def around(
    value: float, error: float | None, low: float = float("-inf"), high: float = float("inf")
) -> list[float] | None:
    """Return the interval of a value, cut off where no value can be."""
    if error is None:
        return None
    half = _NORMAL_QUANTILE * error
    return [max(value - half, low), min(value + half, high)]
