import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from build import build_prepared, records
from chat_server import KEY, ChatServer, chat_server
from commands import INTERRUPTED, MAIN, as_user, files_in, run, start, wait_for
from polydistill.errors import DataError, MissingExtraError, ParamsError, PolydistillError, TeacherError
from polydistill.files import digest, read_json
from polydistill.prepare import run_prepare
from polydistill.records import text_id, write_records, write_rows
from polydistill.runs import FINAL, PREDICTIONS
from polydistill.task import load_task
from polydistill.workspace import Cell, Workspace
from spaces import GENERATED, SEEDS, TEST, build_workspace

CELL = Path("work/demo/sl")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return build_workspace(tmp_path / "ws")


@pytest.fixture
def prepared(workspace: Path) -> Path:
    """A workspace whose cell is prepared."""
    build_prepared(workspace / "work" / "demo" / "sl" / "prepared", SEEDS, test=TEST)
    return workspace


def test_help_is_there_without_a_heavy_import() -> None:
    code = """
import sys
from polydistill.cli import cli
cli(["--help"], standalone_mode=False)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    listed, _, modules = said.rstrip().rpartition("\n")
    heavy = (
        "numpy sklearn scipy pyarrow pandas pydantic yaml aiohttp rich langcodes py3langid evidently bentoml matplotlib"
    )
    assert set(heavy.split()).isdisjoint(modules.split())
    commands = [line.split()[0] for line in listed.partition("Commands:\n")[2].splitlines()]
    steps = ["prepare", "generate", "filter", "measure", "train", "evaluate", "select", "package", "serve", "monitor"]
    assert [command for command in commands if command in steps] == steps


@pytest.mark.parametrize(
    ("error", "code"),
    [(PolydistillError, 1), (TeacherError, 1), (ParamsError, 2), (DataError, 2), (MissingExtraError, 2)],
)
def test_each_error_has_its_exit_code(error: type[PolydistillError], code: int) -> None:
    assert error("x").exit_code == code


def spoil_params(workspace: Path, **changes: Any) -> None:
    build_workspace(workspace, **changes)


def spoil_seeds(workspace: Path) -> None:
    (workspace / "data" / "demo" / "sl" / "seeds.csv").write_text("text,label\nKdaj?,ours\n")


def remove_recording(workspace: Path) -> None:
    build_prepared(workspace / "work" / "demo" / "sl" / "prepared", SEEDS)
    (workspace / "data" / "demo" / "sl" / "recording.jsonl").unlink()


def nothing(workspace: Path) -> None:
    """Leave the inputs as they are."""


@pytest.mark.parametrize(
    ("spoil", "arguments", "message"),
    [
        pytest.param(
            lambda ws: spoil_params(ws, train__szies=[10]),
            ["prepare"],
            "error: params.yaml: train.szies is no known key; did you mean `sizes`?",
            id="unknown key",
        ),
        pytest.param(
            lambda ws: spoil_params(ws, generate__temperature=7),
            ["prepare"],
            "error: params.yaml: generate.temperature: 7 is not allowed; input should be less than or equal to 2",
            id="impossible value",
        ),
        pytest.param(
            lambda ws: (ws / "params.yaml").unlink(),
            ["prepare"],
            "error: params.yaml is missing; run this in a workspace, or make one with `polydistill init DIR`",
            id="no workspace",
        ),
        pytest.param(
            spoil_seeds,
            ["prepare"],
            "error: data/demo/sl/seeds.csv:2: column label: unknown label `ours`; did you mean `hours`?\n",
            id="bad table",
        ),
        pytest.param(
            nothing,
            ["prepare", "--cell", "demo/sw"],
            "error: cell demo/sw is not in params.yaml:cells, which holds demo/sl",
            id="unknown cell",
        ),
        pytest.param(
            nothing,
            ["train", "--student", "huge"],
            "error: student huge is not in params.yaml:train.students",
            id="student",
        ),
        pytest.param(
            nothing,
            ["rejected"],
            "error: work/demo/sl/filtered/filter.json is missing; run `polydistill filter` first, or `dvc repro`",
            id="nothing filtered",
        ),
        pytest.param(
            nothing,
            ["generate"],
            "error: work/demo/sl/prepared/prepare.json is missing; run `polydistill prepare` first, or `dvc repro`",
            id="no step before",
        ),
        pytest.param(
            remove_recording,
            ["generate"],
            "error: data/demo/sl/recording.jsonl is missing: params.yaml:teacher.kind is `recorded`, which replays",
            id="no recording",
        ),
        pytest.param(nothing, ["prepare", "--sell", "x"], "Error: No such option", id="unknown option"),
        pytest.param(
            nothing,
            ["init", "new", "--language", "klingon"],
            "error: language `klingon` is no BCP 47 tag",
            id="language",
        ),
    ],
)
def test_wrong_input_ends_with_2_and_writes_nothing(
    workspace: Path, spoil: Callable[[Path], Any], arguments: list[str], message: str
) -> None:
    spoil(workspace)
    before = files_in(workspace)
    code, said = run(workspace, *arguments)
    assert code == 2
    assert message in said
    assert "Traceback" not in said
    assert files_in(workspace) == before


@pytest.mark.parametrize(
    ("path", "mode", "step", "message"),
    [
        ("data/demo/sl/seeds.csv", 0o000, "prepare", "cannot read data/demo/sl/seeds.csv: Permission denied"),
        ("params.yaml", 0o000, "prepare", "cannot read params.yaml: Permission denied"),
        ("data/demo/sl", 0o000, "prepare", "Permission denied"),
        ("work/demo/sl", 0o555, "prepare", "cannot write work/demo/sl/heldout: Permission denied"),
        (
            "work/demo/sl",
            0o555,
            "generate",
            "cannot write work/demo/sl/generated/journal/recorded-plain.jsonl: Permission denied",
        ),
    ],
)
def test_what_may_not_be_read_or_written_is_said(prepared: Path, path: str, mode: int, step: str, message: str) -> None:
    before = digest(prepared / "work")
    usual = (prepared / path).stat().st_mode
    (prepared / path).chmod(mode)
    try:
        code, said = as_user(prepared, step)
    finally:
        (prepared / path).chmod(usual)
    assert (code, message in said, "Traceback" in said) == (2, True, False), said
    assert digest(prepared / "work") == before


def test_one_bad_cell_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path, cells=["demo/az", "demo/sl"])
    code, said = run(workspace, "prepare")
    assert code == 2
    assert "error: data/demo/az/seeds.csv is missing" in said
    assert (workspace / "work" / "demo" / "sl" / "prepared" / "prepare.json").exists()
    assert not (workspace / "work" / "demo" / "az").exists()


def test_a_run_is_told_in_plain_lines_where_there_is_no_terminal(workspace: Path) -> None:
    code, said = run(workspace, "prepare")
    assert (code, said) == (0, f"{'prepare demo/sl':<22} 4 seeds, 6 human texts, 6 test texts\n")
    assert run(workspace, "prepare", "--quiet") == (0, "")


def test_a_workspace_elsewhere_can_be_named(workspace: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "prepare", "-C", "ws")[0] == 0
    cell = Cell(workspace, "demo", "sl")
    params = Workspace.open(workspace).params.prepare
    run_prepare(cell.task_folder, "sl", tmp_path / "here" / "prepared", tmp_path / "here" / "heldout", params)
    assert digest(workspace / "work" / "demo" / "sl") == digest(tmp_path / "here")


def test_a_missing_extra_names_its_pip_line(workspace: Path) -> None:
    code, said = run(workspace, "train", code=f"import sys; sys.modules['sklearn'] = None; {MAIN}")
    assert (code, said) == (2, "error: this step needs sklearn; run: pip install 'polydistill[train]'\n")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


# So many that no two prompts show them in the same order: `by_prompt` answers the same prompt with the same texts.
MANY_SEEDS = {label: [f"{text} {n}" for text in texts for n in range(5)] for label, texts in SEEDS.items()}
ALL = 1 + 4 + 4  # the canary, and for each of two labels two requests for texts and two for verdicts


def build_asking(root: Path, server: ChatServer, **changes: Any) -> Path:
    """Write a workspace whose cell is prepared and whose teacher is the server."""
    build_workspace(root, teacher__kind="openai", teacher__url=server.url, **changes)
    build_prepared(root / CELL / "prepared", MANY_SEEDS, test=TEST)
    return root


def usage(workspace: Path) -> Any:
    return read_json(workspace / CELL / "generated" / "usage.json")


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_teacher_that_refuses_ends_with_1_and_without_the_key(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.set(status=status, says="no to", echo_key=True)
    workspace = build_asking(tmp_path, server)
    code, said = run(workspace, "generate", "--verbose")
    assert (code, f"HTTP {status}" in said, "error: " in said) == (1, True, True), said
    assert not (workspace / CELL / "generated" / "samples.parquet").exists()
    assert KEY not in said
    assert not [path for path in workspace.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_run_against_a_server_is_told_and_counted(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server, budget__prompt_price=10.0, budget__completion_price=20.0)
    code, said = run(workspace, "generate")
    assert (code, server.count()) == (0, ALL), said
    told = f"8 usable texts of 8 written, from {ALL} requests to tiny, {ALL} of them in this run"
    assert said == f"{'generate demo/sl':<22} {told}\n"
    counted = usage(workspace)
    assert (counted["complete"], counted["shortfall"]) == (True, {})
    assert {purpose: of["requests"] for purpose, of in counted["purposes"].items()} == {
        "canary": 1,
        "generate": 4,
        "revise": 4,
    }
    for of in counted["purposes"].values():
        assert of["cost"] == pytest.approx((of["prompt_tokens"] * 10 + of["completion_tokens"] * 20) / 1e6)


# Stopped


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"])
def test_generate_goes_on_where_it_was_stopped(
    tmp_path: Path, server: ChatServer, stop: signal.Signals, code: int
) -> None:
    server.set(by_prompt=True, hold=3)
    workspace = build_asking(tmp_path / "ws", server, teacher__concurrency=2)
    generated = workspace / CELL / "generated"
    journal = generated / "journal" / "plain.jsonl"
    process = start(workspace, "generate")
    server.wait_for(5)
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 1 + 3, process)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (code, INTERRUPTED)
    assert files_in(generated) == {"journal/.lock", "journal/plain.jsonl", "usage.json"}
    assert usage(workspace)["complete"] is False
    asked = server.count()
    server.set(by_prompt=True)
    assert run(workspace, "generate")[0] == 0
    assert server.count() - asked == ALL - 3
    assert usage(workspace)["complete"] is True
    whole = build_asking(tmp_path / "whole", server)
    assert run(whole, "generate")[0] == 0
    assert digest(generated / "samples.parquet") == digest(whole / CELL / "generated" / "samples.parquet")


@pytest.mark.parametrize(
    ("limit", "most", "message"),
    [
        (
            "requests",
            5,
            r"budget.requests 5 is reached: 5 sent\. Stopped; raise it in params\.yaml and run again",
        ),
        (
            "tokens",
            3_000,
            r"budget.tokens 3000 is reached: \d+ used, and one more request may break it\. Stopped",
        ),
        ("cost", 0.03, r"budget.cost 0\.03 is reached: 0\.0\d+ spent, and one more request may break it\. Sto"),
    ],
)
def test_a_budget_stops_a_run_that_goes_on_when_it_is_raised(
    tmp_path: Path, server: ChatServer, limit: str, most: float, message: str
) -> None:
    prices = {"budget__prompt_price": 10.0, "budget__completion_price": 20.0, "teacher__max_tokens": 200}
    workspace = build_asking(tmp_path, server, **prices, **{f"budget__{limit}": most})
    for _ in range(2):
        code, said = run(workspace, "generate")
        assert (code, "Traceback" in said) == (1, False), said
        assert re.search(message, said), said
    spent = usage(workspace)
    assert spent["complete"] is False
    used = spent["purposes"].values()
    totals = {
        "requests": sum(of["requests"] + of["retries"] for of in used),
        "tokens": sum(of["prompt_tokens"] + of["completion_tokens"] for of in used),
        "cost": sum(of["cost"] for of in used),
    }
    assert 0 < totals[limit] <= most
    assert 0 < totals["requests"] == server.count() < ALL
    assert not (workspace / CELL / "generated" / "samples.parquet").exists()
    build_asking(workspace, server, **prices)
    assert run(workspace, "generate")[0] == 0
    assert server.count() == ALL
    assert usage(workspace)["complete"] is True


# The plan


def planned(workspace: Path) -> list[list[str]]:
    """Return the cells of the table that `generate --plan` prints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")  # no header on two lines
        process = start(workspace, "generate", "--plan")
    table, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    rows = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()]
    # The sum, which has no purpose, and neither the rules nor what stands beneath.
    return [row[:1] + [""] * (row[0] == "all") + row[1:] for row in rows if len(row) > 2]


