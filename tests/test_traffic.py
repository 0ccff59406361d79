import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from polydistill.classifier import ClassifyResponse, Prediction
from polydistill.errors import DataError
from polydistill.traffic import Answer, TrafficLog, answers, read_traffic, traffic_log

LINE = '{"label": "book", "language": "sl", "probability": 0.9, "task": "clinic", "text": "Dober dan"}\n'
ANSWER = Answer(task="clinic", language="sl", text="Dober dan", label="book", probability=0.9)


def test_what_is_logged_is_read_again(tmp_path: Path) -> None:
    prediction = Prediction(language="sl", label="book", probability=0.9, probabilities={"book": 0.9, "cancel": 0.1})
    response = ClassifyResponse(task="clinic", model_version="1", predictions=[prediction])
    when = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    log = TrafficLog(tmp_path / "logs" / "traffic.jsonl")
    log.append(answers(response, ["Dober\u2028dan\n"], when))
    log.append(answers(response, ["Dober dan"]))
    first, second = read_traffic(tmp_path / "logs" / "traffic.jsonl")
    assert first.model_dump() == {
        "task": "clinic",
        "language": "sl",
        "text": "Dober\u2028dan\n",
        "label": "book",
        "probability": 0.9,
        "time": "2026-01-02T03:04:05.678+00:00",
    }
    assert second == ANSWER


def test_only_the_owner_may_read_the_log(tmp_path: Path) -> None:
    TrafficLog(tmp_path / "traffic.jsonl")
    assert (tmp_path / "traffic.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_torn_last_line_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "traffic.jsonl").write_text(LINE + LINE[:40])
    with caplog.at_level(logging.WARNING):
        assert list(read_traffic(tmp_path / "traffic.jsonl")) == [ANSWER]
    assert "traffic.jsonl:2: the last line is not whole" in caplog.text


def test_a_last_line_without_a_line_break_counts_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "traffic.jsonl").write_text(LINE + "\n" + LINE.rstrip())
    assert list(read_traffic(tmp_path / "traffic.jsonl")) == [ANSWER, ANSWER]


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        pytest.param(LINE[:40] + "\n", "Invalid JSON", id="torn"),
        pytest.param(json.dumps({"task": "clinic"}) + "\n", "language: Field required", id="field missing"),
        pytest.param(LINE.replace("0.9", "9"), "probability: Input should be less than", id="impossible"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str, what: str) -> None:
    (tmp_path / "traffic.jsonl").write_text(LINE + bad + LINE)
    with pytest.raises(DataError, match=r"traffic.jsonl:2: no line of the service's log \(" + what):
        list(read_traffic(tmp_path / "traffic.jsonl"))


def test_nothing_is_logged_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLYDISTILL_TRAFFIC_LOG", raising=False)
    assert traffic_log() is None


def test_the_log_must_have_an_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYDISTILL_TRAFFIC_LOG", "traffic.jsonl")
    with pytest.raises(DataError, match="POLYDISTILL_TRAFFIC_LOG=traffic.jsonl is no absolute path"):
        traffic_log()


def test_a_log_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        TrafficLog(tmp_path / "file" / "traffic.jsonl")
