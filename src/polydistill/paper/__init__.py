"""Decides how the data published with the paper become a workspace whose teacher replays the published generations."""

import csv
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from polydistill.errors import DataError
from polydistill.files import new_file, new_folder, write_json
from polydistill.paper.published import (
    HUMAN,
    SYNTHETIC,
    TEST,
    Finding,
    Note,
    Published,
    Row,
    UnusableCell,
    choose,
    clean_test,
    clean_training,
    draw_seeds,
    find_published,
    known_facts,
    known_task,
    read_published,
    read_table,
    summarise,
    without_repeats,
)
from polydistill.prompts import Purpose
from polydistill.records import text_id
from polydistill.task import Task, load_task
from polydistill.teachers import Reply, write_recording
from polydistill.text import fold
from polydistill.workspace import render_workspace, require_absent, write_workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CellReport:
    """What became of the files of a cell.

    `texts` counts seeds, human, test and generated texts by label; `zero_shot` is the model whose zero-shot replies
    were recorded, if any.
    """

    cell: str
    texts: dict[str, dict[str, int]]
    zero_shot: str | None
    findings: list[Finding]


@dataclass(frozen=True)
class ImportReport:
    """The cells that were written, and why others were not."""

    cells: list[CellReport]
    skipped: dict[str, str]

    @property
    def names(self) -> list[str]:
        """The cells as params.yaml names them."""
        return [cell.cell for cell in self.cells]


@dataclass(frozen=True)
class Imported:
    """What is written for a cell."""

    report: CellReport
    tables: dict[str, list[Row]]
    models: dict[Purpose, str]
    replies: list[tuple[str, Reply]]