def test_the_plan_is_printed_without_a_server(tmp_path: Path) -> None:
    build_workspace(
        tmp_path,
        teacher__kind="openai",
        teacher__url="http://127.0.0.1:9/v1",
        generate__texts_per_label=40,
        generate__top_up=0.2,
        budget__prompt_price=10_000.0,
        budget__completion_price=30_000.0,
        budget__tokens_per_s=10.0,
    )
    build_prepared(tmp_path / CELL / "prepared", MANY_SEEDS)
    before = digest(tmp_path)
    header, write, judge, total = planned(tmp_path)
    assert header == ["cell", "purpose", "requests", "at most", "prompt tokens", "reply tokens", "cost", "time"]
    assert (write[:4], judge[:4], total[:4]) == (
        ["demo/sl", "generate", "40", "48"],
        ["demo/sl", "revise", "40", "48"],
        ["all", "", "80", "96"],
    )
    cost = 0.0
    for row in (write, judge):
        prompt, reply = (int(cell.replace(",", "")) for cell in row[4:6])
        assert float(row[6].replace(",", "")) == pytest.approx((prompt * 10_000 + reply * 30_000) / 1e6, abs=0.01)
        assert row[7] == f"{reply / 10 / 60:,.1f} min"
        cost += float(row[6].replace(",", ""))
    assert float(total[6].replace(",", "")) == pytest.approx(cost, abs=0.011)
    assert digest(tmp_path) == before


