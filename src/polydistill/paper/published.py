"""Decides which of the texts published with the paper are fit to be seeds, human training texts and test texts."""

import csv
import io
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from polydistill.errors import DataError
from polydistill.files import read_text
from polydistill.task import Task, is_language
from polydistill.text import fold

SYNTHETIC, HUMAN, TEST = "train_full", "train_human_parsed", "test"
_SPLITS = ", ".join((SYNTHETIC, HUMAN, TEST))
_FILE = re.compile(rf"(?P<language>.+)-(?P<split>{SYNTHETIC}|{HUMAN}|{TEST})\.csv")
_SHOWN_LINES = 5


class Row(NamedTuple):
    """A labelled text and the line of its file on which it starts, from 1."""

    text: str
    label: str
    line: int


class Note(NamedTuple):
    """Something in a line of a file that was left out or mended, or that a user should know of."""

    file: str
    what: str
    line: int


@dataclass(frozen=True)
class Finding:
    """Notes of one kind on one file: how many there are, and the first lines."""

    file: str
    what: str
    count: int
    lines: list[int]

    def __str__(self) -> str:
        """One line for a person."""
        shown = ", ".join(map(str, self.lines)) + (", ..." if self.count > len(self.lines) else "")
        return f"{self.file}: {self.count} × {self.what} (line {shown})"


def summarise(notes: Iterable[Note]) -> list[Finding]:
    """Return the notes counted, in the order in which each kind came first."""
    lines: dict[tuple[str, str], list[int]] = defaultdict(list)
    for note in notes:
        lines[note.file, note.what].append(note.line)
    return [Finding(*key, len(found), sorted(found)[:_SHOWN_LINES]) for key, found in lines.items()]


@dataclass(frozen=True)
class Published:
    """The published files of a cell by split; what was not published is not there."""

    task: str
    language: str
    files: dict[str, Path]

    @property
    def cell(self) -> str:
        """The cell as params.yaml names it."""
        return f"{self.task}/{self.language}"

    def name(self, split: str) -> str:
        """The file of a split as notes name it."""
        return f"{self.task}/{self.files[split].name}"


class UnusableCell(Exception):
    """A cell that lacks what the chain needs; it is passed over, and the report says why."""


@cache
def known_facts() -> dict[str, Any]:
    """Return what tasks.yaml says of the published data."""
    content = resources.files(__package__).joinpath("tasks.yaml").read_text(encoding="utf-8")
    known: dict[str, Any] = yaml.safe_load(content)
    return known


def known_task(name: str, languages: Sequence[str]) -> Task:
    """Return one of the paper's four tasks, in these languages."""
    return Task.model_validate({"name": name, **known_facts()["tasks"][name], "languages": list(languages)})


def find_published(source: Path) -> tuple[list[Published], dict[str, str]]:
    """Return the cells of which there are files under `source`/data, and the files and folders that are none, with why.

    Raises:
        DataError: If there is no such file at all.
    """
    files: dict[tuple[str, str], dict[str, Path]] = defaultdict(dict)
    tasks, skipped = known_facts()["tasks"], {}
    for path in sorted((source / "data").glob("*/*.csv")):
        named, task = _FILE.fullmatch(path.name), path.parent.name
        if task not in tasks:
            skipped[task] = f"not one of the tasks {', '.join(tasks)}"
        elif named is None or not is_language(named["language"]):
            skipped[f"{task}/{path.name}"] = f"no <BCP 47 language>-<split>.csv with a split of {_SPLITS}"
        else:
            files[task, named["language"]][named["split"]] = path
    if not files:
        raise DataError(
            f"{source} holds none of the published files: looked for data/<task>/<language>-<split>.csv with a task of "
            f"{', '.join(tasks)} and a split of {_SPLITS}; name the folder that holds data/"
        )
    return [Published(task, language, of_cell) for (task, language), of_cell in sorted(files.items())], skipped


def choose(published: Sequence[Published], tasks: Sequence[str], languages: Sequence[str]) -> list[Published]:
    """Return the cells of the tasks and languages; all tasks or languages where none are named.

    Raises:
        DataError: If a task or a language is not there at all, or none of the cells.
    """
    there = ", ".join(cell.cell for cell in published)
    for name in tasks:
        if name not in {cell.task for cell in published}:
            raise DataError(f"there are no files of task `{name}`; there are {there}")
    for name in languages:
        if name not in {cell.language for cell in published}:
            raise DataError(f"there are no files of language `{name}`; there are {there}")
    wanted_tasks, wanted_languages = tasks or known_facts()["tasks"], languages or {cell.language for cell in published}
    chosen = [cell for cell in published if cell.task in wanted_tasks and cell.language in wanted_languages]
    if not chosen:
        raise DataError(f"there are no files of these tasks in these languages; there are {there}")
    return chosen


