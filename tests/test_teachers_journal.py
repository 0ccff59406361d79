import asyncio
import errno
import fcntl
import json
import os
import stat
import tracemalloc
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polydistill.errors import DataError, TeacherError
from polydistill.files import digest
from polydistill.params import BudgetParams, TeacherParams, check
from polydistill.prompts import Purpose
from polydistill.teachers import ChatRequest, Failure, Journal, Outcome, Reply, Teacher, ask_all
from polydistill.teachers.journal import Usage, journal_path
from spaces import settings

ASKED = ChatRequest("generate/book/0", "generate", "Write two texts.", 0.7, 1, {"type": "object"})
PLAN = {"model": "m", "temperature": 0.7, "labels": {"book": "wants an appointment"}}


class Parrot:
    """A teacher that repeats the prompt, and notes what it is asked."""

    kind = "parrot"
    structured: bool | None = True

    def __init__(self, model: str = "m", revision: str = "") -> None:
        self.models: Mapping[Purpose, str] = {"generate": model}
        self.revision = revision
        self.asked: list[str] = []

    async def complete(self, request: ChatRequest) -> Reply:
        self.asked.append(request.id)
        if request.content == "fail":
            raise TeacherError("no more")
        return Reply(request.content, "stop", 1, 2)

    async def __aenter__(self) -> "Parrot":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def parrot_says(
    path: Path, requests: Sequence[ChatRequest], teacher: Parrot | None = None, **changes: Any
) -> tuple[dict[str, Outcome], list[str]]:
    """Return what came of the requests, and the ids of those that were really asked."""
    parrot = teacher or Parrot()
    typed: Teacher = parrot
    params = check(TeacherParams, settings()["teacher"] | {"concurrency": 1, **changes}, "test")
    budget = check(BudgetParams, settings()["budget"], "test")
    with Journal(path, {}) as journal:
        found = asyncio.run(ask_all(requests, typed, journal, params, budget))
    return found, parrot.asked


def numbered(*contents: str) -> list[ChatRequest]:
    return [replace(ASKED, id=f"generate/book/{n}", content=content) for n, content in enumerate(contents)]


def keep(journal: Journal, request: ChatRequest, outcome: Outcome, *faults: str, max_tokens: int = 100) -> str:
    """Bring an outcome to disk and let it count; return the digest of the request."""
    of_request = request.digest("m", "")
    [offset] = journal.write([journal.encode(request, of_request, outcome, faults, max_tokens)])
    journal.note(request.id, of_request, outcome, faults, offset)
    return of_request


def fill(path: Path, *contents: str) -> list[bytes]:
    """Write a journal with a reply of each content; return its lines."""
    with Journal(path, PLAN) as journal:
        for request in numbered(*contents):
            keep(journal, request, Reply(request.content, "stop", 1, 2))
    return path.read_bytes().splitlines(keepends=True) if contents else []


# What is asked again


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    requests = numbered("a", "b", "c")
    first = parrot_says(tmp_path / "j.jsonl", requests[:2])
    second = parrot_says(tmp_path / "j.jsonl", requests)
    again = parrot_says(tmp_path / "j.jsonl", requests)
    assert (first[1], second[1], again[1]) == (["generate/book/0", "generate/book/1"], ["generate/book/2"], [])
    assert [outcome.text for outcome in again[0].values() if isinstance(outcome, Reply)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("request_", "teacher"),
    [
        pytest.param(replace(ASKED, content="Write 2 texts."), Parrot(), id="prompt"),
        pytest.param(replace(ASKED, temperature=0.8), Parrot(), id="temperature"),
        pytest.param(replace(ASKED, seed=2), Parrot(), id="seed"),
        pytest.param(replace(ASKED, schema=None), Parrot(), id="schema"),
        pytest.param(replace(ASKED, id="generate/hours/0"), Parrot(), id="id"),
        pytest.param(ASKED, Parrot(model="other"), id="model"),
        pytest.param(ASKED, Parrot(revision="other"), id="revision"),
    ],
)
def test_what_changed_is_asked_again(tmp_path: Path, request_: ChatRequest, teacher: Parrot) -> None:
    parrot_says(tmp_path / "j.jsonl", [ASKED])
    assert parrot_says(tmp_path / "j.jsonl", [request_], teacher)[1] == [request_.id]
    assert parrot_says(tmp_path / "j.jsonl", [ASKED])[1] == []


