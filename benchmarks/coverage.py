"""How often the intervals of `scores` and `verdict` hold the truth, and how often their tests see what is not there.

    python benchmarks/coverage.py [--samples 2000]

All is simulated, with nominal 95 %; a rate from 2,000 samples is known to about one point. Prints Markdown tables.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.stats import binom
from simulated import IMBALANCED, Side, confuse, right_answers, true_f1

from polydistill.scores import f1_marks, interval, mean_interval, resample_counts
from polydistill.verdict import break_even, choose, compare_paired, detectable_gap, holm

ACCURACIES = (0.55, 0.75, 0.92, 0.98)
RUNS = (1, 2, 5, 20)
N_TEXTS = (200, 2000)
# Shares of the variance: texts that are hard for all runs, or none; trainings all as good, or some points apart.
HARD_TEXTS = {"none": 0.0, "strong": 0.6}
SPREAD = {"none": 0.0, "small": 0.0025, "large": 0.04}
SIZES = (10, 20, 50, 100, 200, 500, 1000, 2000)


def rate(found: Iterable[bool], digits: int = 1) -> str:
    """Return how often it was found, in per cent."""
    return f"{100 * np.mean(list(found)):.{digits}f}"


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a Markdown table row by row."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{' ---: |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def accuracy_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often the interval of the mean accuracy holds it."""
    rng = np.random.default_rng(1)
    for n_texts in N_TEXTS:
        weights = {n: resample_counts(n, 500, np.random.default_rng(n)) / n for n in (n_texts, *RUNS)}
        for accuracy in ACCURACIES:
            for hard, texts in HARD_TEXTS.items():
                for spread, trainings in SPREAD.items():
                    cells, peers = [], []
                    for runs in RUNS:
                        # One run has no spread to speak of; then texts hard for all runs are texts like any other.
                        if runs == 1 and (texts or trainings):
                            cells.append("")
                            continue
                        side = Side(runs, accuracy, trainings=trainings)
                        held, peer = [], []
                        for i in range(samples if n_texts < 1000 else samples // 2):
                            (right,) = right_answers(rng, n_texts, [side], texts)
                            low, high = mean_interval(right, 0.95)
                            held.append(low <= accuracy <= high)
                            if runs > 1 and i < samples // 10:
                                of_runs = weights[n_texts] @ right.T
                                low, high = interval((of_runs * weights[runs]).sum(axis=1), 0.95)
                                peer.append(low <= accuracy <= high)
                        cells.append(rate(held))
                        peers += [rate(peer)] if peer else []
                    yield n_texts, accuracy, hard, spread, *cells, " / ".join(peers)


def f1_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often the interval of the mean macro-F1 holds it."""
    rng = np.random.default_rng(2)
    of_labels = {"2 equal": (0.5,) * 2, "7 equal": (1 / 7,) * 7, "10 from 2 to 25 %": IMBALANCED}
    for n_texts in N_TEXTS:
        for labels, shares in of_labels.items():
            for accuracy in ACCURACIES[1:]:
                for texts, trainings in ((0.0, 0.0), (0.6, 0.04)):
                    cells = []
                    truth_f1 = true_f1(accuracy, trainings, shares)
                    for runs in RUNS[1:] if trainings else RUNS:
                        held = []
                        for _ in range(samples // 2 if n_texts < 1000 else samples // 8):
                            truth = rng.choice(len(shares), n_texts, p=shares)
                            (right,) = right_answers(rng, n_texts, [Side(runs, accuracy, 0.0, trainings)], texts)
                            answers = confuse(rng, right, truth, len(shares))
                            low, high = mean_interval(f1_marks(truth, answers, len(shares)), 0.95)
                            held.append(low <= truth_f1 <= high)
                        cells.append(rate(held))
                    yield n_texts, labels, accuracy, "both" if trainings else "none", *[""] * (4 - len(cells)), *cells


# What two sides share in texts, what is their own, and how far trainings lie apart.
ALIKE = {"much alike": (0.8, 0.1, 0.0), "alike": (0.5, 0.0, 0.0), "unlike": (0.3, 0.3, 0.04)}


def sides(runs: int, accuracy: float, texts: float, trainings: float) -> Side:
    """Return a side; one of a single run is what it is, whatever other trainings would bring."""
    return Side(runs, accuracy, texts, trainings) if runs > 1 else Side(1, accuracy)


def paired_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often a difference is seen where there is none, and how often the interval holds one of 5 points."""
    rng = np.random.default_rng(3)
    for n_texts in (50, 200, 2000):
        for accuracy in (0.75, 0.92, 0.98):
            for alike, (shared, texts, trainings) in ALIKE.items():
                for runs_a, runs_b in ((1, 1), (20, 1), (20, 20)):
                    if n_texts * runs_a * runs_b > 100_000 and runs_b > 1:
                        continue
                    p_values, discordant, held = [], [], []
                    for i in range(samples):
                        for gap in (0.0, 0.05) if i % 2 else (0.0,):
                            a, b = right_answers(
                                rng,
                                n_texts,
                                [
                                    sides(runs_a, accuracy, texts, trainings),
                                    sides(runs_b, accuracy - gap, texts, trainings),
                                ],
                                shared,
                            )
                            found = compare_paired(a, b)
                            if gap:
                                held.append(found.interval[0] <= gap <= found.interval[1])
                            else:
                                p_values.append(found.p_value)
                                discordant.append(found.discordant)
                    yield (
                        n_texts,
                        accuracy,
                        alike,
                        f"{runs_a} : {runs_b}",
                        f"{np.mean(discordant):.3f}",
                        rate(p < 0.05 for p in p_values),
                        rate((p < 0.05 / 18 for p in p_values), 2),
                        rate(held),
                    )


def mcnemar_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield the worst rate of false alarms of both McNemar's tests over discordant shares, computed and not drawn."""
    del samples
    shares = np.linspace(0.002, 0.6, 300)
    for n_texts in (20, 50, 200, 2000):
        for level in (0.05, 0.05 / 18):
            total = np.arange(n_texts + 1)[:, np.newaxis]
            only_a = np.arange(n_texts + 1)
            fewer = np.minimum(only_a, total - only_a)
            chance = binom.pmf(only_a, total, 0.5)  # 0 where only_a is beyond the total
            exact = np.where(2 * fewer == total, 1.0, 2 * binom.cdf(fewer, total, 0.5))
            weights = binom.pmf(total.ravel(), n_texts, shares[:, np.newaxis])
            rates = [
                (weights @ np.where(p_value < level, chance, 0.0).sum(axis=1)).max()
                for p_value in (exact - np.where(2 * fewer == total, 0.0, chance), exact)
            ]
            yield n_texts, f"{100 * level:.2f}", *(f"{100 * rate:.2f}" for rate in rates)


def family_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often at least one of 18 students (6 languages, 3 kinds) seems better or worse than the teacher."""
    rng = np.random.default_rng(4)
    for n_texts in (50, 200):
        for runs in (1, 20):
            for accuracy in (0.75, 0.92):
                alarms, plain = [], []
                for _ in range(samples // (2 if runs == 1 else 8)):
                    p_values = []
                    for _ in range(6):
                        students = [sides(runs, accuracy, 0.1, 0.01)] * 3
                        *said, teacher = right_answers(rng, n_texts, [*students, Side(1, accuracy)], 0.5)
                        p_values += [compare_paired(student, teacher).p_value for student in said]
                    alarms.append(min(holm(p_values)) < 0.05)
                    plain.append(min(p_values) < 0.05)
                yield n_texts, runs, accuracy, rate(alarms), rate(plain)


CURVES = {
    "crosses at 200, steeply": ((0.50, 0.58, 0.64, 0.70, 0.78, 0.82, 0.85, 0.87), 0.74),
    "crosses at 200, then flat": ((0.55, 0.62, 0.68, 0.72, 0.75, 0.755, 0.76, 0.765), 0.74),
    "creeps across at 500": ((0.73, 0.732, 0.734, 0.736, 0.738, 0.742, 0.744, 0.746), 0.74),
    "always above": ((0.76, 0.77, 0.78, 0.79, 0.80, 0.81, 0.82, 0.83), 0.74),
    "never above": ((0.50, 0.55, 0.60, 0.65, 0.68, 0.70, 0.71, 0.72), 0.74),
}


def break_even_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often the interval holds the true break-even, and how many sizes it holds."""
    rng, beyond = np.random.default_rng(5), len(SIZES)
    for n_texts in N_TEXTS:
        for runs in (2, 20):
            for name, (means, teacher_mean) in CURVES.items():
                held, widths, found = [], [], []
                truth = next((i for i, mean in enumerate(means) if mean > teacher_mean), beyond)
                for _ in range(samples // (4 if n_texts < 1000 else 20)):
                    students = [Side(runs, mean, 0.1, 0.01) for mean in means]
                    *curve, teacher = right_answers(rng, n_texts, [*students, Side(1, teacher_mean)], 0.5)
                    told = break_even(dict(zip(SIZES, curve, strict=True)), teacher[0])
                    low = beyond if told.low is None else SIZES.index(told.low)
                    high = beyond if told.high is None else SIZES.index(told.high)
                    held.append(low <= truth <= high)
                    widths.append(high - low + 1)
                    found.append((beyond if told.size is None else SIZES.index(told.size)) == truth)
                yield n_texts, runs, name, rate(held), f"{np.mean(widths):.1f}", rate(found)


def choice_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how often candidates that are all as good are told apart, and how often the cheapest is not chosen."""
    rng = np.random.default_rng(6)
    for n_texts in (40, 200):
        for n in (2, 4, 6):
            separable, lost = [], []
            for _ in range(samples // 2):
                said = right_answers(rng, n_texts, [Side(1, 0.75)] * n, 0.5)
                choice = choose({str(i): right for i, right in enumerate(said)}, {str(i): i for i in range(n)})
                separable.append(any(standing.separable for standing in choice.table))
                lost.append(choice.winner != "0")
            yield n_texts, n, rate(separable), rate(lost)


def gap_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield the gap that should be found four times out of five, and how often it is."""
    rng = np.random.default_rng(7)
    for n_texts in (50, 204, 2000):
        for share in (0.1, 0.2, 0.35):
            gap = detectable_gap(n_texts, share)
            if gap is None:
                continue
            shown = []
            share = max(share, gap)  # a gap cannot be wider than the share
            for _ in range(samples):
                u = rng.random(n_texts)
                only_a, only_b = u < (share + gap) / 2, u > 1 - (share - gap) / 2
                shown.append(compare_paired(only_a[np.newaxis], only_b[np.newaxis]).p_value < 0.05)
            yield n_texts, f"{share:.3f}", f"{gap:.3f}", rate(shown)


def cost_rows(samples: int) -> Iterable[Sequence[object]]:
    """Yield how long each takes for 20 runs and 2,000 texts of ten labels."""
    rng = np.random.default_rng(8)
    truth = rng.integers(0, 10, 2000)
    right, teacher = right_answers(rng, 2000, [Side(20, 0.75), Side(1, 0.7)], 0.5)
    answers = confuse(rng, right, truth, 10)
    works: dict[str, Callable[[], object]] = {
        "mean_interval, accuracy": lambda: mean_interval(right, 0.95),
        "mean_interval, macro-F1": lambda: mean_interval(f1_marks(truth, answers, 10), 0.95),
        "compare_paired": lambda: compare_paired(right, teacher),
        "break_even, 8 sizes": lambda: break_even(dict.fromkeys(SIZES, right), teacher[0]),
    }
    for name, work in works.items():
        started = time.perf_counter()
        for _ in range(50):
            work()
        yield name, f"{(time.perf_counter() - started) * 1000 / 50:.1f}"


TABLES: dict[str, tuple[str, Sequence[str], Callable[[int], Iterable[Sequence[object]]]]] = {
    "accuracy": (
        "Mean accuracy: how often its 95 % interval holds it (%), by runs",
        [
            "texts",
            "accuracy",
            "hard texts",
            "spread of runs",
            *map(str, RUNS),
            "bootstrap of runs and texts: 2 / 5 / 20",
        ],
        accuracy_rows,
    ),
    "f1": (
        "Mean macro-F1: how often its 95 % interval holds it (%), by runs",
        ["texts", "labels", "accuracy", "hard texts, spread", *map(str, RUNS)],
        f1_rows,
    ),
    "paired": (
        "Two sides as good as each other: how often a test sees a difference (%)",
        ["texts", "accuracy", "sides", "runs", "discordant", "p < 5 %", "p < 5 % / 18", "interval holds a gap of 0.05"],
        paired_rows,
    ),
    "mcnemar": (
        "One run against one, up to 60 % discordant: the worst rate of false alarms (%)",
        ["texts", "nominal", "mid-p", "exact"],
        mcnemar_rows,
    ),
    "family": (
        "18 students as good as the teacher: how often at least one seems not to be (%)",
        ["texts", "runs", "accuracy", "after Holm", "without"],
        family_rows,
    ),
    "break_even": (
        "Break-even: how often its 95 % interval holds it (%), sizes within, how often the estimate is right (%)",
        ["texts", "runs", "curve", "held", "sizes", "estimate right"],
        break_even_rows,
    ),
    "choice": (
        "Candidates as good as each other: how often told apart (%)",
        ["texts", "candidates", "any two told apart", "the cheapest not chosen"],
        choice_rows,
    ),
    "gap": (
        "The gap that a test set shows four times out of five",
        ["texts", "discordant", "gap", "found (%)"],
        gap_rows,
    ),
    "cost": ("Time at 20 runs and 2,000 texts", ["work", "ms"], cost_rows),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2000, help="samples a cell; fewer where one takes long")
    parser.add_argument("--only", choices=TABLES, action="append", help="a table, instead of all; may be given again")
    arguments = parser.parse_args()
    for name in arguments.only or TABLES:
        title, head, rows = TABLES[name]
        started = time.perf_counter()
        table(title, head, rows(arguments.samples))
        print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
