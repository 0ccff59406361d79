"""The command `polydistill`: one command a step, nothing but argument handling.

The step's module is imported when its command runs, so that `--help` is quick and a step needs its own extra alone.
"""
# ruff: noqa: PLC0415

import contextvars
import functools
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from polydistill import __version__
from polydistill.errors import MissingExtraError, ParamsError, PolydistillError

log = logging.getLogger("polydistill")

EXTRAS = {
    "sklearn": "train",
    "scipy": "train",
    "threadpoolctl": "train",
    "onnx": "encoder",
    "onnxruntime": "encoder",
    "onnxscript": "encoder",
    "tokenizers": "encoder",
    "torch": "encoder",
    "transformers": "encoder",
    "peft": "lora",
    "dvc": "cluster",
    "kfp": "cluster",
    "kfp_server_api": "cluster",
    "kubernetes": "cluster",
    "obstore": "cluster",
    "evidently": "report",
    "matplotlib": "report",
    "pandas": "report",
    "bentoml": "serve",
    "packaging": "serve",
    "psutil": "vllm",
    "sentence_transformers": "embed",
}

_where = contextvars.ContextVar("where", default="")


class _Lines(logging.Handler):
    """Prints log records on stderr, each behind the step and cell that it is about."""

    STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.DEBUG: "dim"}

    def __init__(self, console: Any) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        from rich.text import Text

        line = Text(f"{_where.get():<22} ", style="bold") if _where.get() else Text()
        if record.levelno == logging.WARNING:
            line.append("warning: ", style="yellow")
        line.append(self.format(record), style=self.STYLES.get(record.levelno, ""))
        self.console.print(line, soft_wrap=True)


def _start_logging(quiet: bool, verbose: bool) -> None:
    from rich.console import Console

    from polydistill import progress

    console = Console(stderr=True, highlight=False)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines(console)], force=True)
    log.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    progress.show_on(None if quiet else console)


