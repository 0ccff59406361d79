import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from asks import NO_LIMITS, budget, lines_of, teacher_params
from chat_server import ChatServer, chat_server
from polydistill.errors import DataError, TeacherError
from polydistill.facets import append_facets, facets_request, read_facets, require_no_facets, run_facets
from polydistill.task import Facets, Task, load_task
from polydistill.teachers import Reply
from spaces import TASK, write_yaml

DEMO = Task.model_validate(TASK)
ANSWER = {
    "lengths": ["a few words", "one sentence"],
    "registers": ["formal", "colloquial"],
    "speakers": ["a parent", "a student"],
    "topics": {"book": ["the dentist", "a check-up"], "hours": ["weekends", "the laboratory"]},
}
FACETS = Facets.model_validate(ANSWER)


def answer(**changes: Any) -> str:
    return json.dumps({**ANSWER, **changes})


def read(reply: str) -> Facets:
    return read_facets(Reply(reply, "stop"), DEMO)


def seeds_of(server: ChatServer) -> list[int]:
    """Return the seeds of all requests."""
    return [chat["seed"] for chat in server.chats()]


def test_the_request_tells_the_task_and_asks_for_topics_of_each_label() -> None:
    request = facets_request(DEMO)
    assert (request.id, request.purpose) == ("facets/demo/0", "facets")
    assert "- hours: asks when the clinic is open" in request.content
    assert "Slovenian, Azerbaijani" in request.content
    assert '"topics": {"book": ["...", "..."], "hours": ["...", "..."]}}' in request.content
    assert request.schema is not None
    assert request.schema["properties"]["topics"]["required"] == ["book", "hours"]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer(), id="as asked"),
        pytest.param(f"Sure! {{Here}} they are:\n```json\n{answer()}\n```\nAnything else? {{}}", id="chatty"),
        pytest.param(f"<think>lengths... {{}}</think>{answer()}", id="thoughts"),
        pytest.param(answer(mood=["good", "bad"]), id="another facet"),
        pytest.param(answer(topics={**ANSWER["topics"], "other": ["x", "y"]}), id="another label"),  # type: ignore[dict-item]
    ],
)
def test_facets_are_read_whatever_stands_around_them(reply: str) -> None:
    assert read(reply) == FACETS


def test_what_cannot_be_used_is_left_out() -> None:
    speakers = [
        "a parent",
        "  A  Parent. ",
        "",
        "---",
        7,
        None,
        ["a nurse"],
        "x" * 121,
        "a\0b",
        "half \ud83d",
        "hidden\u202e",
        "a\nstudent",
    ]
    assert read(answer(speakers=speakers)).speakers == ["a parent", "a student"]


def test_of_a_list_without_end_the_first_values_are_taken() -> None:
    assert read(answer(lengths=[f"{i} words" for i in range(1_000)])).lengths[-1] == "19 words"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        pytest.param("", "the reply is empty", id="empty"),
        pytest.param("I cannot help with that.", "no JSON object", id="refusal"),
        pytest.param("[1, 2]", "no JSON object", id="list"),
        pytest.param(answer()[:-30], "the JSON in the reply is not valid", id="cut off"),
        pytest.param('{"lengths": ' + "[" * 100_000, "the reply is one piece over and over", id="deep"),
        pytest.param('{"topics": {}, "lengths": ' + "9" * 5_000 + "}", "lengths 0", id="endless number"),
        pytest.param(" " * 1_000_001, "the reply is longer than 1,000,000 characters", id="huge"),
        pytest.param("{}", "the reply is not of the form that was asked for", id="nothing in it"),
        pytest.param(answer() + answer(), "the reply answers twice", id="twofold"),
        pytest.param('{"topics": {}}', "lengths 0, registers 0, speakers 0, topics.book 0, topics.hours 0", id="none"),
        pytest.param(answer(lengths=["a word"]), "usable values in lengths 1, and 2 are needed", id="one length"),
        pytest.param(answer(lengths="short, long"), "lengths 0", id="no list"),
        pytest.param(answer(topics=["a", "b"]), "topics.book 0, topics.hours 0", id="topics of no label"),
        pytest.param(answer(topics={"book": ["a", "b"]}), "topics.hours 0", id="label missing"),
        pytest.param(answer(registers=["Formal", "formal!"]), "registers 1", id="one twice"),
    ],
)
def test_a_reply_without_facets_is_told(reply: str, message: str) -> None:
    with pytest.raises(TeacherError) as error:
        read(reply)
    assert message in str(error.value)


