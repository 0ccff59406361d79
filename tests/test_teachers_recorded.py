import json
from dataclasses import replace
from pathlib import Path

import pytest

from asks import ASKED, PLAN, Fake, asked, lines_of, numbered, teacher_params
from chat_server import chat_server
from polydistill.errors import DataError, TeacherError
from polydistill.prompts import Purpose
from polydistill.teachers import (
    ChatRequest,
    Failure,
    Journal,
    Outcome,
    Reply,
    check_target,
    open_journal,
    record,
    write_recording,
)
from polydistill.teachers.recorded import RecordedTeacher

HEADER = '{"recording": 1, "purposes": {"generate": {"model": "tape"}}}'
JUDGED = ChatRequest("revise/book/0", "revise", "Judge them.", 0.0, 1)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def journal_of(path: Path, *outcomes: tuple[str, Reply | Failure]) -> Path:
    """Write a journal as a run with a real teacher leaves it."""
    with Journal(path, PLAN) as opened:
        for id, outcome in outcomes:
            request = replace(ASKED, id=id)
            opened.write([opened.encode(request, request.digest("m", ""), outcome, (), 100)])
    return path


def test_a_recording_answers_by_id_whatever_is_asked(tape: Path, journal: Path) -> None:
    replies: dict[str, Outcome] = {
        "generate/book/0": Reply("da\u2028ne\x85", "stop"),
        "generate/a/b/0": Reply("lone \ud800"),
    }
    write_recording(tape, {"generate": "tape"}, replies.items())
    requests = [ASKED, replace(ASKED, id="generate/a/b/0", content="quite another prompt")]
    for _ in range(2):
        assert asked(teacher_params(), requests, journal, recording=tape) == replies


def test_all_that_is_known_of_a_reply_is_recorded(tape: Path) -> None:
    outcomes: dict[str, Outcome] = {
        "generate/a/0": Reply("", "length", 0, 7, "refusal"),
        "generate/a/1": Failure("HTTP 500"),
    }
    write_recording(tape, {"generate": "tape"}, outcomes.items(), structured=False)
    teacher = RecordedTeacher(tape)
    teacher.read()
    assert (teacher.outcomes, teacher.structured, teacher.models) == (outcomes, False, {"generate": "tape"})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        pytest.param(
            None, "params.yaml:teacher.kind is `recorded`, which replays that file; restore it, or", id="none"
        ),
        pytest.param([], "recording.jsonl:1: not JSON", id="empty"),
        pytest.param(['{"id": "x", "reply": "y"}'], "recording.jsonl:1: no recording of version 1", id="no header"),
        pytest.param(['{"recording": 2}'], "recording.jsonl:1: no recording of version 1", id="other version"),
        pytest.param(['{"recording": 1}'], "recording.jsonl:1: names no models", id="no purposes"),
        pytest.param(['{"recording": 1, "purposes": ["generate"]}'], "recording.jsonl:1: names no models", id="list"),
        pytest.param([HEADER, '{"id": "x", "re'], "recording.jsonl:2: not JSON", id="torn"),
        pytest.param([HEADER, '{"id": ' + "9" * 5000 + "}"], "recording.jsonl:2: not JSON", id="number"),
        pytest.param([HEADER, '{"id": ' + "[" * 100_000], "recording.jsonl:2: not JSON", id="deep"),
        pytest.param([HEADER, "[]"], "recording.jsonl:2: not a JSON object", id="no object"),
        pytest.param([HEADER, '{"id": "x"}'], "recording.jsonl:2: `id` or `reply` is missing", id="no reply"),
        pytest.param([HEADER, '{"id": "x", "reply": null}'], "recording.jsonl:2: `id` or `reply`", id="null"),
        pytest.param(
            [HEADER, '{"id": "generate/book/7", "reply": "x"}'],
            "recording.jsonl holds no reply to generate/book/0 (1 others of its kind); ask for no more than",
            id="not recorded",
        ),
    ],
)
def test_a_bad_recording_is_said(tape: Path, journal: Path, lines: list[str] | None, message: str) -> None:
    if lines is not None:
        write_lines(tape, *lines)
    with pytest.raises(DataError) as error:
        asked(teacher_params(), [ASKED], journal, recording=tape)
    assert message in str(error.value)


def test_a_purpose_that_was_not_recorded_is_said(tape: Path, journal: Path) -> None:
    write_lines(tape, HEADER)
    with pytest.raises(DataError, match=r"the recorded teacher holds no replies for 'revise'; it has \['generate'\]"):
        asked(teacher_params(), [JUDGED], journal, recording=tape)