def test_what_is_only_noted_beside_a_request_changes_nothing(tmp_path: Path) -> None:
    parrot_says(tmp_path / "j.jsonl", [replace(ASKED, about={"seeds": ["x"]})])
    assert parrot_says(tmp_path / "j.jsonl", [replace(ASKED, about={"seeds": ["y"]}, count=9)])[1] == []


@pytest.mark.parametrize("content", ["č \ud800 \u2028 \x00", "two\nlines\r\n", "", "x" * 300_000])
def test_any_reply_comes_back_as_it_was(tmp_path: Path, content: str) -> None:
    reply = Reply(content, "stop", 7, None, seconds=1.5, tries=3)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        of_request = keep(journal, ASKED, reply)
        assert journal.get(of_request) == reply
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert journal.get(of_request) == reply
        assert journal.get("0" * 16) is None


def test_replies_before_an_error_stay(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="no more"):
        parrot_says(tmp_path / "j.jsonl", numbered("a", "b", "fail", "c"))
    asked = parrot_says(tmp_path / "j.jsonl", numbered("a", "b", "good", "c"))[1]
    assert asked == ["generate/book/2", "generate/book/3"]


def test_a_failure_is_noted_and_asked_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        of_request = keep(journal, ASKED, Failure("HTTP 500", False, 2.0, 6))
        assert (journal.get(of_request), len(journal)) == (None, 0)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert (journal.get(of_request), len(journal)) == (None, 0)
        keep(journal, ASKED, Reply("da", "stop", 5, 1))
        assert journal.get(of_request) == Reply("da", "stop", 5, 1)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert journal.get(of_request) == Reply("da", "stop", 5, 1)
        used = journal.usage["generate"]
        assert (used.requests, used.retries, used.failed, used.failures) == (2, 5, 1, {"HTTP 500": 1})


@pytest.mark.parametrize(
    ("finish_reason", "limit", "counts"),
    [
        ("length", 100, True),
        ("length", 99, True),
        ("length", 101, False),
        ("length", None, True),
        ("stop", 999, True),
        (None, 999, True),
    ],
)
def test_a_reply_that_was_cut_off_counts_up_to_its_limit(
    tmp_path: Path, finish_reason: str | None, limit: int | None, counts: bool
) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        of_request = keep(journal, ASKED, Reply("half", finish_reason), max_tokens=100)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert (journal.get(of_request, limit) is not None) is counts


