"""Whether production has drifted so far from the texts a winner was proven on that it should be trained again.

A distance alone fools, since with few texts it is large by chance; so does a p-value alone, since with many texts the
smallest shift is significant. A shift counts only where it is both beyond the limit in params.yaml and more than chance
explains, at 1 % for all comparisons of a cell together (Bonferroni).
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ks_2samp, random_table

from polydistill.classifier import winner_cells
from polydistill.files import new_folder, require_input, write_json
from polydistill.params import MonitorParams
from polydistill.properties import REFERENCE, text_properties
from polydistill.records import read_rows
from polydistill.traffic import Answer, read_traffic

log = logging.getLogger(__name__)

LABELS = "labels"
SIGNIFICANCE = 0.01
DEALS = 9_999


@dataclass(frozen=True)
class Shift:
    """How far one thing moved: a distance from 0 to 1, the most that is no drift, and the chance of it by sampling."""

    distance: float
    limit: float
    p_value: float
    drifted: bool


@dataclass(frozen=True)
class Verdict:
    """What is concluded of a cell; `retrain` is None where there are too few texts to conclude anything."""

    texts: int
    reference_texts: int
    retrain: bool | None
    reasons: list[str]
    shifts: dict[str, Shift]


def label_shift(then: Sequence[str], now: Sequence[str]) -> tuple[float, float]:
    """Return the total-variation distance between the shares of labels, and the p-value of a chi-square test.

    The p-value is how often chi-square is that large where the same labels are dealt to the two sides at random, since
    its usual formula is not to be trusted for few texts and rare labels.
    """
    sides = Counter(then), Counter(now)
    counts = np.array([[side[label] for label in sorted({*then, *now})] for side in sides])
    shares = counts / counts.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    dealt = random_table(counts.sum(axis=1), counts.sum(axis=0)).rvs(DEALS, random_state=np.random.default_rng(0))
    by_chance = ((dealt - expected) ** 2 / expected).sum(axis=(1, 2))
    found = ((counts - expected) ** 2 / expected).sum()
    return distance, float(1 + (by_chance >= found - 1e-9).sum()) / (1 + DEALS)


def judge(reference: Mapping[str, Sequence[Any]], answers: Sequence[Answer], params: MonitorParams) -> Verdict:
    """Compare the answers given in production with those to the reference texts of the winner.

    Args:
        reference: Column `label` and one a property of `PROPERTIES`, with a row a text.
        answers: What was answered in production.
        params: Section `monitor` of params.yaml.
    """
    then, now = len(reference["label"]), len(answers)
    few = [
        f"{count} {what}, fewer than min_texts {params.min_texts}"
        for count, what in ((now, "texts in production"), (then, "reference texts"))
        if count < params.min_texts
    ]
    if few:
        return Verdict(now, then, None, few, {})
    measured = {LABELS: (*label_shift(reference["label"], [a.label for a in answers]), params.max_label_shift)}
    for name, values in text_properties([a.text for a in answers]).items():
        test = ks_2samp(reference[name], values, method="asymp")
        measured[name] = (float(test.statistic), float(test.pvalue), params.max_text_shift)
    allowed = SIGNIFICANCE / len(measured)
    shifts = {
        name: Shift(distance, limit, p_value, distance > limit and p_value < allowed)
        for name, (distance, p_value, limit) in measured.items()
    }
    reasons = [
        f"{name} moved by {shift.distance:.2f}, more than {shift.limit:g}, which chance does not explain"
        for name, shift in shifts.items()
        if shift.drifted
    ]
    return Verdict(now, then, bool(reasons), reasons, shifts)


def run_monitor(winners: Path, traffic: Path, monitored: Path, params: MonitorParams) -> dict[str, bool | None]:
    """Judge each cell by the traffic of its service.

    Args:
        winners: Folder with <task>/<language>/reference.parquet.
        traffic: The service's log, or the answers.jsonl of a rehearsal.
        monitored: Folder to write monitor.json to, which repeats no text.
        params: Section `monitor` of params.yaml.

    Returns:
        For each cell whether it should be trained again; None where there are too few texts to say.

    Raises:
        DataError: If there is no winner, or a line of the log cannot be read.
    """
    cells = winner_cells(winners)
    by_cell = _by_cell(read_traffic(require_input(traffic, "serve")))
    verdicts = {cell: judge(_reference(winners / cell), by_cell.get(cell, []), params) for cell in cells}
    unknown = {cell: len(answers) for cell, answers in sorted(by_cell.items()) if cell not in verdicts}
    for cell, verdict in verdicts.items():
        says = {True: "train it again", False: "no drift", None: "nothing concluded"}[verdict.retrain]
        log.info("%s: %s (%s)", cell, says, "; ".join(verdict.reasons) or f"{verdict.texts} texts")
    for cell, count in unknown.items():
        log.warning("%d texts of %s, which has no winner", count, cell)
    retrain = {cell: verdict.retrain for cell, verdict in verdicts.items()}
    content = {
        "schema_version": 1,
        "significance": SIGNIFICANCE,
        "retrain": [cell for cell, again in retrain.items() if again],
        "cells": {cell: asdict(verdict) for cell, verdict in verdicts.items()},
        "unknown_cells": unknown,
    }
    with new_folder(monitored) as folder:
        write_json(folder / "monitor.json", content)
    return retrain


def _by_cell(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    by_cell: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_cell[f"{answer.task}/{answer.language}"].append(answer)
    return by_cell


def _reference(winner: Path) -> dict[str, list[Any]]:
    rows = read_rows(require_input(winner / "reference.parquet", "select"), REFERENCE)
    return {name: [row[name] for row in rows] for name in REFERENCE.names}