def test_a_changed_recording_is_asked_again(tape: Path, journal: Path) -> None:
    for said in ("da", "ne"):
        write_lines(tape, HEADER, json.dumps({"id": ASKED.id, "reply": said}))
        assert asked(teacher_params(), [ASKED], journal, recording=tape) == {ASKED.id: Reply(said)}


def test_a_count_of_tokens_that_is_none_is_left_out(tape: Path, journal: Path) -> None:
    odd = {"prompt_tokens": -1, "completion_tokens": 10**400}
    write_lines(tape, HEADER, json.dumps({"id": ASKED.id, "reply": "da", **odd}))
    assert asked(teacher_params(), [ASKED], journal, recording=tape) == {ASKED.id: Reply("da")}


def test_a_run_that_was_recorded_replays_to_the_same(tmp_path: Path, tape: Path) -> None:
    requests = numbered(6)
    with chat_server(rules=[{"match": "<2>", "refusal": True}, {"match": "<4>", "status": 400}]) as server:
        live = asked(teacher_params(server), requests, tmp_path / "live.jsonl")
    with Journal(tmp_path / "live.jsonl", PLAN) as opened:
        record(tape, opened, {"generate": "tiny"}, structured=True)
    replayed = asked(teacher_params(), requests, tmp_path / "replayed.jsonl", recording=tape)
    assert list(replayed) == [request.id for request in requests]
    for id, outcome in live.items():
        again = replayed[id]
        if isinstance(outcome, Failure):
            assert isinstance(again, Failure)
            assert (again.cause, again.refused) == (outcome.cause, True)
        else:
            assert again == replace(outcome, seconds=0.0, tries=1)
    faults = [{row["id"]: row.get("faults") for row in lines_of(tmp_path / name)} for name in FILES]
    assert faults[0] == faults[1]


FILES = ("live.jsonl", "replayed.jsonl")


def test_what_is_recorded_of_other_purposes_stays_but_for_verdicts_on_other_texts(tmp_path: Path, tape: Path) -> None:
    before = {
        "generate/book/0": Reply("old"),
        "generate/book/9": Reply("old"),
        "zero-shot/ab12": Reply("book"),
        "revise/book/0": Reply("yes"),
    }
    write_recording(
        tape, {"generate": "old", "zero-shot": "other", "revise": "judge"}, before.items(), structured=False
    )
    path = journal_of(
        tmp_path / "j.jsonl",
        ("canary/0", Reply('{"word": "canary"}')),
        ("generate/book/0", Failure("HTTP 500")),
        ("generate/book/0", Reply("new", "stop", 3, 4)),
        ("generate/book/1", Failure("HTTP 400: no", True)),
    )
    with Journal(path, PLAN) as opened:
        models: dict[Purpose, str] = {"generate": "new", "revise": "new", "canary": "new"}
        record(tape, opened, models, structured=True)
    teacher = RecordedTeacher(tape)
    teacher.read()
    assert teacher.outcomes == {
        "zero-shot/ab12": Reply("book"),
        "generate/book/0": Reply("new", "stop", 3, 4),
        "generate/book/1": Failure("HTTP 400: no"),
    }
    assert teacher.models == {"generate": "new", "zero-shot": "other"}
    assert teacher.structured is True


def test_the_options_of_an_answer_stay_and_go_with_it(tmp_path: Path, tape: Path) -> None:
    before = {"zero-shot/ab12": Reply("2"), "icl/ef56/ab12": Reply("1")}
    shown = {"zero-shot/ab12": ["book", "hours"], "icl/ef56/ab12": ["hours", "book"]}
    write_recording(tape, {"zero-shot": "m", "icl": "m"}, before.items(), options=shown)
    with Journal(journal_of(tmp_path / "j.jsonl", ("zero-shot/ab12", Reply("book"))), PLAN) as opened:
        record(tape, opened, {"zero-shot": "m"})  # of an answer to a prompt without numbers
    teacher = RecordedTeacher(tape)
    teacher.read()
    assert teacher.outcomes == {"zero-shot/ab12": Reply("book"), "icl/ef56/ab12": Reply("1")}
    assert teacher.options == {"icl/ef56/ab12": ["hours", "book"]}