def test_of_two_replies_to_a_request_the_later_counts(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        keep(journal, ASKED, Reply("half", "length"), max_tokens=10)
        of_request = keep(journal, ASKED, Reply("whole", "stop"))
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        reply = journal.get(of_request, 999)
        assert (reply and reply.text, len(journal)) == ("whole", 1)


# What it holds


def test_a_line_tells_all_of_a_reply(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        of_request = keep(
            journal,
            replace(ASKED, about={"seeds": ["s1", "s2"]}),
            Reply("pol", "length", 3, 4, seconds=0.25, tries=2),
            "cut_off",
            max_tokens=100,
        )
        assert [row["id"] for row in journal.rows()] == [ASKED.id]
    header, line = map(json.loads, (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines())
    assert header == {"journal": 1, "paid": True, "plan": PLAN}
    assert line == {
        "id": "generate/book/0",
        "digest": of_request,
        "text": "pol",
        "finish_reason": "length",
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "max_tokens": 100,
        "faults": ["cut_off"],
        "seconds": 0.25,
        "tries": 2,
        "about": {"seeds": ["s1", "s2"]},
    }


def test_what_was_used_is_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        keep(journal, ASKED, Reply("da", "stop", 3, 4, seconds=0.5, tries=2), "fenced")
        keep(journal, replace(ASKED, id="generate/book/1"), Failure("HTTP 400: no", True, 0.25))
        keep(journal, ChatRequest("revise/book/0", "revise", "Judge.", 0.0, 1), Reply("x"))
        before = journal.usage
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert journal.usage == before
    assert before["generate"] == Usage(
        requests=2,
        retries=1,
        failed=1,
        prompt_tokens=3,
        completion_tokens=4,
        counted=(3, 4),
        seconds=0.75,
        faults=Counter(fenced=1),
        failures=Counter({"HTTP 400: no": 1}),
    )
    assert (before["revise"].prompt_tokens, before["revise"].completion_tokens) == (None, None)


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    text = "č" * 1_000
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        lines = []
        for number in range(20_000):
            of_line = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"
            request = replace(ASKED, id=f"generate/book/{number}")
            lines.append(journal.encode(request, of_line, Reply(text, "stop", 1, 2), (), 100))
        journal.write(lines)
    del lines
    tracemalloc.start()
    try:
        with Journal(tmp_path / "j.jsonl", PLAN) as journal:
            assert (len(journal), journal.usage["generate"].requests) == (20_000, 20_000)
            now, peak = tracemalloc.get_traced_memory()
            reply = journal.get(of_line)
            assert reply and reply.text == text
    finally:
        tracemalloc.stop()
    assert now / 20_000 < 200  # bytes a line of two thousand
    assert peak / 20_000 < 300


# To disk before it counts


def test_a_reply_is_on_disk_before_anybody_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flushed = tmp_path / "j.jsonl", []

    def fsync(file: int) -> None:
        if stat.S_ISREG(os.fstat(file).st_mode):
            flushed.append(path.read_bytes())

    class Curious(Journal):
        def note(self, purpose: str, digest: str, outcome: Outcome, faults: Sequence[str], offset: int) -> None:
            assert flushed[-1][offset:].startswith(b'{"id": "generate/book/')
            super().note(purpose, digest, outcome, faults, offset)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(f"{__name__}.Journal", Curious)
    parrot_says(path, numbered("a", "b", "c"))
    assert flushed[-1].count(b"\n") == 4


def test_the_folder_is_told_of_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(stat.S_ISDIR(os.fstat(file).st_mode)))
    fill(tmp_path / "j.jsonl", "a", "b")
    fill(tmp_path / "j.jsonl", "c")
    assert flushed == [False, True, False, False]


def fail(number: int) -> Any:
    def failing(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return failing


def test_what_does_not_reach_the_disk_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fill(tmp_path / "j.jsonl", "a")
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        monkeypatch.setattr(os, "fsync", fail(errno.EIO))
        with pytest.raises(DataError, match=r"cannot write .*j\.jsonl: Input/output error; check its permissions and"):
            keep(journal, numbered("a", "b")[1], Reply("b"))
        assert (len(journal), journal.usage["generate"].requests) == (1, 1)
        assert (tmp_path / "j.jsonl").read_bytes() == b"".join(before)
        monkeypatch.undo()
        keep(journal, numbered("a", "b")[1], Reply("b"))
    assert len((tmp_path / "j.jsonl").read_bytes().splitlines()) == 3


class Full:
    """A file that takes the first so many bytes and then no more, as on a full disk."""

    def __init__(self, file: Any, room: int, truncates: bool) -> None:
        self.file, self.room, self.truncates = file, room, truncates

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written: int = self.file.write(data[: self.room])
        self.room -= written
        return written

    def truncate(self, size: int) -> None:
        if not self.truncates:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.file.truncate(size)

    def fileno(self) -> int:
        return int(self.file.fileno())

    def close(self) -> None:
        self.file.close()


@pytest.mark.parametrize("room", [0, 1, 50, 150])
@pytest.mark.parametrize("truncates", [True, False], ids=["taken back", "left behind"])
@pytest.mark.parametrize("there", [(), ("a",)], ids=["empty", "one there"])
def test_a_part_of_a_line_never_stands_between_others(
    tmp_path: Path, there: tuple[str, ...], truncates: bool, room: int
) -> None:
    path = tmp_path / "j.jsonl"
    fill(path, *there)
    *_, b, c = numbered(*there, "b" * 200, "c")
    with Journal(path, PLAN) as journal:
        full = Full(journal._out, room, truncates)
        journal._out = full  # type: ignore[assignment]
        with pytest.raises(DataError, match="No space left on device"):
            keep(journal, b, Reply("b" * 200))
        if not truncates:  # nor does it at the next try
            with pytest.raises(DataError, match="Input/output error"):
                keep(journal, c, Reply("c"))
        assert [row["text"] for row in journal.rows()] == [*there]
        full.room, full.truncates = 10_000, True
        of_request = keep(journal, c, Reply("c"))
        assert len(journal) == len(there) + 1
    with Journal(path, PLAN) as journal:
        assert journal.get(of_request) == Reply("c")
        assert [row["text"] for row in journal.rows()] == [*there, "c"]


def test_several_lines_are_written_at_once_and_each_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = numbered("a", "č" * 40, "c")
    digests = [request.digest("m", "") for request in requests]
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        lines = [
            journal.encode(request, of_request, Reply(request.content), (), 9)
            for request, of_request in zip(requests, digests, strict=True)
        ]
        offsets = journal.write(lines)
        for of_request, offset, line in zip(digests, offsets, lines, strict=True):
            assert (tmp_path / "j.jsonl").read_bytes()[offset:].startswith(line)
            journal.note("generate", of_request, Reply("?"), (), offset)
        assert [journal.get(of_request) for of_request in digests] == [Reply(r.content) for r in requests]


# What a crash leaves behind


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_last_line_is_dropped(tmp_path: Path, lost: int) -> None:
    requests = numbered("a", "b")
    parrot_says(tmp_path / "j.jsonl", requests)
    whole = (tmp_path / "j.jsonl").read_bytes()
    (tmp_path / "j.jsonl").write_bytes(whole[:-lost])
    assert parrot_says(tmp_path / "j.jsonl", requests)[1] == ["generate/book/1"]
    assert len((tmp_path / "j.jsonl").read_bytes().splitlines()) == 3


@pytest.mark.parametrize("tail", [b"\0" * 4096, b'{"id": "generate/book/1", "dig', b"\xff\xfe"])
def test_whatever_stands_at_the_end_without_a_line_break_goes(tmp_path: Path, tail: bytes) -> None:
    whole = b"".join(fill(tmp_path / "j.jsonl", "a"))
    (tmp_path / "j.jsonl").write_bytes(whole + tail)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert len(journal) == 1
    assert (tmp_path / "j.jsonl").read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b'{"journal": 1, "paid": tr'], ids=["empty", "torn"])
def test_a_journal_without_a_first_line_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j.jsonl").write_bytes(content)
    lines = fill(tmp_path / "j.jsonl", "a")
    assert lines[0].startswith(b'{"journal": 1, "paid": true, "plan": {"model"')
    assert len(lines) == 2


def test_a_first_line_alone_is_gone_on_from(tmp_path: Path) -> None:
    header, *_ = fill(tmp_path / "j.jsonl", "a")
    (tmp_path / "j.jsonl").write_bytes(header)
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert len(journal) == 0
    assert (tmp_path / "j.jsonl").read_bytes() == header
    assert len(fill(tmp_path / "j.jsonl", "b")) == 2


DAMAGE = [
    b"",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'{"id": 1}',
    b'{"id": "x", "digest"',
    b'{"id": "generate/book/0", "digest": "xyz", "text": "", "finish_reason": null, "prompt_tokens": 1}',
    b'{"id": "generate/book/0", "digest": "no hex", "text": "", "finish_reason": null, "prompt_tokens": 1, '
    b'"completion_tokens": 1}',
    b'{"id": "generate/book/0", "digest": "ab", "text": "", "finish_reason": null, "prompt_tokens": "1", '
    b'"completion_tokens": 1}',
    b'{"id": "generate/book/0", "digest": "ab", "failed": "HTTP 500"}',
    b"\xff",
    b"\0" * 50,
    b"[" * 100_000,
    b"9" * 10_000,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_damaged_line_is_named_and_nothing_touched(tmp_path: Path, damage: bytes, number: int) -> None:
    lines = fill(tmp_path / "j.jsonl", "a", "b", "c")
    lines[number - 1] = damage + b"\n"
    (tmp_path / "j.jsonl").write_bytes(b"".join(lines))
    with (
        pytest.raises(DataError, match=rf"j\.jsonl:{number}: damaged .*mend or delete this line and run again"),
        Journal(tmp_path / "j.jsonl", PLAN),
    ):
        pytest.fail("it was opened")
    assert (tmp_path / "j.jsonl").read_bytes() == b"".join(lines)


@pytest.mark.parametrize("damage", [b"", b"null", b"{}", b'{"id": "x", "digest"', b"\xff"])
def test_a_damaged_line_is_named_before_another_plan_is(tmp_path: Path, damage: bytes) -> None:
    lines = fill(tmp_path / "j.jsonl", "a", "b", "c")
    lines[2] = damage + b"\n"
    (tmp_path / "j.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=r"j\.jsonl:3: damaged "), Journal(tmp_path / "j.jsonl", {"another": "plan"}):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    "first",
    [
        b"text,label",
        b"{}",
        b"[]",
        b"null",
        b'{"journal": 2, "paid": true, "plan": {}}',
        b'{"journal": 1}',
        b'{"journal": 1, "plan": {}}',
        b'{"journal": 1, "paid": true, "plan": []}',
        b'{"recording": 1, "purposes": {}}',
        b"\xff",
    ],
)
def test_what_is_no_journal_is_left_alone(tmp_path: Path, first: bytes) -> None:
    (tmp_path / "j.jsonl").write_bytes(first + b"\n")
    with (
        pytest.raises(DataError, match=r"j\.jsonl:1: no journal of version 1; move the file away to start anew"),
        Journal(tmp_path / "j.jsonl", PLAN),
    ):
        pytest.fail("it was opened")
    assert (tmp_path / "j.jsonl").read_bytes() == first + b"\n"


# Whose it is


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({**PLAN, "model": "n"}, 'model was "m", is "n"'),
        ({**PLAN, "temperature": 0.8}, "temperature was 0.7, is 0.8"),
        ({**PLAN, "seed": 1}, "seed was not there, is 1"),
        ({"model": "m", "temperature": 0.7}, 'labels was {"book": "wants an appointment"}, is not there'),
        ({**PLAN, "labels": {"book": "želi"}}, 'labels was {"book": "wants an appointment"}, is {"book": "želi"}'),
        (
            {**PLAN, "model": "n", "labels": {}},
            'labels was {"book": "wants an appointment"}, is {}; model was "m", is "n"',
        ),
    ],
)
def test_a_paid_journal_of_another_plan_is_refused(tmp_path: Path, plan: dict[str, Any], message: str) -> None:
    before = b"".join(fill(tmp_path / "j.jsonl", "a", "b"))
    for paid in (True, False):
        with pytest.raises(DataError) as error, Journal(tmp_path / "j.jsonl", plan, paid=paid):
            pytest.fail("it was opened")
        assert "j.jsonl holds 2 paid replies of another plan: " in str(error.value)
        assert message in str(error.value)
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_a_paid_journal_does_not_make_room_for_a_recording_of_the_same_plan(tmp_path: Path) -> None:
    fill(tmp_path / "j.jsonl", "a")
    with (
        pytest.raises(DataError, match=r"another plan: recorded was false, is true\. Set that back"),
        Journal(tmp_path / "j.jsonl", PLAN, paid=False),
    ):
        pytest.fail("it was opened")


