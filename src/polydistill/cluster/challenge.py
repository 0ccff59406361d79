"""Whether the winner of a run, the challenger, takes the place of the one that serves its cell, the champion.

Both answer the same validation texts; the test set is never read. A challenger that is better beyond chance is
promoted, and one that cannot be told from the champion where its data are newer; one that is worse never is.

What a champion learned from is synthetic text of its time, which the filter kept apart from the seeds of that time.
What has become a validation text since may be like a text that it learned from, so the record counts those texts.
The challenger was chosen by these very texts, which the record says as well.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from polydistill.cluster.champions import damage, read_champions
from polydistill.cluster.due import table_cell
from polydistill.cluster.registry import Champion, Data
from polydistill.errors import DataError
from polydistill.files import digest, new_folder, read_json, require_input, write_json
from polydistill.gather import cell_name
from polydistill.params import RetrainParams
from polydistill.records import Record, read_validation
from polydistill.scores import f1_marks, to_classes
from polydistill.students import load_student
from polydistill.verdict import Comparison, compare_paired, detectable_gap

log = logging.getLogger(__name__)

FIRST, DAMAGED, OTHER_LABELS = "first", "champion damaged", "other labels"
BETTER, NEWER, EQUAL, WORSE = "better", "equal on newer data", "equal", "worse"
PROMOTED = (FIRST, DAMAGED, OTHER_LABELS, BETTER, NEWER)
"""The verdicts with which a challenger takes the cell."""


class Ruling(NamedTuple):
    """What is decided, and why; marks are of shape (1, n_texts), None where nothing could be compared."""

    verdict: str
    reason: str
    challenger: np.ndarray | None = None
    champion: np.ndarray | None = None
    found: Comparison | None = None


class _UnusableError(Exception):
    """A champion that cannot be compared; the verdict and the reason."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


def rule(challenger: np.ndarray, champion: np.ndarray, newer: bool, of_data: str, confidence: float) -> Ruling:
    """Decide between two that answered the same texts.

    Args:
        challenger: Marks of the challenger, shape (1, n_texts).
        champion: Marks of the champion, same shape.
        newer: Whether the challenger's data are newer.
        of_data: That in words.
        confidence: How sure it must be that the two differ.
    """
    found = compare_paired(challenger, champion, confidence)
    low, high = found.interval
    interval = f"{confidence * 100:g} % interval {low:+.3f} to {high:+.3f}"
    scores = (
        f"{challenger.mean():.3f} against the champion's {champion.mean():.3f} on {challenger.shape[1]} "
        f"validation texts (difference {found.difference:+.3f}, {interval})"
    )
    if found.p_value < 1 - confidence:
        better = found.difference > 0
        verdict = BETTER if better else WORSE
        reason = f"{scores}: {'better' if better else 'worse'} beyond chance"
    else:
        verdict, reason = (NEWER if newer else EQUAL), f"{scores}: not separable, and {of_data}"
    return Ruling(verdict, reason, challenger, champion, found)


def newer_data(now: Data, then: Data) -> tuple[bool, str]:
    """Return whether a challenger's data are newer than a champion's, of a later commit and not the same; and why."""
    if now.digest == then.digest:
        return False, "its data are the same"
    if now.committed_at is None or then.committed_at is None:
        return False, "whose data are newer cannot be said of data without a commit"
    newer = now.committed_at > then.committed_at
    ours, theirs = (f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for time in (now.committed_at, then.committed_at))
    return newer, f"its data, of {ours}, are {'newer' if newer else 'no newer'} than the champion's, of {theirs}"


