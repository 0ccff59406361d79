"""Decides which of a user's texts may be used as what: seeds, human training texts, test texts; none as two of them."""

import csv
import difflib
import io
import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polydistill.errors import DataError
from polydistill.files import new_folder, read_text, write_json
from polydistill.leaks import find_leaks
from polydistill.params import LeakParams, PrepareParams
from polydistill.records import QUESTION, Origin, Record, Source, write_records, write_rows
from polydistill.task import Task, load_task
from polydistill.text import fold

log = logging.getLogger(__name__)

COLUMNS = ("text", "label")
_SHOWN_LINES, _SHOWN_FAULTS = 5, 20
INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp"}  # Unicode categories: control and format characters, white space


@dataclass(frozen=True)
class Row:
    """A labelled text and where it stands; `line` is the line of the file on which the row starts, from 1."""

    text: str
    label: str
    file: Path
    line: int

    @property
    def where(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.file}:{self.line}"

    @property
    def place(self) -> str:
        """File and line within the cell: the same wherever the workspace stands."""
        return f"{self.file.name}:{self.line}"


@dataclass
class Splits:
    """The rows of a cell, cleaned as far as that can be done, and what was done or could not be done."""

    seeds: list[Row]
    human: list[Row]
    test: list[Row]
    spare: list[Row] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_labelled(path: Path, labels: Sequence[str], problems: list[str]) -> list[Row]:
    """Read a CSV file with the columns `text` and `label`; every fault is added to `problems`, its row left out."""
    try:
        content = read_text(path)
    except DataError as exc:
        problems.append(str(exc))
        return []
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows: list[Row] = []
    faulty: dict[str, list[int]] = defaultdict(list)
    header: list[str] = []
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            where = f"{path}:{start}"
            if not header:
                header = [name.strip() for name in cells]
                missing = [name for name in COLUMNS if name not in header]
                if missing:
                    stands = ", ".join(header) or "nothing"
                    hint = "; separate the columns by commas" if ";" in stands or "\t" in stands else ""
                    stands += hint or "; write text,label"
                    problems.append(f"{where}: column {', '.join(missing)} is missing; the header line holds {stands}")
                    return []
                if repeated := [name for name in COLUMNS if header.count(name) > 1]:
                    problems.append(f"{where}: column {', '.join(repeated)} stands more than once; keep one")
                    return []
            elif cells:
                faults = _faults(cells, header, labels)
                for fault in faults:
                    faulty[fault].append(start)
                named = dict(zip(header, map(str.strip, cells), strict=False))
                rows += [] if faults else [Row(named["text"], named["label"], path, start)]
    except csv.Error as exc:
        broken = [f"{path}:{line}: not CSV from here on ({exc}); check the quotation marks"]
    else:
        broken = [] if header else [f"{path}:1: the file is empty; the header line is text,label"]
    problems += [*_by_fault(path, faulty), *broken]
    return rows


def _by_fault(path: Path, faulty: Mapping[str, Sequence[int]]) -> list[str]:
    """Return a line for each fault and the lines of the file that have it, the first of them before all."""
    told = []
    for fault, lines in faulty.items():
        shown = ", ".join(map(str, lines[:_SHOWN_LINES])) + (", ..." if len(lines) > _SHOWN_LINES else "")
        told.append(f"{path}:{lines[0]}: {fault}" + (f" ({len(lines)} lines: {shown})" if len(lines) > 1 else ""))
    if len(told) > _SHOWN_FAULTS:
        told[_SHOWN_FAULTS:] = [f"{path}: {len(told) - _SHOWN_FAULTS} more faults"]
    return told