def test_a_journal_of_the_same_plan_in_another_order_goes_on(tmp_path: Path) -> None:
    fill(tmp_path / "j.jsonl", "a")
    with Journal(tmp_path / "j.jsonl", dict(reversed(PLAN.items()))) as journal:
        assert len(journal) == 1


@pytest.mark.parametrize(
    ("plan", "paid"), [({**PLAN, "model": "n"}, False), ({**PLAN, "model": "n"}, True), (PLAN, True)]
)
def test_free_replies_make_room_for_another_plan(tmp_path: Path, plan: dict[str, Any], paid: bool) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path, PLAN, paid=False) as journal:
        of_request = keep(journal, ASKED, Reply("free"))
    with Journal(path, PLAN, paid=False) as journal:
        assert len(journal) == 1
    with Journal(path, plan, paid=paid) as journal:
        assert (len(journal), journal.get(of_request), journal.usage) == (0, None, {})
        keep(journal, ASKED, Reply("new"))
    header = json.loads(path.read_bytes().splitlines()[0])
    assert (header["paid"], header["plan"]) == (paid, plan)


def test_a_journal_in_which_nothing_was_answered_makes_room_for_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path, PLAN) as journal:
        keep(journal, replace(ASKED, id="canary/0", purpose="canary"), Reply("no"))
        keep(journal, ASKED, Failure("HTTP 400: no such model", refused=True))
    with Journal(path, {**PLAN, "model": "the right one"}) as journal:
        assert (len(journal), journal.usage) == (0, {})