@pytest.mark.parametrize("structured", [True, False])
def test_what_did_not_depend_on_the_format_leaves_it_as_it_was(tmp_path: Path, tape: Path, structured: bool) -> None:
    write_recording(tape, {"generate": "m"}, [("generate/book/0", Reply("1. da"))], structured=structured)
    with Journal(journal_of(tmp_path / "j.jsonl", ("zero-shot/ab12", Reply("book"))), PLAN) as opened:
        record(tape, opened, {"zero-shot": "m"})
    teacher = RecordedTeacher(tape)
    teacher.read()
    assert (teacher.structured, len(teacher.outcomes)) == (structured, 2)


def test_a_file_that_is_no_recording_is_not_overwritten(tmp_path: Path, tape: Path) -> None:
    tape.write_text("my notes\n", encoding="utf-8")
    with (
        Journal(journal_of(tmp_path / "j.jsonl", ("generate/book/0", Reply("da"))), PLAN) as opened,
        pytest.raises(DataError, match=r"recording\.jsonl:1: not JSON"),
    ):
        record(tape, opened, {"generate": "m"})
    assert tape.read_text(encoding="utf-8") == "my notes\n"


def test_what_a_recording_says_fits_into_any_file(tape: Path, journal: Path) -> None:
    half = "\\ud800\\u0000"
    write_lines(
        tape,
        f'{{"recording": 1, "purposes": {{"generate": {{"model": "m{half}"}}}}}}',
        f'{{"id": "generate/book/0", "failed": "HTTP {half}"}}',
        f'{{"id": "generate/book/1", "reply": "da", "finish_reason": "s{half}", "fault": ["{half}"]}}',
    )
    teacher = RecordedTeacher(tape)
    teacher.read()
    assert teacher.models == {"generate": "m\ufffd"}
    failed, replied = asked(teacher_params(), numbered(2), journal, recording=tape).values()
    assert failed == Failure("HTTP \ufffd", refused=True)  # which took no time
    assert isinstance(replied, Reply)
    assert (replied.finish_reason, replied.fault) == ("s\ufffd", "['\\ud800\\x00']")


# Where to


def test_what_can_be_recorded_to_is_known_before(tmp_path: Path, tape: Path) -> None:
    check_target(None)
    check_target(tmp_path / "new" / "folder" / "tape.jsonl")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    write_lines(tape, HEADER)
    check_target(tape)
    assert tape.read_text(encoding="utf-8") == f"{HEADER}\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("notes.txt", r"notes\.txt:1: not JSON"),
        ("folder", r"cannot read .*/folder: Is a directory"),
        ("notes.txt/tape.jsonl", r"cannot write .*/notes\.txt/tape\.jsonl: "),
    ],
)
def test_what_cannot_be_recorded_to_is_said(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("my notes\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        check_target(tmp_path / name)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "my notes\n"


@pytest.mark.parametrize("stopped", [TeacherError("no more"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_error_while_recording_does_not_hide_what_stopped_the_run(
    tmp_path: Path, tape: Path, stopped: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    journal_of(tmp_path / "journal" / "plain.jsonl", ("generate/book/0", Reply("da")))
    tape.write_text("my notes\n", encoding="utf-8")  # while it was asking
    with pytest.raises(type(stopped)) as raised, open_journal(tmp_path, "plain", PLAN, Fake(), tape, strategy="plain"):
        raise stopped
    assert raised.value is stopped
    assert "the replies were not recorded: " in caplog.text
    with (
        pytest.raises(DataError, match="not JSON"),
        open_journal(tmp_path, "plain", PLAN, Fake(), tape, strategy="plain"),
    ):
        pass


def test_what_came_before_an_error_is_recorded(tmp_path: Path, tape: Path) -> None:
    journal_of(tmp_path / "journal" / "plain.jsonl", ("generate/book/0", Reply("da")))
    with (
        pytest.raises(TeacherError, match="no more"),
        open_journal(tmp_path, "plain", PLAN, Fake(), tape, strategy="plain"),
    ):
        raise TeacherError("no more")
    recorded = RecordedTeacher(tape)
    recorded.read()
    assert recorded.outcomes == {"generate/book/0": Reply("da")}


def test_all_requests_that_failed_when_recorded_fail_again(tape: Path, journal: Path) -> None:
    write_recording(tape, {"generate": "tape"}, [(r.id, Failure("HTTP 500")) for r in numbered(3)])
    with pytest.raises(TeacherError, match=r"all 3 requests failed: HTTP 500 \(3×\)"):
        asked(teacher_params(), numbered(3), journal, recording=tape)