def run_challenge(
    cell: str,
    champions: Path,
    prepared: Path,
    winner: Path,
    card: Path,
    source: Mapping[str, Any],
    params: RetrainParams,
    challenged: Path,
) -> str:
    """Hold the winner of a run against the champion of its cell.

    Args:
        cell: The cell, task/language.
        champions: What `champion_of` yields.
        prepared: What `prepare` wrote, of the challenger's data.
        winner: What `select` wrote of the challenger.
        card: What `card` wrote of it.
        source: Where the cell's data came from: commit, committed_at, digest.
        params: Section `cluster.retrain` of params.yaml.
        challenged: Folder to write challenge.json and challenge.md to, and the winner that is to serve the cell with
            its card, where `winner_of` and `card_of` say.

    Returns:
        The verdict; the challenger takes the cell where it is one of `PROMOTED`.

    Raises:
        DataError: If the folders are not of this cell, or there are no validation texts.
        MissingExtraError: If the champion is of a kind that this image cannot run.
    """
    facts = read_json(require_input(winner / "winner.json", "select"))
    if (of := cell_name(facts)) != cell:
        raise DataError(f"{winner} is of {of} and not of {cell}; give the winner of that cell")
    data = _data(source)
    validation, _ = read_validation(prepared)
    if not validation:
        raise DataError(f"{prepared} holds no validation texts; add some to seeds.csv and run `polydistill prepare`")
    labels = [label["name"] for label in read_json(prepared / "prepare.json")["task"]["labels"]]
    champion = read_champions(champions).champions.get(cell)
    ruling = _ruling(cell, champion, champions, validation, labels, winner, facts["metric"], data, params)
    promoted = ruling.verdict in PROMOTED
    record = {
        "schema_version": 1,
        "task": facts["task"],
        "language": facts["language"],
        "promoted": promoted,
        "verdict": ruling.verdict,
        "reason": ruling.reason,
        "metric": facts["metric"],
        "confidence": params.confidence,
        "texts": len(validation) if ruling.found else 0,
        "new_to_champion": _new_to(champions / cell / "winner", validation) if ruling.found else None,
        **_comparison(ruling, params.confidence),
        "challenger": {
            "student": facts["student"],
            "score": _score(ruling.challenger),
            "digests": facts["digests"],
            "data": data.model_dump(mode="json"),
        },
        "champion": None
        if champion is None
        else {**champion.model_dump(mode="json"), "score": _score(ruling.champion)},
    }
    with new_folder(challenged) as folder:
        write_json(folder / "challenge.json", record)
        (folder / "challenge.md").write_text(told(record), encoding="utf-8")
        shutil.copytree(winner if promoted else champions / cell / "winner", winner_of(folder))
        shutil.copytree(card if promoted else champions / cell / "card", card_of(folder))
    log.info("%s: %s (%s)", cell, "promoted" if promoted else "the champion stays", ruling.reason)
    return ruling.verdict


def winner_of(challenged: Path) -> Path:
    """Return the winner that is to serve the cell, in the folder that `run_challenge` wrote."""
    return challenged / "winner"


def card_of(challenged: Path) -> Path:
    """Return its card, in the same folder."""
    return challenged / "card"


def told(record: dict[str, Any]) -> str:
    """Return challenge.json in Markdown."""
    headline = "the challenger is promoted" if record["promoted"] else "the champion stays"
    reason = table_cell(record["reason"])
    lines = [f"# {cell_name(record)}: {headline}", "", f"{reason[0].upper()}{reason[1:]}.", ""]
    if record["difference"] is None:
        return "\n".join(lines)
    lines += [f"| | student | {record['metric']} | data of |", "| --- | --- | --- | --- |"]
    for side in ("challenger", "champion"):
        of = record[side]
        commit = of["data"]["commit"] or "a folder"
        lines.append(f"| {side} | {of['student']} | {of['score']:.3f} | {table_cell(commit[:12])} |")
    gap = record["smallest_gap"]
    shown = "no gap at all" if gap is None else f"a true gap of {gap:.3f} or more, four times in five"
    lines += ["", f"p = {record['p_value']:.3f}. With {record['texts']} texts such a comparison finds {shown}."]
    lines.append("The challenger was chosen by these texts among the students of its run, which favours it a little.")
    if record["new_to_champion"]:
        lines.append(
            f"{record['new_to_champion']} of them were not there when the champion was chosen, so that it may have "
            "learned from texts like them."
        )
    return "\n".join([*lines, ""])


