"""What a volume keeps when a pod is ended, and who may use it at the same time."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from build import build_prepared, records
from components.train.component import train as train_component
from polydistill.cluster import scratch
from polydistill.cluster.scratch import VARIABLE, kept_journal, kept_trainings
from polydistill.errors import DataError
from polydistill.files import digest
from polydistill.params import BudgetParams, TeacherParams, TrainParams, check, to_struct
from polydistill.records import write_records
from polydistill.students.linear import LinearStudent
from polydistill.teachers.base import ChatRequest, Reply
from polydistill.teachers.journal import Journal
from spaces import GENERATED, SEEDS, TEST, settings

TEACHER = {"kind": "openai", "url": "http://teacher:8000/v1", "concurrency": 64}
SECTIONS = settings(train__runs=2)
TRAIN = to_struct(check(TrainParams, SECTIONS["train"], "test"))
OF_TEACHER = to_struct(check(TeacherParams, SECTIONS["teacher"], "test"))
BUDGET = to_struct(check(BudgetParams, SECTIONS["budget"], "test"))


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "volume"))
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


def ask(
    output: Path, reply: str, *inputs: object, teacher: dict[str, object] = TEACHER, ended: bool = False
) -> list[str]:
    """Do as a step does: add a reply to the journal; return the replies that are there."""
    with kept_journal(output, "generate", "clinic/sl", teacher, *inputs):
        file = output / "journal" / "plain.jsonl"
        with file.open("a") as journal:
            journal.write(f"{reply}\n")
        if ended:
            raise KeyboardInterrupt
        return file.read_text().split()


def test_replies_outlive_a_pod_that_is_ended(volume: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(tmp_path / "first", "one", "digest", ended=True)
    assert ask(tmp_path / "second", "two", "digest") == ["one", "two"]
    kept = tmp_path / "second" / "journal"
    assert not kept.is_symlink() and (kept / "plain.jsonl").read_text() == "one\ntwo\n"


def test_other_inputs_have_another_journal_and_how_fast_the_teacher_is_is_none(volume: Path, tmp_path: Path) -> None:
    ask(tmp_path / "a", "one", "digest")
    assert ask(tmp_path / "b", "two", "other digest") == ["two"]
    assert ask(tmp_path / "c", "two", "digest", teacher=TEACHER | {"model": "other"}) == ["two"]
    assert ask(tmp_path / "d", "two", "digest", teacher=TEACHER | {"concurrency": 8}) == ["one", "two"]


def ask_with_prompt(output: Path, prompt: str, said: str) -> list[str | None]:
    """Do as a step does that asks with this prompt and pays for one reply; return those that it found."""
    request = ChatRequest("generate/a/0", "generate", "write", 0.7, 1)
    with (
        kept_journal(output, "generate", "clinic/sl", TEACHER, "digest"),
        Journal(output / "journal" / "plain.jsonl", {"prompts": prompt}) as journal,
    ):
        found = journal.get("0a")
        line = journal.encode(request, "0a", Reply(said, "stop", 1, 1), (), 512)
        journal.write([line])
        return [found and found.text]


@pytest.mark.parametrize(
    ("name", "value"), [("__version__", "99.0"), ("prompt_hash", lambda purpose: f"another {purpose}")]
)
def test_after_an_upgrade_replies_of_another_plan_stand_beside(
    name: str, value: object, volume: Path, tmp_path: Path
) -> None:
    ask_with_prompt(tmp_path / "before", "old", "one")
    with pytest.MonkeyPatch.context() as upgrade:
        upgrade.setattr(scratch, name, value)
        assert ask_with_prompt(tmp_path / "after", "new", "two") == [None]
        assert ask_with_prompt(tmp_path / "again", "new", "three") == ["two"]
    assert ask_with_prompt(tmp_path / "gone back", "old", "two") == ["one"]


def train(work: Path, *, accepted: str = "a", student: str = "linear", **changes: object) -> str:
    """Run the component on texts that `accepted` tells from others; return the digest of what was trained."""
    prepared = build_prepared(work / "prepared", SEEDS, test=TEST)
    texts = {label: [f"{text} {accepted}" for part in parts for text in part] for label, parts in GENERATED.items()}
    write_records(work / "filtered" / "accepted.parquet", records(texts))
    artifacts = {
        name: dsl.Dataset(name=name, uri=str(folder))
        for name, folder in {"data": work, "prepared": prepared, "filtered": work / "filtered"}.items()
    }
    return str(
        train_component.python_func(
            **artifacts,
            prepared_digest=digest(prepared),
            filtered_digest=digest(work / "filtered"),
            student=student,
            params=TRAIN | changes,
            teacher=OF_TEACHER,
            budget=BUDGET,
            trained=dsl.Model(name="trained", uri=str(work / "trained")),
        )
    )


def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(LinearStudent, "fit", fit)


def test_trainings_outlive_their_pod_and_no_other_run_deletes_them(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(tmp_path / "first")
    other_settings = train(tmp_path / "other settings", linear=TRAIN["linear"] | {"max_word_ngram": 1})
    other_texts = train(tmp_path / "other texts", accepted="b")
    assert len({first, other_settings, other_texts}) == 3
    nothing_is_trained(monkeypatch)
    assert train(tmp_path / "again") == first
    assert train(tmp_path / "again", jobs=3, students=["linear", "icl"]) == first  # which change no training
    train(tmp_path / "fewer", runs=1)  # what is left of them is there already


def test_without_a_volume_trainings_stand_beside_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    first = train(tmp_path)
    assert (tmp_path / "trained-finished" / "runs.jsonl").exists()
    nothing_is_trained(monkeypatch)
    assert train(tmp_path) == first


def test_two_runs_train_the_same_in_turn_and_others_at_once(
    volume: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def keep(name: str, of_texts: str, said: list[str]) -> None:
        with kept_trainings(tmp_path / name, "clinic/sl", "linear", TRAIN, OF_TEACHER, of_texts) as finished:
            with (finished / "runs.jsonl").open("a") as runs:
                runs.write(f"{name}\n")
            said.append((finished / "runs.jsonl").read_text())

    def hears(record: logging.LogRecord) -> bool:
        waits.set()
        return True

    waits = threading.Event()
    same: list[str] = []
    other: list[str] = []
    caplog.set_level(logging.INFO)
    scratch.log.addFilter(hears)
    second = threading.Thread(target=keep, args=("second", "digest", same))
    others = threading.Thread(target=keep, args=("other", "another digest", other))
    try:
        with kept_trainings(tmp_path / "first", "clinic/sl", "linear", TRAIN, OF_TEACHER, "digest") as finished:
            others.start()
            others.join(30)
            assert other == ["other\n"]
            second.start()
            assert waits.wait(30)
            (finished / "runs.jsonl").write_text("first\n")
    finally:
        scratch.log.removeFilter(hears)
        second.join(30)
    assert same == ["first\nsecond\n"] and "waiting for it" in caplog.text


def test_a_pod_with_the_same_inputs_waits(volume: Path, tmp_path: Path) -> None:
    entered, go_on, second = threading.Event(), threading.Event(), []

    def first_pod() -> None:
        with kept_journal(tmp_path / "a", "generate", "clinic/sl", TEACHER, "digest"):
            entered.set()
            go_on.wait(30)
            (tmp_path / "a" / "journal" / "plain.jsonl").write_text("one\n")

    one = threading.Thread(target=first_pod)
    other = threading.Thread(target=lambda: second.extend(ask(tmp_path / "b", "two", "digest")))
    one.start()
    entered.wait(30)
    other.start()
    go_on.set()
    one.join(30)
    other.join(30)
    assert second == ["one", "two"]


def test_without_a_volume_nothing_is_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "a" / "journal").mkdir(parents=True)
    assert ask(tmp_path / "a", "one", "digest") == ["one"]


def test_a_volume_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot write .*generate/clinic/sl"):
        ask(tmp_path / "a", "one", "digest")