HAND_WRITTEN = """\
# Mine.
name: demo   # the folder
labels:
  - {name: book, description: wants an appointment}

  - {name: hours, description: "asks when the clinic is open"}
instruction: >
  Messages to a clinic,
  by what they want.
languages: [sl, az] # more to come"""


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(HAND_WRITTEN, id="no line break at the end"),
        pytest.param(HAND_WRITTEN + "\n\n# The end.\n", id="comment at the end"),
        pytest.param("\ufeff---\n" + HAND_WRITTEN + "\n", id="byte-order mark"),
        pytest.param(HAND_WRITTEN.replace("\n", "\r\n") + "\r\n", id="line breaks of Windows"),
    ],
)
def test_facets_are_added_behind_what_is_there(tmp_path: Path, before: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(before.encode())
    append_facets(path, FACETS)
    after = path.read_bytes().decode()
    assert after.startswith(before)
    assert "\n" not in after.replace("\r\n", "") if "\r" in before else "\r" not in after
    assert load_task(path).facets == FACETS
    assert "facets:" in after.splitlines()
    assert [entry.name for entry in tmp_path.iterdir()] == ["task.yaml"]


def test_values_that_mean_something_in_yaml_stay_what_they_are(tmp_path: Path) -> None:
    odd = ["no", "7", "- a: b # c", "'quoted\"", "💊 zdravilo", "jakožto", "x" * 120]
    write_yaml(tmp_path / "task.yaml", TASK)
    append_facets(tmp_path / "task.yaml", FACETS.model_copy(update={"speakers": odd}))
    facets = load_task(tmp_path / "task.yaml").facets
    assert facets is not None
    assert facets.speakers == odd
    assert "💊 zdravilo" in (tmp_path / "task.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("there", [pytest.param(ANSWER, id="facets"), pytest.param(None, id="an empty key")])
def test_facets_that_are_there_are_never_replaced(tmp_path: Path, there: Any) -> None:
    path = tmp_path / "task.yaml"
    write_yaml(path, {**TASK, "facets": there})
    before = path.read_bytes()
    for refused in (lambda: append_facets(path, FACETS), lambda: require_no_facets(path)):
        with pytest.raises(DataError, match="edit them there, or delete the block `facets` to have new ones"):
            refused()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(yaml.safe_dump(TASK) + "...\n", id="end of the document"),
        pytest.param(json.dumps(TASK), id="braces"),
        pytest.param("".join(f"  {line}\n" for line in yaml.safe_dump(TASK).splitlines()), id="all further right"),
    ],
)
def test_a_file_that_does_not_go_on_at_its_end_is_left_alone(tmp_path: Path, before: str) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(before, encoding="utf-8")
    with pytest.raises(DataError, match=r"put this among its keys yourself:\nfacets:\n  lengths:\n  - a few words"):
        append_facets(path, FACETS)
    assert path.read_text(encoding="utf-8") == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["task.yaml"]


