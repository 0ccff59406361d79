"""Which of several generations of one cell is the best to train on, told without a human test text.

After RoSE (Cegin et al. 2026, arXiv 2510.06143): a student trained on the texts of one generation is tested on those of
the others, and its mean macro-F1 is the score of that generation.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from threadpoolctl import threadpool_limits

from polydistill.errors import DataError
from polydistill.files import new_folder, write_json
from polydistill.measure.diversity import rounded
from polydistill.measure.sampling import CONFIDENCE
from polydistill.progress import progress
from polydistill.records import Record, read_records
from polydistill.scores import interval, macro_f1, resample_counts, to_classes
from polydistill.text import fold

log = logging.getLogger(__name__)

RUNS = 10
RESAMPLES = 1_000
MIN_TESTS = 20
"""Texts of a generation that no other one holds: with fewer of them nothing can be said of the others."""
_TRAINED_ON = 0.8  # of the texts of each label: less than all, so that runs differ


@dataclass(frozen=True)
class Ranked:
    """What is said of one generation.

    Attributes:
        name: Its name.
        rose: Mean macro-F1 of its students on the texts of the other generations.
        adjusted: The same, had all been tested on the same texts; None with fewer than three generations.
        interval: Of the score that ranks: `adjusted`, or `rose` where that is None.
        behind: How far that score is behind the best one's, with its interval; None for the best one.
        best_in: In which share of the resamples it ranks first.
    """

    name: str
    rose: float
    adjusted: float | None
    interval: list[float]
    behind: list[float] | None
    best_in: float


def equal_generations(generations: Mapping[str, Sequence[Record]], seed: int) -> tuple[list[str], list[list[Record]]]:
    """Draw from each generation the same number of texts of each label that all have.

    Returns:
        The labels, and for each generation its texts.

    Raises:
        DataError: If fewer than two labels have two texts in each generation.
    """
    counts = {
        label: min(sum(r.label == label for r in records) for records in generations.values())
        for label in sorted({r.label for records in generations.values() for r in records})
    }
    labels = [label for label, n in counts.items() if n > 1]
    if len(labels) < 2:
        raise DataError(
            f"cannot compare {', '.join(generations)}: fewer than two labels have two texts in each of them"
        )
    left_out = sorted(set(counts) - set(labels))
    if left_out:
        log.warning("labels that some teacher has too few texts of are left out: %s", ", ".join(left_out))
    drawn = []
    for records in generations.values():
        rng = np.random.default_rng(seed)
        texts: list[Record] = []
        for label in labels:
            of_label = sorted((r for r in records if r.label == label), key=lambda r: r.id)
            texts += [of_label[i] for i in rng.permutation(len(of_label))[: counts[label]]]
        drawn.append(texts)
    return labels, drawn


def unshared(generations: Sequence[Sequence[Record]]) -> list[np.ndarray]:
    """Return for each generation which of its texts no other one holds too, but for case and punctuation.

    Only they are tests: of what two teachers wrote alike, the students of one would be tested on what they have seen.
    """
    folded = [[fold(record.text) for record in records] for records in generations]
    held_by = Counter(text for texts in folded for text in set(texts))
    return [np.array([held_by[text] == 1 for text in texts]) for texts in folded]


def require_tests(generations: Mapping[str, Sequence[Record]], labels: Sequence[str]) -> None:
    """Make sure that each generation has texts to test the students of the others on.

    Raises:
        DataError: If one has fewer than `MIN_TESTS` that no other one holds, or none of some label.
    """
    folded = {name: {fold(record.text) for record in records} for name, records in generations.items()}
    for (name, records), is_test in zip(generations.items(), unshared(list(generations.values())), strict=True):
        tests = [record.label for record, is_one in zip(records, is_test, strict=True) if is_one]
        if len(tests) >= MIN_TESTS and set(tests) == set(labels):
            continue
        shared = {other: len(folded[name] & texts) for other, texts in folded.items() if other != name}
        nearest = max(shared, key=lambda other: shared[other])
        advice = f"leave out {name} or {nearest}, which share {shared[nearest]}, or " if shared[nearest] else ""
        raise DataError(
            f"teacher {name} has {len(tests)} of {len(records)} texts to test the others on, those that no other "
            f"teacher wrote too; it takes {MIN_TESTS}, some of each label, and each teacher gives as many texts of a "
            f"label as the one with the fewest: {advice}generate more texts"
        )


def cross_scores(
    generations: Sequence[Sequence[Record]], labels: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Train students on each generation and test them on all others.

    Args:
        generations: The texts of each, of which `require_tests` holds.
        labels: The labels.
        seed: Draws trainings and resamples.

    Returns:
        Macro-F1 by run, generation trained on and generation tested on (NaN on the diagonal), shape (n_runs, n, n), and
        the same for resamples of training runs and test texts, shape (n_resamples, n, n).
    """
    n = len(generations)
    tests = [
        [record for record, is_one in zip(records, is_test, strict=True) if is_one]
        for records, is_test in zip(generations, unshared(generations), strict=True)
    ]
    truth = [to_classes([record.label for record in records], labels) for records in tests]
    rng = np.random.default_rng(seed)
    chosen_runs = rng.integers(RUNS, size=(n, RESAMPLES))
    weights = [resample_counts(len(records), RESAMPLES, rng) for records in tests]
    scores, resampled = np.full((RUNS, n, n), np.nan), np.full((RESAMPLES, n, n), np.nan)
    with threadpool_limits(1), progress("training students") as show:
        for one, records in enumerate(generations):
            students = [_student(records, seed, run) for run in range(RUNS)]
            for other in (number for number in range(n) if number != one):
                texts = [record.text for record in tests[other]]
                answers = np.array([to_classes(student.predict(texts), labels) for student in students])
                scores[:, one, other] = macro_f1(truth[other], answers, len(labels))
                of_runs = macro_f1(truth[other], answers, len(labels), weights[other])
                resampled[:, one, other] = of_runs[np.arange(RESAMPLES), chosen_runs[one]]
            show(one + 1, n)
    return scores, resampled


