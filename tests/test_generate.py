import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chat_server import ChatServer, chat_server, sentence
from polydistill.errors import DataError, PolydistillError, TeacherError
from polydistill.files import digest, read_json
from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.params import Params, check
from polydistill.prepare import run_prepare
from polydistill.prompts import prompt_hash
from polydistill.records import SAMPLE, read_records, read_rows
from polydistill.teachers import asking
from spaces import (
    FACETS,
    GENERATED,
    TASK,
    build_workspace,
    prepare_params,
    recorded_replies,
    settings,
    write_replies,
    write_yaml,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare` makes of the cell demo/sl, with facets."""
    root = build_workspace(tmp_path_factory.mktemp("cell"))
    write_yaml(root / "data" / "demo" / "task.yaml", TASK | {"facets": FACETS})
    params = prepare_params(seeds_per_label=2, allow_leaks=[])
    run_prepare(root / "data" / "demo", "sl", root / "prepared", root / "heldout", params)
    return root / "prepared"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE_S", 0.001)


def params_of(server: ChatServer | None, **changes: Any) -> Params:
    """Return parameters for 4 texts a label, 2 a request and 4 requests at most; `changes` as in `settings`."""
    of_server: dict[str, Any] = {}
    if server is not None:
        of_server = {"teacher__kind": "openai", "teacher__url": server.url, "teacher__tries": 3, "generate__top_up": 1}
    return check(Params, settings(**of_server | changes), "test")


def generate(
    prepared: Path, folder: Path, params: Params, *, recording: Path = Path("none"), record_to: Path | None = None
) -> dict[str, Any]:
    """Run `generate` and return the usage."""
    sections = (params.generate, params.filter, params.teacher, params.budget)
    run_generate(prepared, recording, folder, *sections, record_to=record_to)
    usage: dict[str, Any] = read_json(folder / "usage.json")
    return usage


def replay(prepared: Path, folder: Path, replies: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """Run `generate` with a recorded teacher."""
    write_replies(folder.parent / "recording.jsonl", recorded_replies() if replies is None else replies)
    return generate(prepared, folder, params_of(None, **changes), recording=folder.parent / "recording.jsonl")


def samples(folder: Path) -> list[dict[str, Any]]:
    return read_rows(folder / "samples.parquet", SAMPLE)


def journal(folder: Path, strategy: str = "plain") -> list[dict[str, Any]]:
    lines = (folder / "journal" / f"{strategy}.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [json.loads(line) for line in lines[1:]]


def purposes(server: ChatServer) -> list[str]:
    """Return the purposes of the requests in the order in which they came."""
    return [body["response_format"]["json_schema"]["name"] for body in server.chats()]


# A recorded teacher.


def test_texts_are_kept_with_their_verdicts_and_where_they_come_from(prepared: Path, tmp_path: Path) -> None:
    rejected = {"language": True, "label": True, "natural": False, "decision": "reject", "text": "", "reason": "stiff"}
    repaired = rejected | {"decision": "repair", "text": "Prosim za kontrolo kolena.", "reason": "stilted"}
    replies = recorded_replies() | {
        "revise/book/0": json.dumps({"verdicts": [{"number": 1, **rejected}, {"number": 2, **repaired}]}),
        "revise/hours/1": "no idea",
    }
    replay(prepared, tmp_path / "generated", replies)
    rows = samples(tmp_path / "generated")
    written = [text for parts in GENERATED.values() for part in parts for text in part]
    assert [row["original"] or row["text"] for row in rows] == written
    assert [row["decision"] for row in rows] == ["reject", "repair", *["accept"] * 4, None, None]
    assert [row["verdict_reason"] for row in rows] == ["stiff", "stilted", "", "", "", "", "no_json", "no_json"]
    assert rows[1]["text"] == "Prosim za kontrolo kolena."
    assert [row["original"] for row in rows] == [None, written[1], *[None] * 6]
    assert rows[1]["source"]["repair"] == prompt_hash("revise")
    assert (rows[5]["label"], rows[5]["language"], rows[5]["origin"]) == ("hours", "sl", "synthetic")
    assert rows[5]["source"] == {
        "file": None,
        "line": None,
        "teacher": "tape",
        "prompt": prompt_hash("generate"),
        "request": "generate/hours/0",
        "position": 1,
        "repair": None,
    }


def test_usage_says_what_was_asked_and_what_is_short(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usage = replay(prepared, tmp_path / "generated", recorded_replies() | {"generate/book/1": '{"texts": ["cut o'})
    assert usage["schema_version"] == 2 and usage["complete"] is True
    assert usage["teacher"].items() >= {"kind": "recorded", "model": "tape", "structured": True}.items()
    assert {purpose: facts["requests"] for purpose, facts in usage["purposes"].items()} == {"generate": 4, "revise": 3}
    assert usage["purposes"]["generate"]["faults"] == usage["unreadable"] == {"broken_json": 1}
    assert usage["faults"] == {"broken_json": "the JSON in the reply is not valid"}
    assert usage["texts"] == {"wanted": 8, "written": 6, "usable": 6}
    assert usage["shortfall"] == {"book": {"missing": 2, "reasons": {"broken_json": 1}}}
    assert "book is 2 usable texts short: broken_json 1" in caplog.messages


def test_without_self_revision_nothing_is_judged(prepared: Path, tmp_path: Path) -> None:
    usage = replay(prepared, tmp_path / "generated", generate__self_revision=False)
    assert {row["decision"] for row in samples(tmp_path / "generated")} == {None}
    assert list(usage["purposes"]) == ["generate"]
    assert set(usage["judge"]["verdicts"].values()) == {0}


def test_a_recording_gives_the_same_bytes_each_time(prepared: Path, tmp_path: Path) -> None:
    replay(prepared, tmp_path / "generated")
    first = digest(tmp_path / "generated")
    replay(prepared, tmp_path / "generated")
    replay(prepared, tmp_path / "elsewhere")
    assert digest(tmp_path / "generated") == digest(tmp_path / "elsewhere") == first


def test_a_run_that_fails_leaves_no_samples_of_the_one_before(prepared: Path, tmp_path: Path) -> None:
    replay(prepared, tmp_path / "generated")
    assert (tmp_path / "generated" / "samples.parquet").exists()
    replies = {id: "Sorry, I cannot do that." for id in recorded_replies()}
    with pytest.raises(PolydistillError, match=r"no reply held a text: \{'no_json': 4\}; is tape a chat model\?"):
        replay(prepared, tmp_path / "generated", replies)
    assert not (tmp_path / "generated" / "samples.parquet").exists()
    assert read_json(tmp_path / "generated" / "usage.json")["complete"] is False


def test_a_recording_is_not_replayed_under_another_strategy(prepared: Path, tmp_path: Path) -> None:
    tape = tmp_path / "tape.jsonl"
    replay(prepared, tmp_path / "generated", generate__strategy="plain")
    with pytest.raises(DataError, match=r"replies by the strategy plain, and params\.yaml:generate\.strategy is div"):
        replay(prepared, tmp_path / "generated", generate__strategy="diverse")
    with chat_server() as server:
        generate(prepared, tmp_path / "asked", params_of(server, generate__strategy="diverse"), record_to=tape)
    assert json.loads(tape.read_text(encoding="utf-8").split("\n")[0])["strategy"] == "diverse"
    assert not (tmp_path / "generated" / "journal" / "recorded-diverse.jsonl").exists()


def test_more_texts_than_recorded_are_said(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no reply to generate/book/2 \(2 others of its kind\); ask for no more than"):
        replay(prepared, tmp_path / "generated", generate__texts_per_label=6)
    assert read_json(tmp_path / "generated" / "usage.json")["complete"] is False


def test_what_was_prepared_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prepare\.json is missing; run `polydistill prepare` first"):
        generate(tmp_path / "p", tmp_path / "g", params_of(None))
    assert not (tmp_path / "g").exists()


# A server.


def test_a_server_writes_the_texts_that_are_wanted(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with chat_server() as server:
        for _ in range(2):  # the second run asks nothing
            usage = generate(prepared, tmp_path / "generated", params_of(server))
        assert Counter(purposes(server)) == {"canary": 1, "generate": 4, "revise": 4}
    assert usage["texts"] == {"wanted": 8, "written": 8, "usable": 8}
    assert usage["teacher"] == {"kind": "openai", "model": "tiny", "revision": "", "structured": True}
    assert (usage["unusable"], usage["unreadable"], usage["shortfall"]) == ({}, {}, {})
    assert {row["decision"] for row in samples(tmp_path / "generated")} == {"accept"}
    told = "8 usable texts of 8 written, from 9 requests to tiny"
    assert caplog.messages[-2:] == [f"{told}, 9 of them in this run", f"{told}, 0 of them in this run"]


@pytest.mark.parametrize("strategy", ["plain", "diverse"])
def test_how_many_are_asked_at_once_changes_no_byte(prepared: Path, tmp_path: Path, strategy: str) -> None:
    changes = {"generate__strategy": strategy, "generate__texts_per_label": 12}
    found = []
    # Some texts are repeats and some replies are cut off, so that there is something to top up.
    odd = [{"purpose": "generate", "match": label, "cut_off": True} for label in ('"Kdaj odprete v soboto?"\n- ',)]
    with chat_server(by_prompt=True, judge="repair", rules=odd) as server:
        for concurrency in (1, 3, 16):
            params = params_of(server, teacher__concurrency=concurrency, **changes)
            generate(prepared, tmp_path / str(concurrency), params)
            found.append((tmp_path / str(concurrency) / "samples.parquet").read_bytes())
    assert found[0] == found[1] == found[2]


def test_more_texts_are_asked_for_beside_those_that_are_there(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        generate(prepared, tmp_path, params_of(server))
        before, asked = samples(tmp_path), server.count()
        generate(prepared, tmp_path, params_of(server, generate__texts_per_label=6))
        assert server.count() == asked + 4
    assert {row["id"] for row in before} < {row["id"] for row in samples(tmp_path)}


def test_another_self_revision_uses_the_texts_that_are_there(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        generate(prepared, tmp_path, params_of(server, generate__self_revision=False))
        before = samples(tmp_path)
        generate(prepared, tmp_path, params_of(server))
        assert Counter(purposes(server)) == {"canary": 1, "generate": 4, "revise": 4}
    assert [row["text"] for row in samples(tmp_path)] == [row["text"] for row in before]


def test_paid_replies_of_another_plan_stop_the_run(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        generate(prepared, tmp_path, params_of(server))
        with pytest.raises(DataError, match=r"8 paid replies of another plan: temperature was 0\.7, is 0\.9"):
            generate(prepared, tmp_path, params_of(server, generate__temperature=0.9))
        # Each strategy has a journal of its own.
        generate(prepared, tmp_path, params_of(server, generate__strategy="diverse", generate__temperature=0.9))


def test_a_run_is_recorded_and_replayed(prepared: Path, tmp_path: Path) -> None:
    with chat_server(judge="repair", rules=[{"purpose": "generate", "every": 3, "refusal": True}]) as server:
        generate(prepared, tmp_path / "live", params_of(server), record_to=tmp_path / "recording.jsonl")
    again = params_of(None, generate__top_up=1)
    generate(prepared, tmp_path / "replayed", again, recording=tmp_path / "recording.jsonl")
    assert samples(tmp_path / "replayed") == samples(tmp_path / "live")


def test_verdicts_are_asked_for_while_texts_are_still_written(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        generate(prepared, tmp_path, params_of(server, generate__texts_per_label=40, teacher__concurrency=2))
        asked = purposes(server)
    assert Counter(asked) == {"canary": 1, "generate": 40, "revise": 40}
    # No more replies than 4 x 2 wait for the disk, and verdicts go first.
    assert asked[:15].count("revise") > 0
    assert sum(one != other for one, other in zip(asked, asked[1:], strict=False)) > 10


def test_the_ledger_adds_up(prepared: Path, tmp_path: Path) -> None:
    prices = {"budget__prompt_price": 2, "budget__completion_price": 10}
    busy = {"purpose": "generate", "first": 2, "status": 503}
    lost = {"purpose": "revise", "match": "hours", "status": 400, "says": "too long"}
    with chat_server(rules=[busy, lost | {"match": "Label they were written for: hours"}], latency=0.01) as server:
        usage = generate(prepared, tmp_path, params_of(server, generate__top_up=0, **prices))
        bodies = {json.dumps(body): body["messages"][0]["content"] for body in server.chats()}  # retries are the same
    took = usage["purposes"]
    assert set(took) == {"canary", "generate", "revise"}
    assert {name: took["generate"][name] for name in ("requests", "retries", "failed")} == {
        "requests": 4,
        "retries": 2,
        "failed": 0,
    }
    texts = [row["text"] for row in journal(tmp_path) if row["id"].startswith("generate")]
    wanted_prompt = sum(len(prompt) // 4 + 1 for prompt in bodies.values() if "You write training data" in prompt)
    wanted_completion = sum(len(text) // 4 + 1 for text in texts)
    assert took["generate"]["prompt_tokens"] == wanted_prompt
    assert took["generate"]["completion_tokens"] == wanted_completion
    assert took["generate"]["cost"] == pytest.approx((2 * wanted_prompt + 10 * wanted_completion) / 1e6)
    assert took["generate"]["seconds"] > 0.04
    assert (took["revise"]["requests"], took["revise"]["failed"]) == (4, 2)
    (cause,) = took["revise"]["failures"]
    assert cause.startswith("HTTP 400") and took["revise"]["failures"][cause] == 2
    assert usage["judge"]["verdicts"] == {"accept": 4, "repair": 0, "reject": 0, "none": 4}
    assert usage["shortfall"] == {"hours": {"missing": 4, "reasons": {"no_verdict": 4}}}


def test_a_reached_budget_leaves_its_ledger_and_what_was_paid_for(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        with pytest.raises(TeacherError, match=r"budget\.requests 6 is reached: 6 sent"):
            generate(prepared, tmp_path, params_of(server, budget__requests=6))
        usage = read_json(tmp_path / "usage.json")
        assert (usage["complete"], sum(took["requests"] for took in usage["purposes"].values())) == (False, 6)
        generate(prepared, tmp_path, params_of(server))
        assert server.count() == 9


# Hostile replies: each run ends, has asked a bounded number of times, and says what came of it.

MOST = 2 * 4 * 2  # labels, requests a label, purposes


@pytest.mark.parametrize(
    ("faults", "texts", "unusable", "unreadable", "noted"),
    [
        pytest.param({}, (8, 8), {}, {}, {}, id="none"),
        pytest.param({"duplicates": True}, (16, 2), {"exact_duplicate": 14}, {}, {}, id="duplicates for ever"),
        pytest.param({"other_language": True}, (16, 0), {"wrong_language": 16}, {}, {}, id="another language"),
        pytest.param({"wrong_count": 1}, (8, 8), {}, {}, {"wrong_count": 8}, id="too few"),
        pytest.param({"wrong_count": 9}, (8, 8), {}, {}, {"wrong_count": 4}, id="too many"),
        pytest.param({"fenced": True}, (8, 8), {}, {}, {"fenced": 4}, id="fenced"),
        pytest.param({"surrogate": True}, (8, 8), {}, {}, {"surrogate": 8}, id="surrogate"),
        pytest.param({"nul": True}, (8, 8), {}, {}, {"control": 8}, id="NUL"),
        pytest.param({"control": True}, (8, 8), {}, {}, {"control": 8}, id="control"),
        pytest.param({"looping": True}, (16, 0), {"repetition": 16}, {}, {}, id="looping texts"),
        pytest.param({"first": 2, "cut_off": True}, (8, 8), {}, {"cut_off": 2}, {"cut_off": 2}, id="cut off"),
        pytest.param({"first": 2, "refusal": True}, (8, 8), {}, {"refusal": 2}, {"refusal": 2}, id="refusal"),
        pytest.param({"first": 2, "mega": 2_000_000}, (8, 8), {}, {"oversized": 2}, {"oversized": 2}, id="megabytes"),
        pytest.param(
            {"first": 2, "empty_choices": True}, (8, 8), {}, {"no_choice": 2}, {"no_choice": 2}, id="no choice"
        ),
        pytest.param({"first": 2, "ignore_schema": True}, (8, 8), {}, {"no_json": 2}, {"no_json": 2}, id="prose"),
        pytest.param({"first": 2, "content": "[" * 90_000}, (8, 8), {}, {"looping": 2}, {"looping": 2}, id="brackets"),
        pytest.param(
            {"first": 2, "content": '{"texts": [{"a": 1}, null]}'},
            (8, 8),
            {},
            {"not_text": 2},
            {"not_text": 2},
            id="no texts",
        ),
        pytest.param({"first": 2, "status": 400}, (8, 8), {}, {"request_failed": 2}, {}, id="refused requests"),
    ],
)
def test_hostile_texts(
    prepared: Path,
    tmp_path: Path,
    faults: dict[str, Any],
    texts: tuple[int, int],
    unusable: dict[str, int],
    unreadable: dict[str, int],
    noted: dict[str, int],
) -> None:
    with chat_server(rules=[{"purpose": "generate", **faults}]) as server:
        usage = generate(prepared, tmp_path, params_of(server))
        assert server.count() <= 1 + MOST
    assert usage["texts"] == {"wanted": 8, "written": texts[0], "usable": texts[1]}
    assert usage["unusable"] == unusable
    assert usage["unreadable"] == unreadable
    assert usage["purposes"]["generate"]["faults"] == noted
    lines = [row for row in journal(tmp_path) if row["id"].startswith("generate")]
    assert Counter(fault for row in lines for fault in row.get("faults", ())) == noted
    assert all(len(row["about"]["seeds"]) == 2 for row in lines)
    assert {row["text"] for row in samples(tmp_path)}.isdisjoint({"", None})
    assert len(samples(tmp_path)) == texts[0]
    missing = {label: short["missing"] for label, short in usage["shortfall"].items()}
    assert sum(missing.values()) == 8 - texts[1]


@pytest.mark.parametrize(
    ("faults", "error", "message"),
    [
        pytest.param({"cut_off": True}, PolydistillError, r"no reply held a text: \{'cut_off': 8\}", id="cut off"),
        pytest.param({"refusal": True}, PolydistillError, r"no reply held a text: \{'refusal': 8\}", id="refusal"),
        pytest.param({"content": ""}, PolydistillError, r"no reply held a text: \{'empty': 8\}", id="empty"),
        pytest.param({"wrong_count": 0}, PolydistillError, r"no reply held a text: \{'empty': 8\}", id="no texts"),
        pytest.param({"mega": 2_000_000}, PolydistillError, r"\{'oversized': 8\}; is tiny a chat model", id="mega"),
        pytest.param({"html": True}, TeacherError, "all 8 requests failed: HTTP 200 with something else", id="html"),
        pytest.param({"raw": "{"}, TeacherError, "all 8 requests failed: HTTP 200 with something else", id="broken"),
        pytest.param({"status": 400, "says": "no"}, TeacherError, r"all 8 requests failed: HTTP 400: .*8×", id="400"),
    ],
)
def test_where_nothing_can_be_read_there_is_one_clear_error(
    prepared: Path, tmp_path: Path, faults: dict[str, Any], error: type[Exception], message: str
) -> None:
    with chat_server(rules=[{"purpose": "generate", **faults}]) as server:
        with pytest.raises(error, match=message):
            generate(prepared, tmp_path, params_of(server, teacher__tries=2))
        assert server.count() <= 1 + 2 * MOST
    assert read_json(tmp_path / "usage.json")["texts"]["written"] == 0
    assert not (tmp_path / "samples.parquet").exists()


@pytest.mark.parametrize(
    ("faults", "verdicts", "usable", "contradictions"),
    [
        pytest.param({"judge": "yes"}, {"accept": 8}, 8, {}, id="yes"),
        pytest.param({"judge": "no"}, {"reject": 16}, 0, {}, id="no"),
        pytest.param({"judge": "nonsense"}, {"none": 16}, 0, {}, id="nonsense"),
        pytest.param({"judge": "repair"}, {"repair": 8}, 8, {}, id="repair"),
        pytest.param({"wrong_count": 1}, {"accept": 8, "none": 8}, 8, {}, id="not all judged"),
        pytest.param({"wrong_count": 5}, {"accept": 8}, 8, {}, id="more judged than asked"),
        pytest.param({"cut_off": True}, {"none": 16}, 0, {}, id="cut off"),
        pytest.param({"refusal": True}, {"none": 16}, 0, {}, id="refusal"),
        pytest.param({"ignore_schema": True}, {"none": 16}, 0, {}, id="prose"),
        pytest.param({"mega": 2_000_000}, {"none": 16}, 0, {}, id="megabytes"),
        pytest.param({"surrogate": True, "nul": True}, {"accept": 8}, 8, {}, id="an odd reason"),
        pytest.param({"judge": "repair", "nul": True}, {"repair": 8, "none": 8}, 8, {}, id="an odd repair"),
        pytest.param({"status": 400}, {"none": 16}, 0, {}, id="refused requests"),
        pytest.param(
            {"purpose": "generate", "other_language": True},
            {"accept": 16},
            0,
            {"wrong_language": 16},
            id="yes to what the rules reject",
        ),
    ],
)
def test_hostile_judges(
    prepared: Path,
    tmp_path: Path,
    faults: dict[str, Any],
    verdicts: dict[str, int],
    usable: int,
    contradictions: dict[str, int],
) -> None:
    with chat_server(rules=[{"purpose": "revise", **faults}]) as server:
        usage = generate(prepared, tmp_path, params_of(server))
        assert server.count() <= 1 + MOST
    of_judge = usage["judge"]
    assert {name: n for name, n in of_judge["verdicts"].items() if n} == verdicts
    assert of_judge["accepts_what_rules_reject"] == contradictions
    assert usage["texts"]["usable"] == usable
    assert sum(short["missing"] for short in usage["shortfall"].values()) == 8 - usable
    assert Counter(row["decision"] or "none" for row in samples(tmp_path)) == verdicts


def test_repaired_texts_take_the_place_of_the_original_ones(prepared: Path, tmp_path: Path) -> None:
    with chat_server(judge="repair") as server:
        generate(prepared, tmp_path, params_of(server))
    rows = samples(tmp_path)
    assert len(rows) == 8
    written = {sentence(n) for n in range(16)}
    for row in rows:
        assert {row["text"], row["original"]} <= written and row["text"] != row["original"]
        assert (row["decision"], row["verdict_reason"]) == ("repair", "stilted wording")
        assert row["source"]["repair"] == prompt_hash("revise")


def test_a_server_that_follows_no_schema_is_asked_for_lines(
    prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with chat_server(ignore_schema=True) as server:
        usage = generate(prepared, tmp_path, params_of(server))
        bodies = server.chats()
    assert usage["teacher"]["structured"] is False
    assert usage["texts"] == {"wanted": 8, "written": 8, "usable": 8}
    assert ["response_format" in body for body in bodies] == [True] + [False] * 8
    assert (
        f"the server at {server.url} does not follow a JSON schema that it is given; replies are asked" in caplog.text
    )


def test_a_server_that_refuses_a_schema_is_asked_for_lines(prepared: Path, tmp_path: Path) -> None:
    with chat_server(reject_schema=True) as server:
        for _ in range(2):
            usage = generate(prepared, tmp_path, params_of(server))
        assert server.count() == 1 + 1 + 8  # the canary with a schema and without; nothing in the second run
    assert usage["texts"]["usable"] == 8 and usage["teacher"]["structured"] is False


def test_a_server_of_web_pages_is_said_before_anything_is_asked(prepared: Path, tmp_path: Path) -> None:
    with chat_server(html=True) as server:
        with pytest.raises(TeacherError, match="HTTP 200 with something else than JSON; is the url that of a chat"):
            generate(prepared, tmp_path, params_of(server))
        assert server.count() == 3
    assert not (tmp_path / "samples.parquet").exists()


# Any script.

SCRIPTS = {
    "book": [
        "Čez žrelo šlo bo kašlja, ñandú, ağlamak, İstanbul",
        "ฉันต้องการนัดหมายกับคุณหมอในวันพรุ่งนี้",
        "నాకు రేపు డాక్టర్ అపాయింట్‌మెంట్ కావాలి",
        "אני צריך תור לרופא מחר בבוקר, \u200fבבקשה\u200e (10:30)",
    ],
    "hours": [
        "متى تفتح العيادة أبوابها يوم السبت؟ ‏(من ٩ إلى ٥)‎",
        "क्लिनिक शनिवार को कब खुलता है? क्‍ष और क्‌ष",
        "👩🏽‍⚕️ odprto? 🏥🇸🇮 👍🏿 ✈︎",
        '"narekovaji", \\poševnica, cafe\u0301 in \u2028ločilo; \u202eobratno\u202c',
    ],
}


@pytest.mark.parametrize("structured", [True, False])
def test_texts_of_any_script_arrive_as_they_were_written(prepared: Path, tmp_path: Path, structured: bool) -> None:
    rules: list[dict[str, Any]] = [{"purpose": "canary", "content": "no"}] if not structured else []
    for label, texts in SCRIPTS.items():
        listed = "\n".join(f"{number}. {text}" for number, text in enumerate(texts, start=1))
        content = json.dumps({"texts": texts}, ensure_ascii=False) if structured else listed
        rules.append({"purpose": "generate", "match": f"Label to write for: {label} ", "content": content})
    with chat_server(rules=rules) as server:
        changes = {"generate__texts_per_request": 4, "filter__checks": ["empty"], "filter__mark": []}
        params = params_of(server, **changes)
        usage = generate(prepared, tmp_path / "generated", params)
        asked = [body["messages"][0]["content"] for body in server.chats()]
    assert usage["unusable"] == usage["unreadable"] == {}
    found = {
        label: [row["text"] for row in samples(tmp_path / "generated") if row["label"] == label] for label in SCRIPTS
    }
    assert found == SCRIPTS
    run_filter(prepared, tmp_path / "generated", tmp_path / "filtered", params.filter, self_revision=True)
    accepted = read_records(tmp_path / "filtered" / "accepted.parquet")
    assert {(record.label, record.text) for record in accepted} == {
        (label, text) for label, texts in SCRIPTS.items() for text in texts
    }
    judged = "".join(prompt for prompt in asked if "You check training data" in prompt)
    for text in (text for texts in SCRIPTS.values() for text in texts if "\u2028" not in text):
        assert json.dumps(text, ensure_ascii=False) in judged


def test_what_generate_counts_as_usable_is_what_filter_accepts(prepared: Path, tmp_path: Path) -> None:
    """About the checks that both make: a copy of a test text, or of a text of another label, only `filter` finds."""
    odd: list[dict[str, Any]] = [
        {"purpose": "generate", "every": 3, "other_language": True},
        {"purpose": "generate", "every": 4, "duplicates": True, "match": "Label to write for: book"},
        {"purpose": "generate", "every": 5, "content": '{"texts": ["Da.", "Kdaj odprete v soboto?", "**Ne** vem."]}'},
        {"purpose": "revise", "every": 3, "judge": "no"},
        {"purpose": "revise", "every": 4, "judge": "repair"},
        {"purpose": "revise", "every": 5, "judge": "nonsense"},
    ]
    with chat_server(rules=odd) as server:
        size = {"generate__texts_per_label": 60, "generate__texts_per_request": 4, "generate__top_up": 3}
        params = params_of(server, **size)
        usage = generate(prepared, tmp_path / "generated", params)
    run_filter(prepared, tmp_path / "generated", tmp_path / "filtered", params.filter, self_revision=True)
    facts = read_json(tmp_path / "filtered" / "filter.json")
    assert len(usage["unusable"]) > 4
    assert usage["texts"] == {"wanted": 120, "written": facts["generated"], "usable": facts["accepted"]}
    assert usage["unusable"] == {reason: n for reason, n in facts["by_reason"].items() if n}
    assert usage["judge"]["verdicts"] == facts["self_revision"]["verdicts"]


@pytest.mark.parametrize("purpose", ["generate", "revise"])
def test_what_answered_prompts_depend_on_stays_as_it_was(prepared: Path, tmp_path: Path, purpose: str) -> None:
    """The prompts of `diverse` name accepted texts, so a request that failed cannot yield texts later."""
    with chat_server(by_prompt=True, rules=[{"status": 400, "purpose": purpose, "first": 1}]) as server:
        params = params_of(server, generate__strategy="diverse", generate__texts_per_label=24)
        generate(prepared, tmp_path, params)
        asked, rows = server.count(), samples(tmp_path)
        server.set(by_prompt=True)
        generate(prepared, tmp_path, params)
        assert server.count() == asked
    assert samples(tmp_path) == rows


def test_a_failure_that_nothing_depends_on_is_asked_again(prepared: Path, tmp_path: Path) -> None:
    with chat_server(by_prompt=True, rules=[{"status": 400, "purpose": "generate", "first": 1}]) as server:
        generate(prepared, tmp_path, params_of(server, generate__texts_per_label=24))
        asked = server.count()
        server.set(by_prompt=True)
        generate(prepared, tmp_path, params_of(server, generate__texts_per_label=24))
        assert server.count() == asked + 2  # its texts, and the verdicts on them


@pytest.mark.parametrize(
    "changes",
    [
        {"filter__too_long__max_chars": 90},
        {"filter__near_duplicate__similarity": 0.3},
        {"generate__self_revision": False},
    ],
    ids=["length", "likeness", "judge"],
)
def test_what_is_accepted_is_part_of_a_plan_whose_prompts_name_it(
    prepared: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with chat_server(by_prompt=True) as server:
        generate(prepared, tmp_path / "plain", params_of(server))
        generate(prepared, tmp_path / "diverse", params_of(server, generate__strategy="diverse"))
        generate(prepared, tmp_path / "plain", params_of(server, **changes))
        with pytest.raises(DataError, match="paid replies of another plan"):
            generate(prepared, tmp_path / "diverse", params_of(server, generate__strategy="diverse", **changes))
