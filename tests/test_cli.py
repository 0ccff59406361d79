import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build import build_prepared, records
from chat_server import KEY, Answer, chat, chat_server, two_texts
from polydistill.errors import DataError, MissingExtraError, ParamsError, PolydistillError, TeacherError
from polydistill.files import digest
from polydistill.generate import run_generate
from polydistill.prepare import run_prepare
from polydistill.records import write_records
from polydistill.workspace import Cell, Workspace
from spaces import GENERATED, SEEDS, TEST, build_workspace

INTERRUPTED = "error: interrupted; run the same again to go on from there"
MAIN = "from polydistill.cli import main; main()"
# Root may read and write anything; without these two capabilities it may do what a user may.
AS_USER = f"""
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    if ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
        sys.exit(77)
os.execv(sys.executable, [sys.executable, "-c", {MAIN!r}, *sys.argv[1:]])
"""


def start(workspace: Path, *arguments: str, code: str = MAIN) -> subprocess.Popen[str]:
    """Start `polydistill` with these arguments in the workspace, as a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(workspace: Path, *arguments: str, code: str = MAIN) -> tuple[int, str]:
    """Return the exit code and what stands on stderr."""
    process = start(workspace, *arguments, code=code)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"it did not come to that: {process.communicate()}")
        time.sleep(0.005)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


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


def as_user(workspace: Path, *arguments: str) -> tuple[int, str]:
    """Run without the rights that only root has."""
    if os.geteuid() != 0:
        return run(workspace, *arguments)
    code, said = run(workspace, *arguments, code=AS_USER)
    if code == 77:
        pytest.skip("root cannot give up its right to read and write everything here")
    return code, said


@pytest.mark.parametrize(
    ("path", "mode", "step", "message"),
    [
        ("data/demo/sl/seeds.csv", 0o000, "prepare", "cannot read data/demo/sl/seeds.csv: Permission denied"),
        ("params.yaml", 0o000, "prepare", "cannot read params.yaml: Permission denied"),
        ("data/demo/sl", 0o000, "prepare", "Permission denied"),
        ("work/demo/sl", 0o555, "prepare", "cannot write work/demo/sl/heldout: Permission denied"),
        ("work/demo/sl", 0o555, "generate", "cannot write work/demo/sl/generated/journal.jsonl: Permission denied"),
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


def test_a_teacher_that_refuses_ends_with_1_and_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with chat_server(lambda *_: (400, {"error": f"no {KEY}"})) as server:
        workspace = build_workspace(tmp_path, teacher__kind="openai", teacher__url=server.url)
        build_prepared(workspace / "work" / "demo" / "sl" / "prepared", SEEDS)
        code, said = run(workspace, "generate", "--verbose")
    assert code == 1
    assert f"error: teacher {server.url} refused the request (HTTP 400)" in said
    assert KEY not in said


def answer_by_prompt(prompt: str, _: int) -> Answer:
    """Answer the same prompt the same, whenever it comes."""
    number = zlib.crc32(prompt.encode())
    texts = chat(json.dumps({"texts": [f"besedilo {number} ena", f"besedilo {number} dve"]}))
    return two_texts(prompt, 0) if '"verdicts"' in prompt else texts


@pytest.mark.parametrize(
    ("stop", "code", "said_last"),
    [(signal.SIGINT, 130, INTERRUPTED), (signal.SIGTERM, 143, INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL, "")],
    ids=["Ctrl-C", "terminated", "killed"],
)
def test_generate_goes_on_where_it_was_stopped(tmp_path: Path, stop: signal.Signals, code: int, said_last: str) -> None:
    generated = tmp_path / "work" / "demo" / "sl" / "generated"
    journal = generated / "journal.jsonl"
    build_prepared(tmp_path / "work" / "demo" / "sl" / "prepared", SEEDS)
    with chat_server(answer_by_prompt, free=3) as server:
        build_workspace(tmp_path, teacher__kind="openai", teacher__url=server.url, teacher__concurrency=2)
        process = start(tmp_path, "generate")
        wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") == 3, process)
        process.send_signal(stop)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said.strip()) == (code, said_last)
        assert files_in(generated) == {"journal.jsonl"}
        server.let_all_pass()
        asked = len(server.chats)
        assert run(tmp_path, "generate")[0] == 0
        assert len(server.chats) - asked == 8 - 3
        params = Workspace.open(tmp_path).params
        run_generate(generated.parent / "prepared", Path("none"), tmp_path / "whole", params.generate, params.teacher)
    for name in ("samples.parquet", "usage.json"):
        assert digest(generated / name) == digest(tmp_path / "whole" / name)


def test_an_interrupted_training_leaves_nothing(tmp_path: Path) -> None:
    build_workspace(tmp_path, train__runs=5000)
    room = tmp_path / "work" / "demo" / "sl"
    build_prepared(room / "prepared", SEEDS, test=TEST)
    accepted = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}
    write_records(room / "filtered" / "accepted.parquet", records(accepted))
    before = files_in(tmp_path)
    process = start(tmp_path, "train")
    wait_for(lambda: any(room.glob("trained/.linear.partial-*/model/student.json")), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, INTERRUPTED)
    assert files_in(tmp_path) == before
    assert list((room / "trained").iterdir()) == []