def test_the_plan_of_a_cell_comes_true_and_sends_nothing(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server)
    _, write, judge, _ = planned(workspace)
    assert server.count() == 0
    assert (write[6:], judge[6:]) == (["–", "–"], ["–", "–"])  # neither prices nor a rate are known
    assert run(workspace, "generate")[0] == 0
    purposes = usage(workspace)["purposes"]
    for row in (write, judge):
        assert int(row[2]) == purposes[row[1]]["requests"]
        for cell, tokens in zip(row[4:6], ("prompt_tokens", "completion_tokens"), strict=True):
            assert int(cell.replace(",", "")) == pytest.approx(purposes[row[1]][tokens], rel=0.6)


def test_the_plan_without_self_revision_has_one_row_a_cell(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server, generate__self_revision=False)
    assert [row[:2] for row in planned(workspace)[1:]] == [["demo/sl", "generate"], ["all", ""]]


def test_the_plan_of_a_cell_that_is_not_prepared_is_refused(workspace: Path) -> None:
    code, said = run(workspace, "generate", "--plan")
    assert (code, "run `polydistill prepare` first" in said) == (2, True)


# Recordings


@pytest.mark.parametrize("faults", [{}, {"ignore_schema": True}], ids=["json", "plain lines"])
def test_what_was_recorded_is_replayed_to_the_same_texts(
    tmp_path: Path, server: ChatServer, faults: dict[str, Any]
) -> None:
    server.set(**faults)
    workspace = build_asking(tmp_path / "ws", server)
    recording = workspace / "data" / "demo" / "sl" / "recording.jsonl"
    assert "zero-shot/" in recording.read_text(encoding="utf-8")
    code, said = run(workspace, "generate", "--record", str(recording.relative_to(workspace)))
    assert code == 0, said
    assert "zero-shot/" in recording.read_text(encoding="utf-8")  # what is there of other purposes stays
    replay = tmp_path / "replay"
    shutil.copytree(workspace / "data", replay / "data")
    build_prepared(replay / CELL / "prepared", MANY_SEEDS)
    (replay / "params.yaml").write_text(
        (workspace / "params.yaml").read_text().replace("kind: openai", "kind: recorded"), encoding="utf-8"
    )
    asked = server.count()
    code, said = run(replay, "generate")
    assert (code, server.count()) == (0, asked), said
    samples = CELL / "generated" / "samples.parquet"
    assert digest(replay / samples) == digest(workspace / samples)
    assert usage(replay)["teacher"]["structured"] is usage(workspace)["teacher"]["structured"] is not bool(faults)


