"""What a volume keeps when a pod is ended, and who may use it at the same time."""

import threading
from pathlib import Path

import pytest

from polydistill.cluster.scratch import VARIABLE, kept_journal, scratch_folder
from polydistill.errors import DataError

TEACHER = {"kind": "openai", "url": "http://teacher:8000/v1", "concurrency": 64}


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
    assert scratch_folder("train", "clinic/sl", "linear") is None


def test_a_volume_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot write .*generate/clinic/sl"):
        ask(tmp_path / "a", "one", "digest")