def read_published(path: Path, name: str, labels: Sequence[str], notes: list[Note]) -> list[Row]:
    """Return the rows of a published file that have a text and a label; the others are noted.

    The columns are `text`, and `label` (the number of a label, or its name) or `intent` (its name); others are ignored.

    Args:
        path: The file.
        name: What notes call it.
        labels: The names of the labels in the order of their numbers.
        notes: Gains what there is to say.

    Raises:
        DataError: If the file is no CSV or lacks these columns.
    """
    rows = []
    for cells, line in read_table(path, ("text",), name, notes):
        if "label" not in cells and "intent" not in cells:
            raise DataError(f"{path}:1: column label or intent is missing; the columns are {', '.join(cells)}")
        text = cells["text"].strip()
        given = [cells[column].strip() for column in ("label", "intent") if cells.get(column, "").strip()]
        named = {_label(value, labels) for value in given}
        if not text:
            notes.append(Note(name, "no text, left out", line))
        elif not given:
            notes.append(Note(name, "no label, left out", line))
        elif None in named:
            notes.append(Note(name, "unknown label, left out", line))
        elif len(named) > 1:
            notes.append(Note(name, "columns label and intent disagree, left out", line))
        else:
            rows.append(Row(text, str(named.pop()), line))
            if "\n" in text:
                notes.append(Note(name, "line break in the text, kept", line))
    return rows


def _label(value: str, labels: Sequence[str]) -> str | None:
    # A column of numbers in which one is missing is often written as 0.0, 1.0, ...
    if number := re.fullmatch(r"(\d{1,9})(?:\.0)?", value):
        return labels[int(number[1])] if int(number[1]) < len(labels) else None
    return value if value in labels else None


def read_table(
    path: Path, columns: Sequence[str], name: str, notes: list[Note]
) -> Iterator[tuple[dict[str, str], int]]:
    """Yield each row of a CSV file by column, and the line on which it starts; rows of another length are noted."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if header is None:
                header = cells
                missing = [column for column in columns if column not in header]
                if missing:
                    found = ", ".join(header)
                    raise DataError(f"{path}:1: column {', '.join(missing)} is missing; the columns are {found}")
            elif cells and len(cells) != len(header):
                notes.append(Note(name, "not as many cells as the header, left out", start))
            elif cells:
                yield dict(zip(header, cells, strict=True)), start
    except csv.Error as exc:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({exc}); get the file anew") from exc
    if header is None:
        raise DataError(f"{path}: the file is empty; get it anew")


def clean_test(rows: Sequence[Row], name: str, notes: list[Note]) -> list[Row]:
    """Return the test rows without the texts that stand under two labels; repeated texts stay, and are noted."""
    labels = _labels_by_text(rows)
    kept, seen = [], set()
    for row in rows:
        key = fold(row.text)
        if len(labels[key]) > 1:
            notes.append(Note(name, "test text under two labels, left out", row.line))
            continue
        if key in seen:
            notes.append(Note(name, "test text repeated, kept", row.line))
        seen.add(key)
        kept.append(row)
    return kept


def clean_training(rows: Sequence[Row], test: Sequence[Row], name: str, notes: list[Note]) -> list[Row]:
    """Return the rows of a human training file that may train: each text once, under one label, not in the test set."""
    labels, seen, in_test = _labels_by_text(rows), set(), {fold(row.text) for row in test}
    kept = []
    for row in rows:
        key = fold(row.text)
        if len(labels[key]) > 1:
            notes.append(Note(name, "training text under two labels, left out", row.line))
        elif key in in_test:
            notes.append(Note(name, "training text stands in the test set, left out", row.line))
        elif key in seen:
            notes.append(Note(name, "training text repeated, left out", row.line))
        else:
            seen.add(key)
            kept.append(row)
    return kept


def without_repeats(rows: Iterable[Row]) -> list[Row]:
    """Return the first row of each text."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(fold(row.text), row)
    return list(first.values())


def _labels_by_text(rows: Iterable[Row]) -> dict[str, set[str]]:
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[fold(row.text)].add(row.label)
    return labels


def draw_seeds(rows: Sequence[Row], labels: Sequence[str], wanted: int, seed: str) -> list[Row]:
    """Return `wanted` rows of each label, drawn at random.

    Raises:
        UnusableCell: If a label has fewer.
    """
    seeds: list[Row] = []
    for label in labels:
        of_label = [row for row in rows if row.label == label]
        if len(of_label) < wanted:
            raise UnusableCell(f"label `{label}` has {len(of_label)} human texts to draw seeds from, wanted {wanted}")
        seeds += random.Random(f"{seed}/{label}").sample(of_label, wanted)
    return seeds
