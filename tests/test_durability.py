import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from build import build_prepared
from chat_server import ChatServer, chat_server
from commands import MAIN, as_user, files_in, run, start, wait_for
from polydistill.files import digest, read_json
from polydistill.records import SAMPLE, read_rows
from polydistill.workspace import render_workspace
from spaces import build_workspace

pytestmark = pytest.mark.slow

CELL = Path("work/demo/sl")
JOURNAL = CELL / "generated" / "journal" / "plain.jsonl"
LOCK = JOURNAL.with_name(".lock")
# So many that no two prompts show them in the same order: the server answers the same prompt with the same texts.
SEEDS = {
    "book": [f"Želim se naročiti k zdravniku številka {n}." for n in range(8)],
    "hours": [f"Kdaj je odprta ambulanta številka {n}?" for n in range(8)],
}
ASKED_FOR: dict[str, Any] = {"generate__texts_per_label": 20, "generate__top_up": 0.2}
ALL = 1 + 2 * 10 + 2 * 10  # the canary; for each of two labels ten requests for two texts, and as many for verdicts


def settings(server: ChatServer, **changes: Any) -> dict[str, Any]:
    teacher = {"teacher__kind": "openai", "teacher__url": server.url, "teacher__concurrency": 4}
    return {**ASKED_FOR, **teacher, **changes}


def build(root: Path, server: ChatServer, *, seeds: dict[str, list[str]] = SEEDS, **changes: Any) -> Path:
    """Write a workspace whose cell is prepared and whose teacher is the server."""
    build_workspace(root, **settings(server, **changes))
    build_prepared(root / CELL / "prepared", seeds)
    return root


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(by_prompt=True) as running:
        yield running


def asked(chats: list[dict[str, Any]]) -> list[str]:
    """Return what tells the requests apart."""
    return [json.dumps([chat["messages"], chat["seed"], "response_format" in chat]) for chat in chats]