def as_replies(rows: Sequence[Row], labels: Sequence[str], requests_per_label: int) -> list[tuple[str, Reply]]:
    """Return the published generations as replies to `generate`: each label's texts in order, spread evenly."""
    replies = []
    for label in labels:
        texts = [row.text for row in rows if row.label == label]
        ends = [len(texts) * part // requests_per_label for part in range(requests_per_label + 1)]
        for number in range(requests_per_label):
            content = json.dumps({"texts": texts[ends[number] : ends[number + 1]]}, ensure_ascii=False)
            replies.append((f"generate/{label}/{number}", Reply(content, "stop")))
    return replies


def find_replies(folder: Path, cell: Published, model: str) -> Path | None:
    """Return the file of a model's zero-shot replies for a cell, None where there are none for the cell.

    Raises:
        DataError: If there are only other models' replies.
    """
    paths = sorted((folder / cell.task).glob(f"{cell.language}-*.csv"))
    models = {path.stem.removeprefix(f"{cell.language}-"): path for path in paths}
    if models and model not in models:
        raise DataError(f"{folder} holds no replies of `{model}` for {cell.cell}; there are {', '.join(models)}")
    return models.get(model)


def read_zero_shot(path: Path, cell: Published, test: Sequence[Row], notes: list[Note]) -> list[tuple[str, Reply]]:
    """Return the published zero-shot reply to each test text, found by the text; one without gets an empty reply."""
    answers: dict[str, str] = {}
    in_test = {fold(row.text) for row in test}
    name = f"{cell.task}/{path.name}"
    for cells, line in read_table(path, ("text", "reply"), name, notes):
        key = fold(cells["text"])
        if key not in in_test:
            notes.append(Note(name, "reply to a text that is not in the test set, left out", line))
        elif key in answers:
            notes.append(Note(name, "another reply to the same text, left out", line))
        else:
            answers[key] = cells["reply"].strip()
    replies = {}
    for row in test:
        answer = answers.get(fold(row.text), "")
        if not answer:
            notes.append(Note(cell.name(TEST), f"no reply in {path.name}, taken as an abstention", row.line))
        replies[f"zero-shot/{text_id(row.text, cell.language)}"] = Reply(answer, "stop")
    return list(replies.items())


def read_cell(
    cell: Published,
    replies: Path | None,
    replies_model: str,
    *,
    seeds_per_label: int,
    requests_per_label: int,
    seed: int,
) -> Imported:
    """Return what is written for a cell.

    Raises:
        DataError: If a file cannot be read.
        UnusableCell: If a file or texts are missing that the chain needs.
    """
    missing = [f"{cell.language}-{split}.csv" for split in (TEST, SYNTHETIC) if split not in cell.files]
    if missing:
        raise UnusableCell(f"{', '.join(missing)} was not published")
    labels = known_task(cell.task, [cell.language]).label_names
    notes: list[Note] = []
    rows = {split: read_published(path, cell.name(split), labels, notes) for split, path in cell.files.items()}
    test = clean_test(rows[TEST], cell.name(TEST), notes)
    for split, usable in ((TEST, test), (SYNTHETIC, rows[SYNTHETIC])):
        if not usable:
            raise UnusableCell(f"{cell.files[split].name} holds no usable text")
    if HUMAN in cell.files:
        pool = clean_training(rows[HUMAN], test, cell.name(HUMAN), notes)
        seeds = draw_seeds(pool, labels, seeds_per_label, f"{seed}/{cell.cell}")
        taken = {fold(row.text) for row in seeds}
        human = [row for row in pool if fold(row.text) not in taken]
    else:
        seeds, human = draw_seeds(without_repeats(test), labels, seeds_per_label, f"{seed}/{cell.cell}"), []
        taken = {fold(row.text) for row in seeds}
        what = "test text taken out as a seed, since there is no human training file"
        notes += [Note(cell.name(TEST), what, row.line) for row in test if fold(row.text) in taken]
        test = [row for row in test if fold(row.text) not in taken]
    repeats = set(rows[SYNTHETIC]).difference(without_repeats(rows[SYNTHETIC]))
    what = "generated text repeated, left to `filter`"
    notes += [Note(cell.name(SYNTHETIC), what, row.line) for row in rows[SYNTHETIC] if row in repeats]

    models: dict[Purpose, str] = {"generate": known_facts()["generator"]}
    recorded = as_replies(rows[SYNTHETIC], labels, requests_per_label)
    zero_shot = find_replies(replies, cell, replies_model) if replies else None
    if zero_shot:
        models["zero-shot"] = known_facts()["repliers"].get(replies_model, replies_model)
        recorded += read_zero_shot(zero_shot, cell, test, notes)
    tables = {"seeds": seeds, "human": human, "test": test}
    texts = {name: _by_label(of_table, labels) for name, of_table in {**tables, "generated": rows[SYNTHETIC]}.items()}
    report = CellReport(cell.cell, texts, models.get("zero-shot"), summarise(notes))
    return Imported(report, tables, models, recorded)


def _by_label(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, int]:
    counts = Counter(row.label for row in rows)
    return {label: counts[label] for label in labels}


def import_paper(
    source: Path,
    workspace: Path,
    tasks: Sequence[str] = (),
    languages: Sequence[str] = (),
    replies: Path | None = None,
    *,
    replies_model: str = "gpt4",
    seeds_per_label: int = 10,
    texts_per_label: int = 200,
    texts_per_request: int = 10,
    seed: int = 1,
) -> ImportReport:
    """Write the inputs of the paper's cells: tasks, texts, and the published generations as a recorded teacher.

    Args:
        source: A checkout of the published repository: the folder that holds data/.
        workspace: Gains data/<task>/task.yaml, data/<task>/<language>/ with seeds.csv, human.csv, test.csv and
            recording.jsonl, and the cell's report, data/<task>/import-<language>.json. What it has of these cells is
            replaced; on an error it stays as it was.
        tasks: Which tasks; empty for all that were published.
        languages: Which languages; empty for all that were published.
        replies: Folder of published zero-shot replies, <task>/<language>-<model>.csv; None to record none.
        replies_model: Whose replies, as their files name the model.
        seeds_per_label: Human texts a label that become seeds.
        texts_per_label: As in section `generate` of the workspace's params.yaml.
        texts_per_request: As there too; with the former it says over how many replies a label's texts are spread.
        seed: Draws the seeds.

    Raises:
        DataError: If the files are not there or not as published, or the workspace has another task of the same name.
    """
    published, skipped = find_published(source)
    chosen = choose(published, tasks, languages)
    if replies is not None and not any(replies.glob("*/*-*.csv")):
        raise DataError(f"{replies} holds no replies: looked for <task>/<language>-<model>.csv")
    imported = []
    for cell in chosen:
        try:
            content = read_cell(
                cell,
                replies,
                replies_model,
                seeds_per_label=seeds_per_label,
                requests_per_label=-(-texts_per_label // texts_per_request),
                seed=seed,
            )
        except UnusableCell as exc:
            skipped[cell.cell] = str(exc)
        else:
            imported.append(content)
            log.info("%s", _one_line(content.report))
            for finding in content.report.findings:
                log.info("  %s", finding)
    for name, why in skipped.items():
        log.warning("%s is left out: %s", name, why)
    if not imported:
        raise DataError("\n".join(f"{name}: {why}" for name, why in skipped.items()))
    if replies is not None and not any(content.report.zero_shot for content in imported):
        log.warning("%s holds replies for none of these cells", replies)
    _write(workspace, imported)
    return ImportReport([content.report for content in imported], skipped)


def _one_line(report: CellReport) -> str:
    counts = ", ".join(f"{sum(by_label.values())} {name}" for name, by_label in report.texts.items())
    return f"{report.cell}: {counts}" + (f", zero-shot replies of {report.zero_shot}" if report.zero_shot else "")


def _write(workspace: Path, imported: Sequence[Imported]) -> None:
    languages: dict[str, list[str]] = defaultdict(list)
    for content in imported:
        name, language = content.report.cell.split("/")
        languages[name].append(language)
    tasks = [_extended_task(workspace, name, of_task) for name, of_task in languages.items()]
    # Nothing takes its place before everything is written.
    with ExitStack() as stack:
        for task in tasks:
            partial = stack.enter_context(new_file(workspace / "data" / task.name / "task.yaml"))
            described = yaml.safe_dump(task.model_dump(exclude_defaults=True), sort_keys=False, allow_unicode=True)
            partial.write_text(described, encoding="utf-8")
        for content in imported:
            folder = workspace / "data" / content.report.cell
            out = stack.enter_context(new_folder(folder))
            for table, rows in content.tables.items():
                _write_csv(out / f"{table}.csv", rows)
            write_recording(out / "recording.jsonl", content.models, content.replies)
            # Beside the folder, which `prepare` depends on.
            report = stack.enter_context(new_file(folder.parent / f"import-{folder.name}.json"))
            write_json(report, {"schema_version": 1, **asdict(content.report)})


def _extended_task(workspace: Path, name: str, languages: Sequence[str]) -> Task:
    """Return the task with the languages that the workspace has of it already, if any, and these."""
    path = workspace / "data" / name / "task.yaml"
    task = known_task(name, languages)
    if not path.exists():
        return task
    there = load_task(path)
    if there.label_names != task.label_names:
        raise DataError(f"{path} is another task of the same name; choose another workspace")
    # Facets are the user's, or were paid for.
    return known_task(name, sorted({*there.languages, *languages})).model_copy(update={"facets": there.facets})


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        # All cells in quotation marks: without, a lone carriage return in a text would end its row.
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows([row.text, row.label] for row in rows)


def new_paper_workspace(
    source: Path,
    workspace: Path,
    tasks: Sequence[str] = (),
    languages: Sequence[str] = (),
    replies: Path | None = None,
    replies_model: str = "gpt4",
) -> ImportReport:
    """Make a workspace that replays the paper's data: what `import_paper` writes, and every setting.

    Raises:
        DataError: As `import_paper`, and if the folder is a workspace already.
    """
    require_absent(workspace, ("params.yaml", "dvc.yaml"))
    report = import_paper(source, workspace, tasks, languages, replies, replies_model=replies_model)
    zero_shot = any(cell.zero_shot for cell in report.cells)
    files = {
        "params.yaml": render_workspace("params.yaml", cells=report.names, preset="paper", zero_shot=zero_shot),
        "dvc.yaml": render_workspace("dvc.yaml", recorded=True),
    }
    write_workspace(workspace, files)
    return report