# One process at a time, and what is left at the end


def test_only_one_holds_it(tmp_path: Path) -> None:
    fill(tmp_path / "j.jsonl", "a")
    before = digest(tmp_path)
    with Journal(tmp_path / "j.jsonl", PLAN):
        with (
            pytest.raises(DataError, match="is in use by another process; wait until it has ended"),
            Journal(tmp_path / "j.jsonl", PLAN),
        ):
            pytest.fail("it was opened twice")
        assert digest(tmp_path) == before
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        assert len(journal) == 1


def test_the_second_does_not_take_away_the_file_of_the_first(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", PLAN) as journal:
        with pytest.raises(DataError, match="in use"), Journal(tmp_path / "j.jsonl", PLAN):
            pytest.fail("it was opened twice")
        keep(journal, ASKED, Reply("da"))
    assert len((tmp_path / "j.jsonl").read_bytes().splitlines()) == 2


def test_two_journals_of_a_folder_exclude_each_other(tmp_path: Path) -> None:
    before = fill(tmp_path / "a" / "one.jsonl", "a")
    with Journal(tmp_path / "a" / "one.jsonl", PLAN):
        with (
            pytest.raises(DataError, match=r"/a is in use by another process; wait until it has ended, or stop it, a"),
            Journal(tmp_path / "a" / "two.jsonl", PLAN),
        ):
            pytest.fail("it was opened beside the other")
        assert not (tmp_path / "a" / "two.jsonl").exists()
        assert len(fill(tmp_path / "b" / "one.jsonl", "a")) == 2
    assert len(fill(tmp_path / "a" / "two.jsonl", "a")) == 2
    assert (tmp_path / "a" / "one.jsonl").read_bytes() == b"".join(before)


def test_the_lock_stays_for_good_and_is_let_go_whatever_goes_wrong(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    fill(path, "a")
    lock = (tmp_path / ".lock").stat().st_ino
    with pytest.raises(DataError, match="another plan"), Journal(path, {}):
        pytest.fail("it was opened")
    with pytest.raises(RuntimeError), Journal(path, PLAN):
        raise RuntimeError
    assert len(fill(path, "b")) == 3
    assert (tmp_path / ".lock").stat().st_ino == lock


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", fail(errno.ENOLCK))
    with pytest.raises(DataError, match=r"cannot write .*/\.lock: No locks available"), Journal(tmp_path / "j", PLAN):
        pytest.fail("it was opened")


@pytest.mark.parametrize(("paid", "name"), [(True, "plain.jsonl"), (False, "recorded-plain.jsonl")])
def test_replies_of_a_recording_stand_beside_those_that_were_paid_for(tmp_path: Path, paid: bool, name: str) -> None:
    assert journal_path(tmp_path, "plain", paid=paid) == tmp_path / "journal" / name


def test_where_nothing_was_written_no_file_is_left(tmp_path: Path) -> None:
    with Journal(tmp_path / "new" / "j.jsonl", PLAN) as journal:
        assert len(journal) == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]
    with pytest.raises(RuntimeError), Journal(tmp_path / "new" / "j.jsonl", PLAN):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]


def test_what_was_there_is_left_when_nothing_is_added_or_all_goes_wrong(tmp_path: Path) -> None:
    before = b"".join(fill(tmp_path / "j.jsonl", "a"))
    with Journal(tmp_path / "j.jsonl", PLAN):
        pass
    with pytest.raises(RuntimeError), Journal(tmp_path / "j.jsonl", PLAN):
        raise RuntimeError
    assert (tmp_path / "j.jsonl").read_bytes() == before


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*j\.jsonl: Is a directory"), Journal(tmp_path / "j.jsonl", {}):
        pytest.fail("it was opened")