def _student(records: Sequence[Record], seed: int, run: int) -> Pipeline:
    """Return a trained student: a plain one on purpose, since `linear` hardly minds wrong labels, which are to show."""
    rng = np.random.default_rng([seed, run])
    labels = np.array([record.label for record in records])
    chosen: list[int] = []
    for label in np.unique(labels):
        of_label = rng.permutation(np.flatnonzero(labels == label))
        chosen += of_label[: max(round(_TRAINED_ON * len(of_label)), 1)].tolist()
    n_grams = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, dtype=np.float32),
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\b\w+\b", sublinear_tf=True, dtype=np.float32),
    )
    student = make_pipeline(n_grams, LogisticRegression(C=10, max_iter=1000))
    return student.fit([records[i].text for i in chosen], [records[i].label for i in chosen])


def rose(scores: np.ndarray) -> np.ndarray:
    """Return the mean score of each generation on the others, from a table (..., n, n) with NaN on the diagonal."""
    return np.asarray(np.nanmean(scores, axis=-1))


def adjusted(scores: np.ndarray) -> np.ndarray:
    """Return the mean score of each generation had all been tested on the same texts.

    No student is tested on its own generation, so that each meets other tests than its rivals: the one of the worst
    generation, whose wrong labels no other can guess, is spared just that test. The scores are taken for a sum of how
    good the student is and how easy the test is, fitted by least squares. That holds for wrong labels; where students
    answer nearly all right there is no such sum, and the plain mean is the better guide.

    Args:
        scores: A table of shape (..., n, n) with NaN on the diagonal, n of three or more.
    """
    n = scores.shape[-1]
    filled = np.where(np.eye(n, dtype=bool), 0.0, scores)
    rows, columns, total = filled.sum(axis=-1), filled.sum(axis=-2), filled.sum(axis=(-2, -1))[..., None]
    effect = ((n - 1) * rows + columns - total) / (n * (n - 2))
    return np.asarray(effect + total / (n * (n - 1)))


def rank(names: Sequence[str], scores: np.ndarray, resampled: np.ndarray) -> list[Ranked]:
    """Return the generations, best first, from what `cross_scores` returns."""
    mean = scores.mean(axis=0)
    by = adjusted if len(names) > 2 else rose
    values, draws = by(mean), by(resampled)
    draws = draws - draws.mean(axis=0) + values  # resampled texts repeat, which moves macro-F1 as a whole
    best = int(values.argmax())
    first = np.bincount(draws.argmax(axis=1), minlength=len(names)) / len(draws)
    plain = rose(mean)
    return [
        Ranked(
            name=names[i],
            rose=float(plain[i]),
            adjusted=float(values[i]) if len(names) > 2 else None,
            interval=interval(np.clip(draws[:, i], 0, 1), CONFIDENCE),
            behind=None
            if i == best
            else [float(values[best] - values[i]), *interval(draws[:, best] - draws[:, i], CONFIDENCE)],
            best_in=float(first[i]),
        )
        for i in sorted(range(len(names)), key=lambda i: (-values[i], names[i]))
    ]