def _spoken(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors alone.")
    @click.option("-v", "--verbose", is_flag=True, help="Print details too.")
    @functools.wraps(command)
    def wrapped(quiet: bool, verbose: bool, **arguments: Any) -> None:
        _start_logging(quiet, verbose)
        command(**arguments)

    return wrapped


def _common(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("-C", "--workspace", type=click.Path(path_type=Path), default=".", help="Folder with params.yaml.")
    @_spoken
    @functools.wraps(command)
    def wrapped(workspace: Path, **arguments: Any) -> None:
        from polydistill.workspace import Workspace

        command(Workspace.open(workspace), **arguments)

    return wrapped


_cells = click.option("--cell", "cells", multiple=True, metavar="TASK/LANGUAGE", help="Repeatable; all where left out.")

_record = click.option(
    "--record",
    "record_to",
    type=click.Path(path_type=Path),
    help="File to write the teacher's replies to, for `teacher.kind: recorded`; for one cell.",
)


def _recordable(cells: Sequence[Any], record_to: Path | None) -> Sequence[Any]:
    """Return the cells, of which there must be one where a recording is wanted."""
    if record_to is not None and len(cells) != 1:
        raise ParamsError(f"--record takes the replies of one cell, and there are {len(cells)}; name one with --cell")
    return cells


def _each(step: str, cells: Iterable[Any], run: Callable[[Any], None]) -> None:
    """Run a step on each cell, or task; one that fails does not keep the others from running."""
    failures: dict[str, PolydistillError] = {}
    for cell in cells:
        _where.set(f"{step} {cell.name}")
        started = time.monotonic()
        try:
            run(cell)
        except PolydistillError as exc:
            failures[cell.name] = exc
        log.debug("%.1f s", time.monotonic() - started)
    _where.set("")
    if failures:
        first = next(iter(failures.values()))
        raise type(first)(_told_once({name: str(exc) for name, exc in failures.items()})) from first


def _told_once(messages: Mapping[str, str]) -> str:
    """Return the messages of cells, by their names: each behind whom it is about, one that many have said once."""
    cells: dict[str, list[str]] = {}
    for name, message in messages.items():
        cells.setdefault(message, []).append(name)
    lines = []
    for message, names in cells.items():
        told = len(names) == 1 and names[0] in message
        lines.append(message if told else f"{', '.join(names)}: {message}")
    return "\n".join(lines)


class _InOrder(click.Group):
    """Lists the commands in the order in which data flows, as this file has them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class _Later(click.Group):
    """Has the commands of `polydistill pipeline`, which are imported when one of them is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from polydistill.cluster.commands import COMMANDS

        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from polydistill.cluster.commands import COMMANDS

        return COMMANDS.get(cmd_name)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Distil a large multilingual LLM into small text classifiers.

    The steps, in their order: prepare, generate, filter, measure, train, evaluate, select, package, serve, monitor.
    `dvc repro` runs what has changed of all of them; see README.md.
    """


@cli.command()
@_common
@_cells
def prepare(workspace: Any, cells: tuple[str, ...]) -> None:
    """Check a task and its texts."""
    from polydistill.prepare import run_prepare

    params = workspace.params.prepare
    _each(
        "prepare",
        workspace.cells(cells),
        lambda cell: run_prepare(cell.task_folder, cell.language, cell.room("prepared"), cell.room("heldout"), params),
    )


@cli.command()
@_common
@_cells
@_record
@click.option("--plan", is_flag=True, help="Only say what it will ask, take and cost; nothing is sent.")
def generate(workspace: Any, cells: tuple[str, ...], record_to: Path | None, plan: bool) -> None:
    """Ask the teacher for labelled texts and its verdicts.

    Replies that are in the journal are not asked for again.
    """
    params = workspace.params
    chosen = _recordable(workspace.cells(cells), record_to)
    if plan:
        from rich.console import Console

        from polydistill.generate.estimate import estimate_generate, estimate_table

        _where.set("generate --plan")
        estimates = {c.name: estimate_generate(c.room("prepared"), params.generate, params.budget) for c in chosen}
        Console().print(estimate_table(estimates))
        return

    from polydistill.generate import run_generate

    _each(
        "generate",
        chosen,
        lambda cell: run_generate(
            cell.room("prepared"),
            cell.recording,
            cell.room("generated"),
            params.generate,
            params.filter,
            params.teacher,
            params.budget,
            record_to=record_to,
        ),
    )


@cli.command()
@_common
@_cells
def filter(workspace: Any, cells: tuple[str, ...]) -> None:
    """Reject bad texts, each with its reason."""
    from polydistill.filter import run_filter

    params = workspace.params
    _each(
        "filter",
        workspace.cells(cells),
        lambda cell: run_filter(
            cell.room("prepared"),
            cell.room("generated"),
            cell.room("filtered"),
            params.filter,
            self_revision=params.generate.self_revision,
        ),
    )


@cli.command()
@_common
@_cells
@click.option("--reason", "reasons", multiple=True, help="Name of a check; repeatable; all where left out.")
@click.option("--marked", is_flag=True, help="List what was only marked, and kept.")
def rejected(workspace: Any, cells: tuple[str, ...], reasons: tuple[str, ...], marked: bool) -> None:
    """List the texts that filter rejected.

    A line a text: cell, reason, label, text and what speaks against it, with a tab between them.
    """
    from polydistill.filter import list_findings

    for cell in workspace.cells(cells):
        for row in list_findings(cell.room("filtered"), reasons, marked=marked):
            click.echo("\t".join((cell.name, *row)))


@cli.command()
@_common
@_cells
@click.option(
    "--compare-teachers",
    "teachers",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Rank teachers of one cell instead, without human texts; repeat it for each. FOLDER is what `filter` wrote, "
    "or a workspace.",
)
def measure(workspace: Any, cells: tuple[str, ...], teachers: tuple[str, ...]) -> None:
    """Compare synthetic with human text."""
    params = workspace.params.measure
    if teachers:
        _compare_teachers(workspace, workspace.cells(cells), teachers)
        return

    from polydistill.measure import run_measure

    _each(
        "measure",
        workspace.cells(cells),
        lambda cell: run_measure(cell.room("prepared"), cell.room("filtered"), cell.room("measured"), params),
    )


def _compare_teachers(workspace: Any, cells: Sequence[Any], teachers: Sequence[str]) -> None:
    if len(cells) != 1:
        raise ParamsError(
            f"--compare-teachers ranks teachers of one cell, and there are {len(cells)}; name one with --cell"
        )
    folders: dict[str, Path] = {}
    for given in teachers:
        name, _, folder = given.partition("=")
        if not name or not folder:
            raise ParamsError(f"--compare-teachers {given}: wanted NAME=FOLDER, such as llama=../llama")
        if name in folders:
            raise ParamsError(f"--compare-teachers names {name} twice; give each teacher a name of its own")
        folders[name] = Path(folder)

    from rich.console import Console

    from polydistill.measure.teachers import run_compare_teachers, teachers_table

    (cell,) = cells
    _where.set(f"measure {cell.name}")
    params, compared = workspace.params, cell.room("compared")
    ranked = run_compare_teachers(folders, cell.name, compared, params.measure.seed)
    console = Console()
    console.print(teachers_table(cell.name, ranked))
    console.print(f"in full {compared / 'teachers.json'}", highlight=False, soft_wrap=True)


@cli.command()
@_common
@_cells
@click.option("--student", "students", multiple=True, help="Kind of student; repeatable; all where left out.")
def train(workspace: Any, cells: tuple[str, ...], students: tuple[Any, ...]) -> None:
    """Train students over sizes and runs."""
    params = workspace.params
    unknown = sorted(set(students) - set(params.train.students))
    if unknown:
        raise ParamsError(f"student {', '.join(unknown)} is not in params.yaml:train.students")

    from polydistill.students import student_class
    from polydistill.train import run_train

    for student in students or params.train.students:
        student_class(student)  # what is not installed is said before anything is trained

    def run(cell: Any) -> None:
        for student in students or params.train.students:
            run_train(
                cell.room("prepared"),
                cell.room("filtered"),
                cell.trained(student),
                cell.finished(student),
                student,
                params.train,
                teacher=params.teacher,
                budget=params.budget,
                recording=cell.recording,
            )

    _each("train", workspace.cells(cells), run)


@cli.command()
@_common
@_cells
@_record
def evaluate(workspace: Any, cells: tuple[str, ...], record_to: Path | None) -> None:
    """Score students and teacher on the test set."""
    from polydistill.evaluate import run_evaluate

    params = workspace.params
    _each(
        "evaluate",
        _recordable(workspace.cells(cells), record_to),
        lambda cell: run_evaluate(
            cell.room("prepared"),
            cell.room("heldout"),
            [cell.trained(student) for student in params.train.students],
            cell.recording,
            cell.room("evaluated"),
            params.evaluate,
            params.teacher,
            params.budget,
            record_to=record_to,
        ),
    )


@cli.command()
@_common
@_cells
def select(workspace: Any, cells: tuple[str, ...]) -> None:
    """Choose each cell's winner by validation."""
    from polydistill.select import run_select

    params = workspace.params
    _each(
        "select",
        workspace.cells(cells),
        lambda cell: run_select(
            cell.room("prepared"),
            cell.room("filtered"),
            [cell.trained(student) for student in params.train.students],
            cell.room("selected"),
            cell.gathered("winners"),
            params.select,
        ),
    )


@cli.command()
@_common
@_cells
def card(workspace: Any, cells: tuple[str, ...]) -> None:
    """Gather what is told of each cell, for the report."""
    from polydistill.card import run_card

    _each(
        "card",
        workspace.cells(cells),
        lambda cell: run_card(
            cell.room("prepared"),
            cell.room("generated"),
            cell.room("filtered"),
            cell.room("measured"),
            cell.room("evaluated"),
            cell.room("selected"),
            cell.gathered("cards"),
        ),
    )


@cli.command()
@_common
def report(workspace: Any) -> None:
    """Draw the page of the run."""
    from polydistill.report import run_report

    _where.set("report")
    with workspace.gathered("cards") as cards:
        run_report(cards, workspace.across("report"))


@cli.command()
@_common
def package(workspace: Any) -> None:
    """Put all winners into one bento."""
    from polydistill.package import run_package

    _where.set("package")
    with workspace.gathered("winners") as winners, workspace.gathered("cards") as cards:
        run_package(winners, cards, workspace.across("bento"), workspace.params.package)


@cli.command()
@_common
@click.option("--check", is_flag=True, help="Only start it, compare its answers with known ones, and stop it.")
def serve(workspace: Any, check: bool) -> None:
    """Serve the bento over HTTP."""
    from polydistill import serve as serving

    _where.set("serve")
    if check:
        with workspace.gathered("winners") as winners:
            serving.run_serve(workspace.across("bento"), winners, workspace.across("served"))
    else:
        serving.serve(workspace.across("bento"), workspace.params.serve)


@cli.command()
@_common
@click.option(
    "--traffic",
    type=click.Path(path_type=Path),
    help="Prediction log of the service (JSON Lines); where left out, what `serve --check` was answered.",
)
def monitor(workspace: Any, traffic: Path | None) -> None:
    """Say which languages need a retraining."""
    from polydistill.monitor import run_monitor

    _where.set("monitor")
    if traffic is None:
        log.info("judging what `serve --check` was answered, not production; name its log with --traffic")
    # DVC makes `monitored` anew; what is said of production stays.
    monitored = workspace.across("monitored" if traffic is None else "monitored-traffic")
    with workspace.gathered("winners") as winners:
        run_monitor(
            winners, traffic or workspace.across("served") / "answers.jsonl", monitored, workspace.params.monitor
        )


@cli.command()
@_common
@click.argument("question")
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=VALUE,VALUE",
    help="Setting of params.yaml to vary; repeatable, all combinations are run.",
)
def ablate(workspace: Any, question: str, vary: tuple[str, ...]) -> None:
    """Compare variants of the settings.

    QUESTION is seeds (0, 5, 10 or 20 a label), strategy (plain or diverse), filter (on or off), source (synthetic or
    human), or a name of your own with --vary. DVC runs each variant as an experiment.
    """
    from polydistill.ablate.experiments import run_experiments
    from polydistill.ablate.variants import read_vary, variants_of

    _where.set(f"ablate {question}")
    ablated = workspace.across("ablations") / question
    run_experiments(workspace, question, variants_of(question, read_vary(vary)), ablated)
    click.echo((ablated / "table.md").read_text(encoding="utf-8"))
    click.echo(f"figure {ablated / 'figure.svg'}")


@cli.group(cls=_Later)
def pipeline() -> None:
    """Run the chain on Kubeflow Pipelines."""


@cli.command()
@_common
def show(workspace: Any) -> None:
    """Print the table of the last run."""
    from rich.console import Console

    from polydistill.summary import stops, summary_table

    console = Console()
    for line in stops(workspace.cells()):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    console.print(summary_table(workspace.across("report")))
    for what, path in (("report", "report/index.html"), ("bento", "bento")):
        console.print(f"{what:<7} {workspace.across(path)}", highlight=False, soft_wrap=True)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", default="mytask", show_default=True, help="Name of the task.")
@click.option("--language", "languages", multiple=True, help="BCP 47 tag; repeatable.  [default: en]")
@_spoken
def init(folder: Path, task: str, languages: tuple[str, ...]) -> None:
    """Make a workspace for your own task."""
    from polydistill.workspace import new_workspace

    new_workspace(folder, task, languages or ("en",))
    click.echo(f"workspace {folder}: fill in data/{task}/, set the teacher in params.yaml, then run `dvc repro` there")


@cli.command()
@_common
@click.option("--task", "tasks", multiple=True, help="Repeatable; all where left out.")
def facets(workspace: Any, tasks: tuple[str, ...]) -> None:
    """Have the teacher propose what texts may differ in.

    Adds a block `facets` to data/TASK/task.yaml, for you to edit; `generate.strategy: diverse` combines what stands
    there. Where no task is named, those that have one are passed over.
    """
    from polydistill.facets import run_facets

    params = workspace.params
    _each(
        "facets",
        workspace.tasks(tasks),
        lambda task: run_facets(task.file, task.facets_journal, params.teacher, params.budget, named=bool(tasks)),
    )


@cli.command("import-paper")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--workspace", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option("--task", "tasks", multiple=True, help="Repeatable; all where left out.")
@click.option("--language", "languages", multiple=True, help="Repeatable; all where left out.")
@click.option("--replies", type=click.Path(path_type=Path), help="Folder of published zero-shot replies.")
@click.option("--replies-model", default="gpt4", show_default=True, help="Whose replies, as their files name it.")
@_spoken
def import_paper(
    source: Path,
    workspace: Path,
    tasks: tuple[str, ...],
    languages: tuple[str, ...],
    replies: Path | None,
    replies_model: str,
) -> None:
    """Make a workspace of the paper's data.

    SOURCE is a checkout of what was published; the teacher of the workspace replays its generations.
    """
    from polydistill.paper import new_paper_workspace

    new_paper_workspace(source, workspace, tasks, languages, replies, replies_model)


def main() -> None:
    """Run the command line: exit 0 for success, 1 for a failed run, 2 for wrong input, 130 or 143 when interrupted."""
    interrupted = [130]

    def terminate(*_: object) -> None:
        # What asyncio and the steps undo at Ctrl-C they undo then, too; where that is ignored, just end.
        interrupted.append(143)
        if not callable(signal.getsignal(signal.SIGINT)):
            sys.exit(143)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, terminate)
    try:
        cli(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; run the same again to go on from there", interrupted[-1])
    except PolydistillError as exc:
        _fail(str(exc), exc.exit_code)
    except ModuleNotFoundError as exc:
        package, _, _ = (exc.name or "").partition(".")
        if package not in EXTRAS:
            raise
        missing = MissingExtraError(f"this step needs {package}; run: pip install 'polydistill[{EXTRAS[package]}]'")
        _fail(str(missing), missing.exit_code)
    except OSError as exc:
        _fail(f"{exc.strerror or exc}: {exc.filename or 'a file'}; check its permissions and the disk's space", 2)


def _fail(message: str, code: int) -> None:
    click.echo("\n".join(f"error: {line}" for line in message.splitlines()), err=True)
    sys.exit(code)