def test_what_was_paid_for_is_recorded_also_when_the_run_stops(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server, budget__requests=5)
    code, said = run(workspace, "generate", "--record", "tape.jsonl")
    assert code == 1, said
    assert (workspace / "tape.jsonl").read_text(encoding="utf-8").count('{"id": ') == 4  # the canary is none


def test_a_recording_takes_one_cell(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server, cells=["demo/sl", "demo/az"])
    for command in ("generate", "evaluate"):
        code, said = run(workspace, command, "--record", "tape.jsonl")
        refused = "error: --record takes the replies of one cell, and there are 2; name one with --cell\n"
        assert (code, said) == (2, refused)
    assert run(workspace, "generate", "--record", "tape.jsonl", "--cell", "demo/sl")[0] == 0
    assert (workspace / "tape.jsonl").exists()
    assert server.count() == ALL


def test_a_file_that_is_no_recording_is_not_overwritten(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server)
    (workspace / "notes.txt").write_text("mine\n")
    code, said = run(workspace, "generate", "--record", "notes.txt")
    assert (code, "notes.txt:1: not JSON" in said, "Traceback" in said) == (2, True, False), said
    assert (workspace / "notes.txt").read_text() == "mine\n"


def test_evaluate_records_into_the_same_file(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_asking(tmp_path, server)
    write_records(workspace / CELL / "heldout" / "test.parquet", records(TEST, "human"))
    trained = workspace / CELL / "trained" / "linear"
    rows = [
        {"source": "synthetic", "size": 8, "run": FINAL, "seed": 1, "id": text_id(text, "sl"), "label": label}
        for label, texts in TEST.items()
        for text in texts
    ]
    write_rows(trained / "predictions.parquet", rows, PREDICTIONS)
    (trained / "train.json").write_text(
        '{"schema_version": 3, "student": "linear", "subset": "random", "restarted": 0, "collapsed": 0}'
    )
    for command in ("generate", "evaluate"):
        code, said = run(workspace, command, "--record", "tape.jsonl")
        assert code == 0, said
    recorded = (workspace / "tape.jsonl").read_text(encoding="utf-8")
    assert {purpose: recorded.count(f'"id": "{purpose}/') for purpose in ("generate", "revise", "zero-shot")} == {
        "generate": 4,
        "revise": 4,
        "zero-shot": 6,
    }
    asked = server.count()
    evaluation = read_json(workspace / CELL / "evaluated" / "evaluation.json")
    shutil.rmtree(workspace / CELL / "evaluated")
    build_workspace(workspace)
    shutil.copy(workspace / "tape.jsonl", workspace / "data" / "demo" / "sl" / "recording.jsonl")
    assert run(workspace, "evaluate")[0] == 0
    again = read_json(workspace / CELL / "evaluated" / "evaluation.json")
    assert server.count() == asked
    for facts in (evaluation, again):
        facts["teacher"]["usage"]["zero-shot"]["seconds"] = 0.0
        facts["teacher"]["usage"].pop("canary", None)  # which nobody sends to a recording
    assert again == evaluation


# Facets


def test_facets_are_proposed_added_and_combined(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_workspace(tmp_path, teacher__kind="openai", teacher__url=server.url, generate__strategy="diverse")
    task_file = workspace / "data" / "demo" / "task.yaml"
    before = task_file.read_text(encoding="utf-8")
    assert run(workspace, "prepare")[0] == 0
    code, said = run(workspace, "generate")
    assert (code, "run `polydistill facets`" in said, server.count()) == (2, True, 0), said
    code, said = run(workspace, "facets")
    assert (code, server.count()) == (0, 1), said
    assert "it took requests 1, retries 0, prompt_tokens " in said
    assert "has facets now: look them through, run `polydistill prepare`, then generate by `diverse`" in said
    assert task_file.read_text(encoding="utf-8").startswith(before)
    facets = load_task(task_file).facets
    assert facets is not None
    assert list(facets.topics) == ["book", "hours"]
    assert "facets.jsonl" not in {path.name for path in workspace.rglob("*")}
    code, said = run(workspace, "facets", "--task", "demo")
    assert (code, "holds facets already; edit them there" in said, server.count()) == (2, True, 1), said
    code, said = run(workspace, "facets")
    assert (code, "task.yaml has facets already" in said, server.count()) == (0, True, 1), said
    assert [run(workspace, step)[0] for step in ("prepare", "generate")] == [0, 0]
    assert any(f"topic: {facets.topics['book'][0]}" in str(chat["messages"]) for chat in server.chats())


@pytest.mark.parametrize(
    ("faults", "asked", "message"),
    [
        pytest.param({"content": "I would rather not."}, 1, "cannot be used: there is no JSON object", id="prose"),
        pytest.param({"content": '{"topics": {}, "lengths": ["short"]}'}, 1, "and 2 are needed", id="too few"),
        pytest.param({"cut_off": True}, 1, "cannot be used: the reply stops before its end", id="cut off"),
        pytest.param({"refusal": True}, 1, "cannot be used: the model refused to answer", id="refusal"),
        pytest.param({"status": 400}, 2, "HTTP 400", id="refused, with a schema and without"),
    ],
)
def test_facets_of_no_use_are_told_and_asked_for_anew(
    tmp_path: Path, server: ChatServer, faults: dict[str, Any], asked: int, message: str
) -> None:
    workspace = build_workspace(tmp_path, teacher__kind="openai", teacher__url=server.url)
    task_file = workspace / "data" / "demo" / "task.yaml"
    before = task_file.read_bytes()
    server.set(**faults)
    code, said = run(workspace, "facets")
    assert (code, message in said, "Traceback" in said, server.count()) == (1, True, False, asked), said
    assert task_file.read_bytes() == before
    server.set()
    assert run(workspace, "facets")[0] == 0
    assert server.count() == asked + 1
    assert load_task(task_file).facets is not None


def test_a_recorded_teacher_proposes_no_facets(workspace: Path) -> None:
    code, said = run(workspace, "facets")
    assert (code, said) == (2, NO_FACETS)
    code, said = run(workspace, "facets", "--task", "other")
    assert (code, said) == (2, "error: no cell of params.yaml:cells is of the task other; there are demo\n")


NO_FACETS = (
    "error: a recorded teacher proposes no facets; set params.yaml:teacher to a server, or write the block `facets` in "
    "data/demo/task.yaml by hand\n"
)


def test_an_interrupted_training_leaves_only_what_has_ended(tmp_path: Path) -> None:
    build_workspace(tmp_path, train__runs=1000)
    room = tmp_path / "work" / "demo" / "sl"
    build_prepared(room / "prepared", SEEDS, test=TEST)
    accepted = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}
    write_records(room / "filtered" / "accepted.parquet", records(accepted))
    before = files_in(tmp_path)
    process = start(tmp_path, "train")
    wait_for(lambda: (room / "finished/linear/runs.jsonl").exists(), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, INTERRUPTED)
    assert all(name.startswith("work/demo/sl/finished/linear/") for name in files_in(tmp_path) - before)
    assert not (room / "trained").exists()