def _faults(cells: Sequence[str], header: Sequence[str], labels: Sequence[str]) -> list[str]:
    if len(cells) != len(header):
        return [f"{len(cells)} cells, the header has {len(header)}; put a text that holds a comma in quotation marks"]
    text, label = (cells[header.index(name)].strip() for name in COLUMNS)
    faults = []
    if all(unicodedata.category(c) in INVISIBLE for c in text):
        faults.append("column text: empty")
    if not label:
        faults.append("column label: missing")
    elif label not in labels:
        close = difflib.get_close_matches(label, labels, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"the task has {', '.join(labels)}"
        faults.append(f"column label: unknown label `{label}`; {hint}")
    return faults


def clean(
    seeds: list[Row],
    human: list[Row],
    test: list[Row],
    *,
    labels: Sequence[str],
    params: PrepareParams,
    allow_leaks: bool,
) -> Splits:
    """Return the splits with no text in two of them, as equality after `text.fold` goes.

    A repeated text stays where it stands first. Between splits the test set is kept whole, then the seeds, then the
    human texts. A seed that is a test text goes too, unless too few seeds of its label would be left: that is a
    problem, which only `allow_leaks` turns into a warning. Of seeds that nearly are a test text, hold one, or are a
    piece of one there is a warning; such human texts go. A text under two labels is always a problem.
    """
    splits = Splits([], [], test)
    splits.problems += _conflicts([*seeds, *human, *test])
    in_test = {fold(row.text): row for row in reversed(test)}
    if repeats := len(test) - len(in_test):
        splits.warnings.append(
            f"{repeats} texts of {test[0].file.name} repeat an earlier one; the test set is kept as it is"
        )

    seeds = _without(seeds, {}, "repeated in the file", splits)
    where = f"{seeds[0].file}: " if seeds else ""
    for label in labels:
        of_label = [row for row in seeds if row.label == label]
        chosen = _choose_seeds(of_label, label, where, in_test, params.seeds_per_label, splits, allow_leaks)
        splits.seeds += chosen
        splits.spare += [row for row in of_label if row not in chosen and fold(row.text) not in in_test]
    splits.spare = _without_leaks(splits.spare, test, params.test_leak, splits)
    human = _without(human, in_test, "stands in the test set", splits)
    every_seed = {fold(row.text): row for row in [*splits.seeds, *splits.spare]}
    human = _without(human, every_seed, "stands among the seeds", splits)
    human = _without(human, {}, "repeated in the file", splits)
    splits.human = _without_leaks(human, test, params.test_leak, splits)
    _warn_of_leaks(test, params.test_leak, splits)
    return splits


def _warn_of_leaks(test: list[Row], params: LeakParams, splits: Splits) -> None:
    """Warn of seeds that give a test text away."""
    tests = [row.text for row in test]
    for i, leak in find_leaks([row.text for row in splits.seeds], tests, params).items():
        if fold(splits.seeds[i].text) != fold(tests[leak.test]):  # else it has been said
            verb = "" if leak.how == "holds" else "is "
            splits.warnings.append(f"{splits.seeds[i].place}: this seed {verb}{leak.how} {test[leak.test].place}")


def _without_leaks(rows: list[Row], test: list[Row], params: LeakParams, splits: Splits) -> list[Row]:
    """Leave out the rows that give a test text away."""
    leaks = find_leaks([row.text for row in rows], [row.text for row in test], params)
    for i, leak in leaks.items():
        splits.removed.append(_removed(rows[i], "gives a test text away", test[leak.test]))
    return [row for i, row in enumerate(rows) if i not in leaks]


def _choose_seeds(
    seeds: list[Row], label: str, where: str, in_test: dict[str, Row], wanted: int, splits: Splits, allow_leaks: bool
) -> list[Row]:
    clean_seeds = [row for row in seeds if fold(row.text) not in in_test]
    if len(clean_seeds) >= wanted:
        return _without(seeds, in_test, "stands in the test set", splits)[:wanted]
    if len(seeds) < wanted:
        splits.problems.append(
            f"{where}label `{label}` has {len(seeds)} different seeds, wanted {wanted}; "
            "add some, or lower params.yaml:prepare.seeds_per_label"
        )
    leaks = [row for row in seeds if fold(row.text) in in_test]
    if allow_leaks:
        leaks = leaks[: wanted - len(clean_seeds)]
        splits.warnings += [
            f"{row.place}: this seed stands in the test set too ({in_test[fold(row.text)].place}); "
            "kept, as params.yaml:prepare.allow_leaks says"
            for row in leaks
        ]
    else:
        splits.problems += [
            f"{row.where}: this seed stands in the test set too ({in_test[fold(row.text)].where}); "
            "replace it, or name the cell in params.yaml:prepare.allow_leaks"
            for row in leaks
        ]
    return [row for row in seeds if row in clean_seeds or row in leaks]


def _without(rows: list[Row], taken: dict[str, Row], reason: str, splits: Splits) -> list[Row]:
    """Leave out the rows whose text is among `taken`, or, where that is empty, repeats an earlier row."""
    first = dict(taken)
    kept = []
    for row in rows:
        key = fold(row.text)
        if key in first:
            splits.removed.append(_removed(row, reason, first[key]))
        else:
            kept.append(row)
            if not taken:
                first[key] = row
    return kept


def _removed(row: Row, reason: str, because_of: Row) -> dict[str, Any]:
    """Return what prepare.json says of a row that is left out."""
    return {"file": row.file.name, "line": row.line, "reason": reason, "same_as": because_of.place}


def _conflicts(rows: Iterable[Row]) -> list[str]:
    """Return a line for each text that stands under two labels or more."""
    places: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        places[fold(row.text)].setdefault(row.label, row)
    return [
        f"{first.where}: column label: this text is `{first.label}` here, "
        + ", ".join(f"`{row.label}` at {row.where}" for row in others)
        + "; keep one label"
        for first, *others in map(lambda found: found.values(), places.values())
        if others
    ]


def run_prepare(task_folder: Path, language: str, prepared: Path, heldout: Path, params: PrepareParams) -> None:
    """Check the inputs of a cell and write its clean splits.

    Args:
        task_folder: Holds task.yaml and a folder a language with seeds.csv, test.csv and, optionally, human.csv.
        language: BCP 47 tag, one of the task's languages.
        prepared: Folder to write: seeds.parquet, spare.parquet (those beyond `seeds_per_label`, which guide nothing),
            human.parquet, questions.parquet (test texts without labels), prepare.json.
        heldout: Folder to write: test.parquet, the labelled test set, which `evaluate` alone may read.
        params: Section `prepare` of params.yaml.

    Raises:
        DataError: If anything in the inputs is wrong; the message names every fault with file, line and column.
    """
    task = load_task(task_folder / "task.yaml")
    problems = _task_problems(task, task_folder, language)
    folder = task_folder / language
    read = {}
    for name in ("seeds", "human", "test"):
        path = folder / f"{name}.csv"
        absent = name == "human" and not path.exists()
        before = len(problems)
        read[name] = [] if absent else read_labelled(path, task.label_names, problems)
        if name != "human" and not read[name] and len(problems) == before:
            problems.append(f"{path}:1: no text below the header line")
    allow_leaks = f"{task_folder.name}/{language}" in params.allow_leaks
    splits = clean(
        **read,
        labels=task.label_names if read["seeds"] else [],  # without any seed, its own fault says it all
        params=params,
        allow_leaks=allow_leaks,
    )
    problems += splits.problems
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))

    def records(rows: list[Row], origin: Origin) -> list[Record]:
        return [Record(r.text, r.label, language, origin, Source(file=r.file.name, line=r.line)) for r in rows]

    seeds, spare = records(splits.seeds, "seed"), records(splits.spare, "seed")
    human, test = records(splits.human, "human"), records(splits.test, "human")
    with new_folder(heldout) as apart, new_folder(prepared) as out:
        write_records(apart / "test.parquet", test)
        write_records(out / "seeds.parquet", seeds)
        write_records(out / "spare.parquet", spare)
        write_records(out / "human.parquet", human)
        write_rows(
            out / "questions.parquet", [{"id": r.id, "text": r.text, "language": r.language} for r in test], QUESTION
        )
        facts = {
            "schema_version": 1,
            "task": task.model_dump(),
            "language": language,
            "counts": {"seeds": len(seeds), "human": len(human), "test": len(test)},
            "removed": splits.removed,
            "warnings": splits.warnings,
            "allow_leaks": allow_leaks,
        }
        write_json(out / "prepare.json", facts)
    for warning in splits.warnings:
        log.warning("%s", warning)
    for (file, reason), n in Counter((row["file"], row["reason"]) for row in splits.removed).items():
        log.info("%s: left out %d texts, each %s", file, n, reason)
    if spare and not seeds:
        log.info("seeds.csv: no text guides the teacher; %d validate students", len(spare))
    elif spare:
        log.info(
            "seeds.csv: %d texts beyond the first %d of their label guide nothing", len(spare), params.seeds_per_label
        )
    log.info("%d seeds, %d human texts, %d test texts", len(seeds), len(human), len(test))


def _task_problems(task: Task, folder: Path, language: str) -> list[str]:
    problems = []
    if task.name != folder.name:
        problems.append(f"{folder / 'task.yaml'}: name: `{task.name}` is not the name of its folder, `{folder.name}`")
    if language not in task.languages:
        known = ", ".join(task.languages)
        problems.append(f"{folder / 'task.yaml'}: languages: `{language}` is not among {known}; add it, or mend cells")
    return problems
