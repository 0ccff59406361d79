import json
import logging
from pathlib import Path
from typing import Any

import pytest

from chat_server import chat_server
from polydistill.errors import DataError, PolydistillError
from polydistill.files import digest, read_json
from polydistill.generate import plan_generation, plan_revision, run_generate, usage_by_purpose
from polydistill.params import GenerateParams, PrepareParams, TeacherParams, check
from polydistill.prepare import run_prepare
from polydistill.prompts import prompt_hash
from polydistill.records import SAMPLE, Record, Source, read_rows
from polydistill.task import Task
from polydistill.teachers import Reply
from spaces import GENERATED, SEEDS, TASK, build_workspace, recorded_replies, settings, write_replies

SEED_RECORDS = [Record(text, label, "sl", "seed", Source()) for label in SEEDS for text in SEEDS[label]]


def generate_params(**changes: Any) -> GenerateParams:
    return check(GenerateParams, settings()["generate"] | changes, "test")


def generate(root: Path, replies: dict[str, str] | None = None, **changes: Any) -> Path:
    """Generate with a recorded teacher that gives these replies; return the folder written."""
    if not root.exists():
        build_workspace(root)
        inputs = root / "data" / "demo"
        run_prepare(inputs, "sl", root / "prepared", root / "heldout", PrepareParams(seeds_per_label=2, allow_leaks=[]))
    write_replies(root / "recording.jsonl", recorded_replies() if replies is None else replies)
    teacher = check(TeacherParams, settings()["teacher"], "test")
    run_generate(root / "prepared", root / "recording.jsonl", root / "generated", generate_params(**changes), teacher)
    return root / "generated"


def samples(generated: Path) -> list[dict[str, Any]]:
    return read_rows(generated / "samples.parquet", SAMPLE)


def test_every_label_gets_its_quota_in_parts() -> None:
    params = generate_params(texts_per_label=5, texts_per_request=2)
    requests = plan_generation(Task.model_validate(TASK), "sl", SEED_RECORDS, params)
    assert [request.id for request in requests] == [f"generate/{label}/{n}" for label in SEEDS for n in range(3)]
    assert ["Write 2 new" in r.content for r in requests[:3]] == [True, True, False]
    assert "Write 1 new" in requests[2].content
    assert "part 3 of 3" in requests[2].content


def test_a_prompt_holds_what_the_teacher_must_know() -> None:
    first, *_, last = plan_generation(Task.model_validate(TASK), "sl", SEED_RECORDS, generate_params())
    for said in ("Messages to a clinic", "Slovenian (sl)", "book (wants an appointment)", *SEEDS["book"]):
        assert said in first.content
    assert not any(text in first.content for text in SEEDS["hours"])
    assert all(text in last.content for text in SEEDS["hours"])


def test_each_prompt_has_its_seeds_in_an_order_of_its_own() -> None:
    seeds = [Record(f"seed {n}", "book", "sl", "seed", Source()) for n in range(10)]
    requests = plan_generation(Task.model_validate(TASK), "sl", seeds, generate_params(texts_per_label=20))
    orders = [[line for line in r.content.splitlines() if line.startswith("- seed")] for r in requests[:10]]
    assert len({tuple(order) for order in orders}) == 10
    assert len({tuple(sorted(order)) for order in orders}) == 1
    again = plan_generation(Task.model_validate(TASK), "sl", seeds, generate_params(texts_per_label=20))
    assert again == requests


def test_what_is_written_is_judged_label_by_label() -> None:
    written = {"generate/book/0": ["ena", "dve"], "generate/hours/1": [], "generate/hours/2": ["tri"]}
    requests = plan_revision(Task.model_validate(TASK), "sl", written, generate_params())
    assert [request.id for request in requests] == ["revise/book/0", "revise/hours/2"]
    assert "1. ena\n2. dve\n" in requests[0].content
    assert "clearly has the label book" in requests[0].content


def test_texts_are_kept_with_their_verdicts_and_where_they_come_from(tmp_path: Path) -> None:
    verdicts = [{"number": 1, "accept": False, "reason": "too stiff"}, {"number": 2, "accept": True, "reason": ""}]
    replies = recorded_replies() | {
        "revise/book/0": json.dumps({"verdicts": verdicts}),
        "revise/hours/1": "no idea",
    }
    rows = samples(generate(tmp_path / "ws", replies))
    assert [row["text"] for row in rows] == [text for parts in GENERATED.values() for part in parts for text in part]
    assert [row["verdict"] for row in rows] == [False, True, True, True, True, True, None, None]
    assert rows[0]["verdict_reason"] == "too stiff"
    assert (rows[5]["label"], rows[5]["language"], rows[5]["origin"]) == ("hours", "sl", "synthetic")
    assert rows[5]["source"] == {
        "file": None,
        "line": None,
        "teacher": "tape",
        "prompt": prompt_hash("generate"),
        "request": "generate/hours/0",
        "position": 1,
    }