def test_a_server_that_takes_no_schema_is_asked_without_one(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    write_yaml(path, TASK)
    with chat_server(reject_schema=True) as server:
        run_facets(path, tmp_path / "facets.jsonl", teacher_params(server), NO_LIMITS)
    assert ["response_format" in chat for chat in server.chats()] == [True, False]
    assert load_task(path).facets is not None
    assert not (tmp_path / "facets.jsonl").exists()


def test_a_reply_of_no_use_is_kept_and_another_asked_for(tmp_path: Path) -> None:
    path, journal = tmp_path / "task.yaml", tmp_path / "facets.jsonl"
    write_yaml(path, TASK)
    with chat_server(content="I would rather not.") as server:
        for said in (1, 2):
            with pytest.raises(TeacherError, match="no JSON object"):
                run_facets(path, journal, teacher_params(server), NO_LIMITS)
            assert seeds_of(server) == list(range(said))
        server.set()
        run_facets(path, journal, teacher_params(server), NO_LIMITS)
        assert seeds_of(server) == [0, 1, 2]
    assert load_task(path).facets is not None
    assert not journal.exists()


def test_a_reply_that_was_not_written_to_the_task_is_not_paid_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, journal = tmp_path / "task.yaml", tmp_path / "facets.jsonl"
    write_yaml(path, TASK)
    with chat_server() as server:
        with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
            killed.setattr("polydistill.facets.append_facets", interrupted)
            run_facets(path, journal, teacher_params(server), NO_LIMITS)
        assert load_task(path).facets is None
        run_facets(path, journal, teacher_params(server), NO_LIMITS)
        assert server.count() == 1
    assert load_task(path).facets is not None


def test_after_a_reply_of_no_use_another_model_may_be_tried(tmp_path: Path) -> None:
    path, journal = tmp_path / "task.yaml", tmp_path / "facets.jsonl"
    write_yaml(path, TASK)
    with chat_server(content="I would rather not.") as server:
        with pytest.raises(TeacherError, match="no JSON object"):
            run_facets(path, journal, teacher_params(server, model="small"), NO_LIMITS)
        server.set()
        run_facets(path, journal, teacher_params(server, model="large"), NO_LIMITS)
        assert seeds_of(server) == [0, 0]
    assert load_task(path).facets is not None


def test_a_reply_that_is_cut_off_says_what_to_raise(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    write_yaml(path, TASK)
    with chat_server(cut_off=True) as server, pytest.raises(TeacherError, match=r"; raise params\.yaml:teacher\.max_t"):
        run_facets(path, tmp_path / "facets.jsonl", teacher_params(server), NO_LIMITS)
    (line,) = lines_of(tmp_path / "facets.jsonl")
    assert line["faults"] == ["cut_off"]


def test_the_budget_holds_over_all_runs(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    write_yaml(path, TASK)
    with chat_server(content="I would rather not.") as server:
        for message in ("no JSON object", "no JSON object", "budget.requests 2 is reached"):
            with pytest.raises(TeacherError, match=message):
                run_facets(path, tmp_path / "facets.jsonl", teacher_params(server), budget(requests=2))
        assert server.count() == 2


def test_what_a_killed_run_left_is_not_taken_for_new_facets(tmp_path: Path) -> None:
    path, journal = tmp_path / "task.yaml", tmp_path / "facets.jsonl"
    write_yaml(path, {**TASK, "facets": ANSWER})
    journal.write_text("replies that stand in the file already")
    run_facets(path, journal, teacher_params(), NO_LIMITS, named=False)
    assert not journal.exists()
    assert load_task(path).facets == FACETS


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("status", "count"), [(400, 2), (401, 1), (503, 2)])
def test_a_server_that_answers_nothing_is_not_asked_for_ever(tmp_path: Path, status: int, count: int) -> None:
    path = tmp_path / "task.yaml"
    write_yaml(path, TASK)
    before = path.read_bytes()
    with chat_server(status=status) as server, pytest.raises(TeacherError, match=f"HTTP {status}"):
        run_facets(path, tmp_path / "facets.jsonl", teacher_params(server, tries=2), NO_LIMITS)
    assert server.count() == count
    assert path.read_bytes() == before