def journal_lines(workspace: Path) -> int:
    """Return how many replies are on disk."""
    path = workspace / JOURNAL
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def texts(workspace: Path) -> list[tuple[str, str]]:
    return [
        (row["label"], row["text"]) for row in read_rows(workspace / CELL / "generated" / "samples.parquet", SAMPLE)
    ]


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all was asked and answered, and nothing happened."""
    with chat_server(by_prompt=True) as server:
        workspace = build(tmp_path_factory.mktemp("whole") / "ws", server)
        code, said = run(workspace, "generate")
        assert (code, server.count()) == (0, ALL), said
    return workspace


@pytest.fixture
def uninterrupted(whole: Path) -> list[tuple[str, str]]:
    return texts(whole)


@pytest.fixture
def done(tmp_path: Path, server: ChatServer, whole: Path) -> Path:
    """The same, to go on with; the server has not been asked anything."""
    shutil.copytree(whole, tmp_path / "ws")
    return build(tmp_path / "ws", server)


# Killed


@pytest.mark.parametrize("answered", [0, 1, 2, 5, 13, 27, 40])
def test_a_killed_run_asks_again_only_what_was_under_way(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]], answered: int
) -> None:
    workspace = build(tmp_path / "ws", server)
    server.set(by_prompt=True, hold=answered)
    process = start(workspace, "generate")
    server.wait_for(answered + 1)
    wait_for(lambda: journal_lines(workspace) == answered, process)
    kill(process)
    before = asked(server.chats())
    assert len(before) <= answered + 4
    server.set(by_prompt=True)
    assert run(workspace, "generate")[0] == 0
    after = asked(server.chats())[len(before) :]
    assert set(after).isdisjoint(before[:answered])
    assert len(after) == ALL - answered
    assert texts(workspace) == uninterrupted


def test_a_run_that_is_killed_again_and_again_gets_there(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    workspace = build(tmp_path / "ws", server)
    while True:
        there = journal_lines(workspace)
        server.set(by_prompt=True, hold=14)
        process = start(workspace, "generate")
        wait_for(lambda: process.poll() is not None or journal_lines(workspace) >= there + 14, process)  # noqa: B023
        if journal_lines(workspace) == ALL:
            process.communicate(timeout=60)
            break
        kill(process)
    assert texts(workspace) == uninterrupted


def test_a_run_killed_while_verdicts_are_awaited_pays_no_text_twice(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    workspace = build(tmp_path / "ws", server)
    server.set(by_prompt=True, purpose="revise", hang=True)
    process = start(workspace, "generate")
    wait_for(lambda: len(of_purpose(server, "revise")) == 4, process)
    wait_for(lambda: journal_lines(workspace) == server.count() - 4, process)
    kill(process)
    written = of_purpose(server, "generate")
    assert len(written) >= 4
    before = server.count()
    server.set(by_prompt=True)
    assert run(workspace, "generate")[0] == 0
    assert server.count() - before == ALL - (before - 4)
    assert len(set(of_purpose(server, "generate"))) == len(of_purpose(server, "generate")) == 20
    assert texts(workspace) == uninterrupted


def of_purpose(server: ChatServer, purpose: str) -> list[str]:
    return asked([c for c in server.chats() if c.get("response_format", {}).get("json_schema", {})["name"] == purpose])


def test_killed_and_gone_on_with_at_another_place_with_another_concurrency(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    workspace = build(tmp_path / "ws", server)
    server.set(by_prompt=True, hold=11)
    process = start(workspace, "generate")
    wait_for(lambda: journal_lines(workspace) == 11, process)
    kill(process)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    workspace.rename(moved)
    with chat_server(by_prompt=True) as other:  # the same model, behind another address
        build(moved, other, teacher__concurrency=1, teacher__timeout_s=7.0)
        assert run(moved, "generate")[0] == 0
        assert other.count() == ALL - 11
    assert texts(moved) == uninterrupted


# What a crash leaves behind


def test_a_torn_last_line_is_dropped(done: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]) -> None:
    whole = (done / JOURNAL).read_bytes()
    (done / JOURNAL).write_bytes(whole[:-5])
    assert run(done, "generate")[0] == 0
    assert server.count() == 1
    assert journal_lines(done) == ALL
    assert texts(done) == uninterrupted


@pytest.mark.parametrize("number", [1, 2, 17])
def test_a_damaged_line_is_named_and_nothing_is_asked_or_touched(done: Path, server: ChatServer, number: int) -> None:
    lines = (done / JOURNAL).read_bytes().split(b"\n")
    lines[number - 1] = lines[number - 1][:20]
    (done / JOURNAL).write_bytes(b"\n".join(lines))
    before = digest(done)
    code, said = run(done, "generate")
    what = "no journal of version 1; move the file away" if number == 1 else "damaged ("
    assert (code, f"error: {JOURNAL}:{number}: {what}" in said, "Traceback" in said) == (2, True, False), said
    assert digest(done) == before
    assert server.count() == 0


# Another plan


def other_task(workspace: Path, change: Callable[[dict[str, Any]], None]) -> None:
    facts = read_json(workspace / CELL / "prepared" / "prepare.json")
    change(facts["task"])
    (workspace / CELL / "prepared" / "prepare.json").write_text(json.dumps(facts), encoding="utf-8")


OTHER_PROMPT = f"import polydistill.generate as g; g.prompt_hash = lambda purpose: 'other-' + purpose; {MAIN}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"teacher__model": "large"}, 'model was "tiny", is "large"', id="model"),
        pytest.param({"teacher__revision": "v2"}, 'revision was "", is "v2"', id="revision"),
        pytest.param({"generate__temperature": 0.9}, "temperature was 0.7, is 0.9", id="temperature"),
        pytest.param({"generate__seed": 2}, "seed was 1, is 2", id="seed"),
        pytest.param({"generate__texts_per_request": 4}, "texts_per_request was 2, is 4", id="texts a request"),
        pytest.param({"generate__seeds_per_request": 3}, "seeds_per_request was null, is 3", id="seeds a request"),
        pytest.param({"seeds": {**SEEDS, "hours": SEEDS["hours"][:-1]}}, 'seeds was "', id="seeds"),
    ],
)
def test_a_journal_of_other_parameters_is_refused(
    done: Path, server: ChatServer, changes: dict[str, Any], message: str
) -> None:
    build(done, server, **changes)
    refused(done, server, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda task: task.update(instruction="Sort it."),
            'instruction was "Classify the text.", is "Sort it."',
            id="instruction",
        ),
        pytest.param(
            lambda task: task["labels"][0].update(description="wants to come"),
            'labels was [["book", "texts about book"], ["hours", "texts about hours"]], '
            'is [["book", "wants to come"], ["hours", "texts about hours"]]',
            id="what a label means",
        ),
        pytest.param(
            lambda task: task["labels"].append({"name": "other", "description": "else"}),
            '["other", "else"]]',
            id="labels",
        ),
    ],
)
def test_a_journal_of_another_task_is_refused(
    done: Path, server: ChatServer, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    other_task(done, change)
    refused(done, server, message)


def test_a_journal_of_another_prompt_is_refused(done: Path, server: ChatServer) -> None:
    refused(done, server, '"revise": "other-revise"}', code=OTHER_PROMPT)


def refused(workspace: Path, server: ChatServer, message: str, **code: str) -> None:
    before = digest(workspace)
    status, said = run(workspace, "generate", **code)
    assert (status, "Traceback" in said) == (2, False), said
    assert f"error: {JOURNAL} holds {ALL - 1} paid replies of another plan: " in said
    assert message in said
    assert said.rstrip().endswith("Set that back to go on, or move the file away to start anew")
    assert digest(workspace) == before
    assert server.count() == 0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"teacher__concurrency": 1}, id="concurrency"),
        pytest.param({"teacher__max_tokens": 8000}, id="longer replies allowed"),
        pytest.param({"teacher__max_tokens": 10}, id="shorter replies allowed"),
        pytest.param({"teacher__tries": 1, "teacher__timeout_s": 1.0}, id="patience"),
        pytest.param({"budget__requests": ALL}, id="budget"),
        pytest.param({"filter__too_short__min_chars": 1}, id="what is usable"),
        pytest.param({"generate__top_up": 0.0}, id="topping up"),
        pytest.param({"train__seed": 9}, id="another step"),
    ],
)
def test_what_no_reply_depends_on_may_change(
    done: Path, server: ChatServer, uninterrupted: list[tuple[str, str]], changes: dict[str, Any]
) -> None:
    before = (done / JOURNAL).read_bytes()
    build(done, server, **changes)
    assert run(done, "generate")[0] == 0
    assert server.count() == 0
    assert (done / JOURNAL).read_bytes() == before
    assert texts(done) == uninterrupted


def test_more_texts_are_asked_for_on_top(done: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]) -> None:
    build(done, server, generate__texts_per_label=24)
    assert run(done, "generate")[0] == 0
    assert server.count() == 2 * 2 + 2 * 2
    assert len(texts(done)) == 48
    assert set(uninterrupted) < set(texts(done))
    build(done, server)
    assert run(done, "generate")[0] == 0
    assert server.count() == 8
    assert texts(done) == uninterrupted


def test_a_higher_limit_asks_again_only_what_was_cut_off(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    server.set(by_prompt=True, purpose="generate", first=3, cut_off=True)
    workspace = build(tmp_path / "ws", server, teacher__max_tokens=100)
    assert run(workspace, "generate")[0] == 0
    cut_off = of_purpose(server, "generate")[:3]
    assert read_json(workspace / CELL / "generated" / "usage.json")["unreadable"] == {"cut_off": 3}
    asked_before = server.count()
    assert run(workspace, "generate")[0] == 0
    assert server.count() == asked_before
    build(workspace, server, teacher__max_tokens=200)
    assert run(workspace, "generate")[0] == 0
    again = asked(server.chats())[asked_before:]
    assert set(again) & set(of_purpose(server, "generate")) == set(cut_off)
    assert len(again) == 3 + 3  # and verdicts on what is whole now
    assert texts(workspace) == uninterrupted


def test_another_strategy_has_a_journal_of_its_own(done: Path, server: ChatServer) -> None:
    def add_facets(task: dict[str, Any]) -> None:
        values = ["ena", "dve"]
        task["facets"] = {name: values for name in ("lengths", "registers", "speakers")}
        task["facets"]["topics"] = dict.fromkeys(SEEDS, values)

    before = (done / JOURNAL).read_bytes()
    other_task(done, add_facets)
    build_workspace(done, **settings(server, generate__strategy="diverse"))
    assert run(done, "generate")[0] == 0
    assert (done / JOURNAL).read_bytes() == before
    assert (done / JOURNAL).with_name("diverse.jsonl").exists()
    assert len(texts(done)) >= 40
    there = server.count()
    other_task(done, lambda task: task["facets"]["speakers"].append("tri"))
    code, said = run(done, "generate")
    assert (code, "diverse.jsonl holds" in said, "facets was" in said) == (2, True, True), said
    assert server.count() == there


def test_recorded_replies_stand_beside_those_of_a_server(done: Path, server: ChatServer) -> None:
    recording, recorded = done / "data" / "demo" / "sl" / "recording.jsonl", JOURNAL.with_name("recorded-plain.jsonl")
    paid, written = (done / JOURNAL).read_bytes(), texts(done)
    code, said = run(done, "generate", "--record", "tape.jsonl")
    assert (code, server.count()) == (0, 0), said
    build_workspace(done, **ASKED_FOR)
    for model in ("tiny", "other"):  # another recording is another plan
        tape = (done / "tape.jsonl").read_text(encoding="utf-8")
        recording.write_text(tape.replace('"model": "tiny"', f'"model": "{model}"'), encoding="utf-8")
        code, said = run(done, "generate")
        assert (code, texts(done)) == (0, written), said
        assert f'"model": "{model}"' in (done / recorded).read_text(encoding="utf-8").partition("\n")[0]
        assert (done / JOURNAL).read_bytes() == paid
    build(done, server)
    assert run(done, "generate")[0] == 0
    assert (texts(done), server.count()) == (written, 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda tape: tape.write_text("my notes\n"), "tape/r.jsonl:1: not JSON", id="no recording"),
        pytest.param(lambda tape: tape.parent.chmod(0o555), "cannot write tape/r.jsonl: Permission", id="read-only"),
    ],
)
def test_a_bad_target_of_a_recording_is_told_before_anything_is_asked(
    tmp_path: Path, server: ChatServer, spoil: Callable[[Path], Any], message: str
) -> None:
    workspace = build(tmp_path / "ws", server)
    (workspace / "tape").mkdir()
    spoil(workspace / "tape" / "r.jsonl")
    code, said = as_user(workspace, "generate", "--record", "tape/r.jsonl")
    (workspace / "tape").chmod(0o755)
    assert (code, message in said, "Traceback" in said, server.count()) == (2, True, False, 0), said


# Two at once


def test_a_second_process_stops_at_once_and_touches_nothing(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    workspace = build(tmp_path / "ws", server)
    server.set(by_prompt=True, hold=9)
    process = start(workspace, "generate")
    wait_for(lambda: journal_lines(workspace) == 9, process)
    server.wait_for(13)
    before = digest(workspace)
    code, said = run(workspace, "generate")
    in_use = "is in use by another process; wait until it has ended, or stop it, and run again"
    assert (code, said) == (2, f"error: {JOURNAL.parent} {in_use}\n")
    assert digest(workspace) == before
    assert server.count() == 13
    server.release()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert server.count() == ALL
    assert texts(workspace) == uninterrupted


def test_a_second_process_is_told_before_the_first_has_a_reply(tmp_path: Path, server: ChatServer) -> None:
    workspace = build(tmp_path / "ws", server)
    server.set(by_prompt=True, hold=0)
    process = start(workspace, "generate")
    server.wait_for(1)
    code, said = run(workspace, "generate")
    assert (code, "is in use by another process" in said) == (2, True)
    server.release()
    assert process.wait(timeout=60) == 0
    process.communicate()
    assert journal_lines(workspace) == ALL


# A disk that takes no more


def whole_lines(path: Path) -> int:
    content = path.read_bytes()
    assert content.endswith(b"\n")
    return len([json.loads(line) for line in content.splitlines()]) - 1


# Python ignores SIGXFSZ, so a write beyond the limit fails as one to a full disk does, after a part was taken. The
# model that tells languages is unpacked into a temporary file, which is to go well.
LIMITED = f"""
import resource
from polydistill.language import language_code
language_code("sl")
resource.setrlimit(resource.RLIMIT_FSIZE, ({{0}}, {{0}}))
{MAIN}
"""


@pytest.mark.parametrize("most_bytes", [10, 3_000, 8_001])
def test_a_full_disk_is_told_and_gone_on_from(
    tmp_path: Path, server: ChatServer, uninterrupted: list[tuple[str, str]], most_bytes: int
) -> None:
    workspace = build(tmp_path / "ws", server)
    code, said = run(workspace, "generate", code=LIMITED.format(most_bytes))
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (code, len(errors), "Traceback" in said) == (2, 1, False), said
    assert "File too large; check its permissions and the disk's space" in errors[0]
    there = 0
    if most_bytes > 1_000:
        assert f"cannot write {JOURNAL}: " in errors[0]
        there = whole_lines(workspace / JOURNAL)
        assert 0 < there < ALL
    assert not (workspace / CELL / "generated" / "samples.parquet").exists()
    before = server.count()
    # Four workers have at most eight replies on the way to the disk in one write, and as many behind that or under way
    # to the server; after the error nothing is sent.
    assert before <= there + 8 + 8
    assert run(workspace, "generate")[0] == 0
    assert server.count() - before == ALL - there
    assert texts(workspace) == uninterrupted


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 KiB, where root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a file system")
    if subprocess.run([mount, "-t", "tmpfs", "-o", "size=12k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_really_full_and_then_is_not(
    tmp_path: Path, tiny_disk: Path, server: ChatServer, uninterrupted: list[tuple[str, str]]
) -> None:
    workspace = build(tmp_path / "ws", server)
    (workspace / CELL / "generated").symlink_to(tiny_disk)
    code, said = run(workspace, "generate")
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert (code, len(errors), "Traceback" in said) == (2, 1, False), said
    assert "No space left on device; check its permissions and the disk's space" in errors[0]
    there = whole_lines(workspace / JOURNAL)
    assert 0 < there < ALL
    assert not [name for name in files_in(tiny_disk) if "partial" in name]
    before = server.count()
    subprocess.run(["mount", "-o", "remount,size=10m", tiny_disk], check=True)
    assert run(workspace, "generate")[0] == 0
    assert server.count() - before == ALL - there
    assert texts(workspace) == uninterrupted
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    code, said = run(workspace, "generate")
    read_only = f"error: cannot write {LOCK}: Read-only file system; check its permissions and the disk's space\n"
    assert (code, said) == (2, read_only)


@pytest.mark.parametrize(
    ("path", "mode", "message"),
    [
        pytest.param(CELL, 0o555, f"cannot write {JOURNAL}: Permission denied", id="the cell's folder"),
        pytest.param(CELL / "generated" / "journal", 0o555, f"cannot write {LOCK}: Permission denied", id="its folder"),
        pytest.param(JOURNAL, 0o444, f"cannot write {JOURNAL}: Permission denied", id="the journal"),
        pytest.param(JOURNAL, 0o000, f"cannot write {JOURNAL}: Permission denied", id="unreadable"),
    ],
)
def test_what_may_not_be_written_is_told_before_anything_is_asked(
    tmp_path: Path, server: ChatServer, path: Path, mode: int, message: str
) -> None:
    workspace = build(tmp_path / "ws", server)
    if path == JOURNAL:
        (workspace / path).parent.mkdir(parents=True)
        (workspace / path).touch()
    (workspace / path).mkdir(parents=True, exist_ok=True) if path != JOURNAL else None
    (workspace / path).chmod(mode)
    try:
        code, said = as_user(workspace, "generate")
    finally:
        (workspace / path).chmod(0o755)
    assert (code, f"error: {message}" in said, "Traceback" in said) == (2, True, False), said
    assert server.count() == 0
    assert run(workspace, "generate")[0] == 0


# DVC


def test_dvc_keeps_the_journal_when_it_runs_the_step_again(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_dvc(tmp_path / "ws", server)
    dvc(workspace, "repro", "--quiet")
    assert server.count() == ALL
    build(workspace, server, filter__too_long__max_chars=1999, generate__texts_per_label=22)
    dvc(workspace, "repro", "--quiet")
    assert server.count() == ALL + 2 + 2
    assert journal_lines(workspace) == ALL + 4
    assert len(texts(workspace)) == 44
    (workspace / CELL / "generated" / "samples.parquet").unlink()
    dvc(workspace, "repro", "--quiet")
    assert server.count() == ALL + 4


def test_what_a_failed_run_of_dvc_paid_for_stays(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_dvc(tmp_path / "ws", server, budget__requests=15)
    with pytest.raises(subprocess.CalledProcessError):
        dvc(workspace, "repro", "--quiet")
    assert journal_lines(workspace) == 15
    build(workspace, server)
    dvc(workspace, "repro", "--quiet")
    assert server.count() == ALL


def test_an_experiment_of_dvc_does_not_bring_an_older_journal_back(tmp_path: Path, server: ChatServer) -> None:
    workspace = build_dvc(tmp_path / "ws", server, no_scm=False, generate__texts_per_label=8)
    dvc(workspace, "repro", "--quiet")
    for command in ("add --all", "-c user.name=a -c user.email=a@b commit --quiet --message=first"):
        subprocess.run(["git", *command.split()], cwd=workspace, check=True)
    of_first = server.count()
    build(workspace, server, budget__requests=of_first + 4)
    with pytest.raises(subprocess.CalledProcessError):
        dvc(workspace, "repro", "--quiet")
    assert journal_lines(workspace) == of_first + 4
    build(workspace, server)
    dvc(workspace, "exp", "run", "--quiet")
    assert (journal_lines(workspace), server.count()) == (ALL, ALL)


def build_dvc(root: Path, server: ChatServer, *, no_scm: bool = True, **changes: Any) -> Path:
    """Write a workspace with a dvc.yaml of the one step."""
    build(root, server, **changes)
    stage = yaml.safe_load(render_workspace("dvc.yaml", recorded=False))["stages"]["generate"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"generate": stage}}), encoding="utf-8")
    (root / ".gitignore").write_text("/work/\n", encoding="utf-8")
    if not no_scm:
        subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    dvc(root, "init", *["--no-scm"] * no_scm, "--quiet")
    dvc(root, "config", "core.analytics", "false")
    return root


def dvc(workspace: Path, *arguments: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["dvc", *arguments], cwd=workspace, env={**os.environ, "PATH": path}, check=True)