def find_generation(folder: Path, cell: str) -> Path:
    """Return where the accepted texts of a generation are: `folder` is what filter wrote, or a workspace.

    Raises:
        DataError: If it is neither.
    """
    for place in (folder / "accepted.parquet", folder / "work" / cell / "filtered" / "accepted.parquet"):
        if place.exists():
            return place
    raise DataError(
        f"{folder} holds neither accepted.parquet nor work/{cell}/filtered/accepted.parquet; give a folder that "
        "`polydistill filter` wrote, or a workspace in which it ran"
    )


def run_compare_teachers(teachers: Mapping[str, Path], cell: str, compared: Path, seed: int) -> list[Ranked]:
    """Rank generations of one cell, and write `compared/teachers.json`.

    Args:
        teachers: For each name a folder that `filter` wrote, or a workspace.
        cell: The cell, task/language.
        compared: The folder to write.
        seed: Draws texts and resamples.

    Returns:
        The generations, best first.

    Raises:
        DataError: If there are fewer than two, one has no texts or those of another language, they have no two labels
            in common, or one has too few texts that no other one holds.
    """
    if len(teachers) < 2:
        raise DataError("to compare teachers takes two or more; give --compare-teachers NAME=FOLDER for each")
    language = cell.rpartition("/")[2]
    generations = {name: read_records(find_generation(folder, cell)) for name, folder in teachers.items()}
    for name, records in generations.items():
        if not records:
            raise DataError(f"teacher {name} has no accepted text in {cell}")
        others = sorted({record.language for record in records} - {language})
        if others:
            raise DataError(
                f"teacher {name} has texts in {', '.join(others)}, and {cell} is in {language}; "
                "give the folder of that cell"
            )
    labels, equal = equal_generations(generations, seed)
    require_tests(dict(zip(teachers, equal, strict=True)), labels)
    scores, resampled = cross_scores(equal, labels, seed)
    names = list(teachers)
    ranked = rank(names, scores, resampled)
    content = {
        "schema_version": 1,
        "cell": cell,
        "texts": len(equal[0]),
        "labels": labels,
        "runs": RUNS,
        "confidence": CONFIDENCE,
        "ranked_by": "rose" if ranked[0].adjusted is None else "adjusted",
        "teachers": [
            {
                "name": of.name,
                "rose": rounded(of.rose),
                "adjusted": rounded(of.adjusted),
                "interval": rounded(of.interval),
                "behind": rounded(of.behind),
                "best_in": rounded(of.best_in),
            }
            for of in ranked
        ],
        "macro_f1": {
            one: {other: rounded(float(scores[:, i, j].mean())) for j, other in enumerate(names) if i != j}
            for i, one in enumerate(names)
        },
    }
    with new_folder(compared) as folder:
        write_json(folder / "teachers.json", content)
    return ranked


def teachers_table(cell: str, ranked: Sequence[Ranked]) -> Table:
    """Return the ranking for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.title, table.title_justify = Text(f"teachers of {cell}, best first"), "left"
    table.add_column("teacher")
    for name in ("RoSE", "same\ntests", "interval", "behind\nthe best", "interval", "first in"):
        table.add_column(name, justify="right", no_wrap=True)
    for of in ranked:
        behind = ("", "") if of.behind is None else (_percent(of.behind[0]), _between(of.behind[1:]))
        score = "" if of.adjusted is None else _percent(of.adjusted)
        row = (of.name, _percent(of.rose), score, _between(of.interval), *behind, f"{of.best_in:.0%}")
        table.add_row(*map(Text, row))
    table.caption, table.caption_justify = conclusion(ranked), "left"
    return table


def conclusion(ranked: Sequence[Ranked]) -> str:
    """Return what the ranking says, in a sentence or two."""
    best = ranked[0]
    level = [of.name for of in ranked[1:] if of.behind is not None and of.behind[1] <= 0]
    by_rose = max(ranked, key=lambda of: of.rose)
    said = f"{best.name} comes first" + (f", but may not be better than {', '.join(level)}" if level else "") + "."
    if best.adjusted is None:
        said += (
            " With two teachers only, each is tested on the other alone: the one whose texts are the harder test wins."
        )
    elif by_rose is not best:
        said += f" By RoSE alone {by_rose.name} would: its own texts, the hardest test, are a test to all but itself."
    return said


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def _between(bounds: Sequence[float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
