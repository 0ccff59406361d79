"""Decides what may be said of a student: that it beats the teacher, from which size on, and which one is to serve.

Everything here is a function of marks: a row a run, a column a text, all sides answering the same texts in the same
order. For accuracy a mark is whether the answer is right; `scores.f1_marks` gives those of macro-F1.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import exp, sqrt
from typing import Any, NamedTuple

import numpy as np
from scipy.special import bdtr, ndtri, stdtrit

from polydistill.scores import run_variance


class Comparison(NamedTuple):
    """How much better one side is than the other on the same texts."""

    difference: float  # mean of the first side less that of the second
    interval: list[float]  # [low, high] of the difference; lies on one side of 0 where the p-value is < 1 - confidence
    p_value: float  # two-sided, of no difference
    discordant: float  # share of texts that just one side has right; for more runs the share that would be as unsure


class BreakEven(NamedTuple):
    """From which of the training sizes tested on a student's mean stays above the teacher's."""

    size: int | None  # None: it is not above at the largest size
    low: int | None  # no smaller size can be it; None: each size is shown to be too small
    high: int | None  # no larger size can be it; None: it may lie beyond the sizes tested
    sizes: list[int]
    confidence: float

    def told(self) -> str:
        """Return the finding in words."""
        if not self.sizes:
            return "no size was tested"
        smallest, largest = self.sizes[0], self.sizes[-1]
        if self.low is None:
            return f"shown to be below the teacher at every size tested, up to {largest}"
        if self.high == smallest:
            return f"shown to be above the teacher at every size tested, from {smallest} on"
        # The break-even may as well lie below the smallest size, where nothing was tested.
        low = f"{self.low} or less" if self.low == smallest else str(self.low)
        high = str(self.high) if self.high is not None else f"more than {largest}"
        bounds = f"{self.confidence * 100:g} % interval: {low} to {high}"
        if self.size is None:
            return f"not above the teacher at the largest size tested, {largest} ({bounds})"
        return f"above the teacher from {self.size} on ({bounds})"


class Standing(NamedTuple):
    """A candidate beside the best one."""

    name: str
    mean: float
    cost: Any
    difference: float  # less the best one's mean: never above 0
    interval: list[float]  # of the difference; all intervals of a table hold together at the confidence asked for
    p_value: float  # of no difference, adjusted for the number of comparisons; 1 for the best one itself
    separable: bool


class Choice(NamedTuple):
    """Which candidate serves, why, and how all of them stand, from the best mean down."""

    winner: str
    reason: str
    table: list[Standing]


def compare_paired(marks_a: np.ndarray, marks_b: np.ndarray, confidence: float = 0.95) -> Comparison:
    """Compare two sides that answered the same texts; counts the chance of texts and, where a side has more, of runs.

    A side of one run (the teacher, a final model) stands for itself: how another training of it would do is not known.
    Of right and wrong answers of one run each, the p-value is that of McNemar's test, mid-p. Its false alarms stay
    within the nominal rate, as those of the exact test do, but not so far within that true differences are missed
    (Fagerland et al. 2013, BMC Medical Research Methodology 13:91; `benchmarks/coverage.py --only mcnemar`). With more
    runs, or other marks, it is the level at which the interval ends at 0.

    Args:
        marks_a: Bool or float of shape (n_runs_a, n_texts).
        marks_b: Bool or float of shape (n_runs_b, n_texts).
        confidence: Of the interval.
    """
    n_texts = marks_a.shape[1]
    gaps = marks_a.mean(axis=0) - marks_b.mean(axis=0)
    runs = [(len(marks) - 1, run_variance(marks)) for marks in (marks_a, marks_b) if len(marks) > 1]
    # Two texts more, of which each side has one right: the remedy of Bonett & Price (2012, Journal of Educational and
    # Behavioral Statistics 37:479) for few discordant texts, where the spread alone would be too sure of itself.
    padded = np.append(gaps, [1.0, -1.0])
    sources = [(n_texts + 1, float(padded.var(ddof=1) / len(padded))), *runs]
    centre = float(padded.mean())
    paired = len(marks_a) == len(marks_b) == 1 and marks_a.dtype == marks_b.dtype == bool
    p_value = _mcnemar(marks_a[0], marks_b[0]) if paired else _level(abs(centre), sources)
    low, high = centre - (margin := _margin(1 - confidence, sources)), centre + margin
    # With few discordant texts mid-p sees a difference a little earlier than the interval does; it has the last word.
    if p_value < 1 - confidence:
        low, high = (max(low, 0.0), high) if centre > 0 else (low, min(high, 0.0))
    discordant = float((gaps**2).mean() + n_texts * sum(variance for _, variance in runs))
    return Comparison(float(gaps.mean()), [max(low, -1.0), min(high, 1.0)], p_value, discordant)


def _margin(level: float, sources: Sequence[tuple[int, float]]) -> float:
    """Return the half-width of an interval: a margin by t for each source of variance, added as squares."""
    return sqrt(sum(float(stdtrit(freedom, level / 2)) ** 2 * variance for freedom, variance in sources))


def _level(distance: float, sources: Sequence[tuple[int, float]]) -> float:
    """Return the level at which the margin is so wide; halves the range of its logarithm until it is known."""
    low, high = -100.0, 0.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _margin(exp(middle), sources) > distance else (low, middle)
    return exp(high)


def _mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    fewer, total = min(only_a, only_b), only_a + only_b
    below = float(bdtr(fewer - 1, total, 0.5)) if fewer else 0.0
    return min(below + float(bdtr(fewer, total, 0.5)), 1.0)  # twice: what is below, and half of what is as far


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979), in the same order."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def break_even(curve: Mapping[int, np.ndarray], teacher: np.ndarray, confidence: float = 0.95) -> BreakEven:
    """Return the smallest size from which on the student's mean stays above the teacher's.

    The bounds come from a test at each size: from the smallest size up, while the student is shown to be below the
    teacher, the break-even lies higher; from the largest down, while it is shown to be above, it lies no higher. Each
    bound can be wrong only where the one test next to the true break-even is, so nothing needs adjusting.

    Args:
        curve: By training size, the marks of its runs, of shape (n_runs, n_texts).
        teacher: The teacher's marks on the same texts, of shape (n_texts,).
        confidence: Of the bounds, both together.
    """
    sizes = sorted(curve)
    found = {size: compare_paired(curve[size], teacher[np.newaxis], confidence) for size in sizes}
    shown = {size: of.p_value < 1 - confidence for size, of in found.items()}
    size = _lasting(sizes, {s: found[s].difference > 0 for s in sizes})
    high = _lasting(sizes, {s: shown[s] and found[s].difference > 0 for s in sizes})
    low = next((s for s in sizes if not (shown[s] and found[s].difference < 0)), None)
    return BreakEven(size, low, high, sizes, confidence)


def _lasting(sizes: Sequence[int], holds: Mapping[int, bool]) -> int | None:
    """Return the smallest of the sorted sizes from which on it holds."""
    last = None
    for size in reversed(sizes):
        if not holds[size]:
            break
        last = size
    return last


def detectable_gap(n_texts: int, discordant_share: float, power: float = 0.8, confidence: float = 0.95) -> float | None:
    """Return the smallest true gap that a paired test on so many texts shows with this power; None: not even 1.

    Source: the sample size of McNemar's test (Connor 1987, Biometrics 43:207), solved for the gap.

    Args:
        n_texts: Texts of the test set.
        discordant_share: Share of texts that just one of the two sides has right. A gap cannot be wider, so where the
            share is too small for any gap to show, that of the gap itself is taken.
        power: How often the gap is to be found.
        confidence: One less the level of the two-sided test.
    """
    alarm, find = float(ndtri((1 + confidence) / 2)), float(ndtri(power))
    if n_texts < alarm**2:
        return None
    # gap * sqrt(n) = alarm * sqrt(share) + find * sqrt(share - gap ** 2), solved for the gap, is scale * sqrt(share)
    total = n_texts + find**2
    scale = (alarm * sqrt(n_texts) + find * sqrt(total - alarm**2)) / total
    gap = scale * max(sqrt(discordant_share), scale)
    return gap if gap <= 1 else None


def choose(candidates: Mapping[str, np.ndarray], cost: Mapping[str, Any], confidence: float = 0.95) -> Choice:
    """Return who serves: the best on validation texts or, of those not separable from it, the cheapest to serve.

    Args:
        candidates: By name, the marks on the same validation texts, of shape (n_runs, n_texts).
        cost: By name, what serving costs, in any unit that sorts; positive numbers are told as a ratio.
        confidence: One less the level at which candidates count as separable.
    """
    means = {name: float(marks.mean()) for name, marks in candidates.items()}
    ranked = sorted(candidates, key=lambda name: (-means[name], cost[name], name))
    best = ranked[0]
    # Any two count as compared, since it is the same texts that tell which is the best.
    pairs = list(combinations(ranked, 2))
    level = (1 - confidence) / max(len(pairs), 1)
    found = {(a, b): compare_paired(candidates[b], candidates[a], 1 - level) for a, b in pairs}
    adjusted = dict(zip(pairs, holm([of.p_value for of in found.values()]), strict=True))
    table = [Standing(best, means[best], cost[best], 0.0, [0.0, 0.0], 1.0, False)]
    for name in ranked[1:]:
        beside, p_value = found[best, name], adjusted[best, name]
        separable = p_value < 1 - confidence
        table.append(Standing(name, means[name], cost[name], beside.difference, beside.interval, p_value, separable))
    equals = [of for of in table if not of.separable]
    winner = min(equals, key=lambda of: (of.cost, table.index(of)))
    n_texts = candidates[best].shape[1]
    return Choice(winner.name, _reason(winner, table, n_texts, confidence), table)


def _reason(winner: Standing, table: Sequence[Standing], n_texts: int, confidence: float) -> str:
    best = table[0]
    score = f"{winner.name}: {winner.mean:.3f} on {n_texts} validation texts"
    if len(table) == 1:
        return f"{score}, the only candidate"
    if winner is not best:
        low, high = -winner.interval[1], -winner.interval[0]
        return (
            f"{score}, not separable from {best.name} {best.mean:.3f} (difference {-winner.difference:.3f}, "
            f"{confidence * 100:g} % interval {low:.3f} to {high:.3f}), and {_cheaper(winner.cost, best.cost)}"
        )
    equals = [of.name for of in table[1:] if not of.separable]
    if not equals:
        rest = "" if len(table) == 2 else " and all others"
        return f"{score}, better than {table[1].name} {table[1].mean:.3f}{rest} beyond chance"
    return f"{score}, the best; {' and '.join(equals)} not separable from it, but no cheaper to serve"


def _cheaper(cost: Any, than: Any) -> str:
    if not (isinstance(cost, int | float) and isinstance(than, int | float) and cost > 0):
        return "cheaper to serve"
    times, less = than / cost, round(100 * (1 - cost / than))
    return f"{times:,.0f} × cheaper to serve" if times >= 1.95 else f"{less} % cheaper to serve"