def test_usage_says_what_was_asked_and_what_is_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replies = recorded_replies() | {"generate/book/1": '{"texts": ["cut o'}
    usage = read_json(generate(tmp_path / "ws", replies) / "usage.json")
    assert usage["teacher"] == {"kind": "recorded", "model": "tape"}
    assert {purpose: facts["requests"] for purpose, facts in usage["purposes"].items()} == {"generate": 4, "revise": 3}
    assert [entry["request"] for entry in usage["unreadable"]] == ["generate/book/1"]
    assert usage["shortfall"] == {"book": 2}
    assert "reply to generate/book/1 could not be read: broken JSON" in caplog.messages


def test_tokens_are_summed_where_all_are_counted() -> None:
    replies = {"generate/a/0": Reply("x", None, 3, 1), "generate/a/1": Reply("y", None, 4, 0), "revise/a/0": Reply("z")}
    assert usage_by_purpose(replies | {"revise/a/1": Reply("z", None, 1, 1)}) == {
        "generate": {"requests": 2, "prompt_tokens": 7, "completion_tokens": 1},
        "revise": {"requests": 2, "prompt_tokens": None, "completion_tokens": None},
    }


def test_without_self_revision_nothing_is_judged(tmp_path: Path) -> None:
    generated = generate(tmp_path / "ws", self_revision=False)
    assert {row["verdict"] for row in samples(generated)} == {None}
    assert list(read_json(generated / "usage.json")["purposes"]) == ["generate"]


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(tmp_path: Path) -> None:
    first = digest(generate(tmp_path / "ws"))
    assert digest(generate(tmp_path / "ws")) == first
    assert digest(generate(tmp_path / "elsewhere")) == first


def test_labels_may_hold_slashes(tmp_path: Path) -> None:
    task = {**TASK, "labels": [{"name": "science/technology", "description": "d"}, {"name": "b", "description": "d"}]}
    requests = plan_revision(
        Task.model_validate(task), "sl", {"generate/science/technology/4": ["x"]}, generate_params()
    )
    assert requests[0].id == "revise/science/technology/4"
    assert "clearly has the label science/technology" in requests[0].content


def test_a_teacher_that_writes_no_text_fails_and_leaves_the_last_good_samples(tmp_path: Path) -> None:
    before = (generate(tmp_path / "ws") / "samples.parquet").read_bytes()
    replies = {id: "Sorry, I cannot do that." for id in recorded_replies()}
    with pytest.raises(PolydistillError, match=r"none of 4 replies held a text: \{'no JSON': 4\}; is recorded a chat"):
        generate(tmp_path / "ws", replies)
    assert (tmp_path / "ws" / "generated" / "samples.parquet").read_bytes() == before


def test_more_texts_than_recorded_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reply to generate/book/2 \(2 others of its kind\); ask for no more than"):
        generate(tmp_path / "ws", texts_per_label=6)


def test_what_was_prepared_must_be_there(tmp_path: Path) -> None:
    teacher = check(TeacherParams, settings()["teacher"], "test")
    with pytest.raises(DataError, match=r"prepare\.json is missing; run `polydistill prepare` first"):
        run_generate(tmp_path / "p", tmp_path / "r", tmp_path / "g", generate_params(), teacher)
    assert not (tmp_path / "g").exists()


def test_a_server_writes_as_a_recording_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    generate(tmp_path / "ws")
    with chat_server() as server:
        teacher = check(TeacherParams, settings()["teacher"] | {"kind": "openai", "url": server.url}, "test")
        for _ in range(2):
            run_generate(tmp_path / "ws" / "prepared", Path("none"), tmp_path / "served", generate_params(), teacher)
    assert len(server.chats) == 8
    rows = samples(tmp_path / "served")
    assert (len(rows), {row["verdict"] for row in rows}) == (8, {True})
    assert read_json(tmp_path / "served" / "usage.json")["purposes"]["generate"] == {
        "requests": 4,
        "prompt_tokens": 28,
        "completion_tokens": 12,
    }
    assert "8 texts from 4 replies of tiny" in caplog.messages