def _data(source: Mapping[str, Any]) -> Data:
    try:
        return Data.model_validate_json(json.dumps({key: source.get(key) for key in Data.model_fields}))
    except ValidationError as exc:
        error = exc.errors()[0]
        where = ".".join(map(str, error["loc"]))
        raise DataError(f"where the data came from is not known ({where}: {error['msg']}); run `fetch` again") from exc


def _ruling(
    cell: str,
    champion: Champion | None,
    champions: Path,
    validation: Sequence[Record],
    labels: Sequence[str],
    winner: Path,
    metric: str,
    data: Data,
    params: RetrainParams,
) -> Ruling:
    if champion is None:
        return Ruling(FIRST, "the first winner of this cell")
    truth = to_classes([record.label for record in validation], labels)
    texts = [record.text for record in validation]
    try:
        says = _champion_answers(champions, cell, texts, labels)
    except _UnusableError as exc:
        return Ruling(exc.verdict, str(exc))
    ours = to_classes(load_student(winner / "model").predict(texts), labels)
    marks = [_marks(truth, answers, len(labels), metric) for answers in (ours, says)]
    return rule(marks[0], marks[1], *newer_data(data, champion.data), params.confidence)


def _champion_answers(champions: Path, cell: str, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return what the champion answers, as classes.

    Raises:
        _UnusableError: If it cannot be asked, through a fault of its own.
    """
    if reason := damage(champions, cell):
        raise _UnusableError(DAMAGED, f"the champion cannot be used: {reason}")
    folder = champions / cell / "winner"
    try:
        facts = read_json(folder / "winner.json")
        if digest(folder / "model") != facts["digests"]["model"]:
            raise _UnusableError(DAMAGED, "the champion's model is not the one that its winner.json tells of")
        if set(facts["labels"]) != set(labels):
            then, now = ", ".join(sorted(facts["labels"])), ", ".join(sorted(labels))
            raise _UnusableError(
                OTHER_LABELS, f"the champion knows other labels ({then}) than the task has now ({now}): not comparable"
            )
        return to_classes(load_student(folder / "model").predict(texts), labels)
    except (DataError, KeyError, TypeError, ValueError) as exc:
        # A base model that the hub does not give just now is no fault of the champion: another try may have it.
        if type(exc.__cause__).__module__.partition(".")[0] in ("huggingface_hub", "httpx"):
            raise
        raise _UnusableError(DAMAGED, f"the champion cannot be loaded ({exc})") from exc


def _marks(truth: np.ndarray, answers: np.ndarray, n_labels: int, metric: str) -> np.ndarray:
    one_run = answers[np.newaxis]
    return np.asarray(one_run == truth) if metric == "accuracy" else f1_marks(truth, one_run, n_labels)


def _new_to(champion: Path, validation: Sequence[Record]) -> int:
    """Return how many of the texts the champion was not chosen by."""
    known = {answer["text"] for answer in read_json(champion / "known_answers.json")}
    return sum(record.text not in known for record in validation)


def _comparison(ruling: Ruling, confidence: float) -> dict[str, Any]:
    if ruling.found is None or ruling.challenger is None:
        return dict.fromkeys(("difference", "interval", "p_value", "smallest_gap"))
    found = ruling.found
    gap = detectable_gap(ruling.challenger.shape[1], found.discordant, confidence=confidence)
    return {
        "difference": found.difference,
        "interval": found.interval,
        "p_value": found.p_value,
        "smallest_gap": gap,
    }


def _score(marks: np.ndarray | None) -> float | None:
    return None if marks is None else float(marks.mean())
