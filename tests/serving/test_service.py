"""The service as it runs in production: a real server of a real bento, asked over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from polydistill.errors import DataError, PolydistillError
from polydistill.files import read_json, write_json
from polydistill.package import run_package
from polydistill.params import PackageParams, ServeParams
from polydistill.serve import foreground, rehearse, run_serve, running
from winners import SLOVENIAN, SWAHILI, build_winner

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with winners/ and the bento/ made of them."""
    work = tmp_path_factory.mktemp("work")
    build_winner(work, "clinic/sl", SLOVENIAN)
    build_winner(work, "clinic/sw", SWAHILI)
    run_package(work / "winners", work / "cards", work / "bento", PackageParams(name="polydistill"))
    return work


@pytest.fixture(scope="module")
def url(work: Path) -> Iterator[str]:
    """Return the address of a server of the bento that logs its answers to traffic.jsonl."""
    with running(work / "bento", {"POLYDISTILL_TRAFFIC_LOG": str(work / "traffic.jsonl")}) as url:
        yield url


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def post(url: str, body: Any, headers: dict[str, str] = JSON) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/classify", data, headers), timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_texts_are_answered_in_order(work: Path, url: str) -> None:
    texts = ["Žal moram odpovedati jutrišnji obisk.", "Potrebujem nov termin pri zobarju."]
    status, answer = post(url, {"texts": texts, "language": "sl"})
    assert status == 200
    assert answer.keys() == {"task", "model_version", "predictions"}
    assert answer["task"] == "clinic"
    assert answer["model_version"] == yaml.safe_load((work / "bento" / "bento.yaml").read_text())["version"]
    assert [(p["language"], p["label"]) for p in answer["predictions"]] == [("sl", "cancel"), ("sl", "book")]
    first = answer["predictions"][0]
    assert first["probability"] == max(first["probabilities"].values())


def test_the_language_is_guessed_for_each_text_where_it_is_left_out(url: str) -> None:
    _, answer = post(url, {"texts": ["Samahani, sitaweza kuja kesho.", "Potrebujem nov termin pri zobarju."]})
    assert [(p["language"], p["label"]) for p in answer["predictions"]] == [("sw", "cancel"), ("sl", "book")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"texts": []}, "texts: list should have at least 1 item", id="no texts"),
        pytest.param({"texts": "Dober dan"}, "texts: input should be a valid array", id="no list"),
        pytest.param({}, "texts: field required", id="missing field"),
        pytest.param({"texts": ["a"], "lang": "sl"}, "known are texts, language, task", id="unknown field"),
        pytest.param({"texts": ["a", " "]}, "texts.1: the text is blank", id="blank"),
        pytest.param({"texts": ["a"] * 1001}, "texts: list should have at most 1000 items", id="many"),
        pytest.param({"texts": ["a" * 10_001]}, "at most 10000 characters", id="long"),
        pytest.param({"texts": ["a"], "language": "de"}, "served are `sl`, `sw`", id="unknown language"),
        pytest.param({"texts": ["a"], "task": "news"}, "served are `clinic`", id="unknown task"),
        pytest.param(b"texts=a", "the request: invalid JSON", id="no JSON"),
    ],
)
def test_a_bad_request_gets_400_and_what_is_wrong(url: str, body: Any, message: str) -> None:
    status, answer = post(url, body)
    assert status == 400
    assert answer.keys() == {"error"}
    assert message in answer["error"]


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data", "application/vnd.bentoml+pickle"]
)
def test_what_is_not_sent_as_json_gets_415(url: str, kind: str) -> None:
    status, answer = post(url, {"texts": ["a"]}, {"Content-Type": kind})
    assert (status, answer) == (415, {"error": "send JSON, with the header Content-Type: application/json"})


def test_a_request_larger_than_any_good_one_gets_413(url: str) -> None:
    status, answer = post(url, b" " * 12_000_001)
    assert status == 413
    assert "too large, at most 12,000,000 bytes" in answer["error"]


def test_models_tells_what_is_served(work: Path, url: str) -> None:
    status, body = get(f"{url}/models")
    models = json.loads(body)["models"]
    assert status == 200
    assert [(m["task"], m["language"], m["student"]) for m in models] == [
        ("clinic", "sl", "linear"),
        ("clinic", "sw", "linear"),
    ]
    assert models[0]["labels"] == ["book", "cancel"]
    assert models[0]["digests"] == read_json(work / "winners" / "clinic" / "sl" / "winner.json")["digests"]


@pytest.mark.parametrize("path", ["healthz", "livez", "readyz", "metrics", "docs.json", ""])
def test_the_endpoints_of_bentoml_answer(url: str, path: str) -> None:
    assert get(f"{url}/{path}")[0] == 200


def test_the_start_page_tells_no_third_party(url: str) -> None:
    status, page = get(f"{url}/")
    assert status == 200
    assert b"POST /classify" in page
    assert b"google" not in page and b"<script" not in page


def test_each_answer_is_logged_and_nothing_else(work: Path, url: str) -> None:
    before = (work / "traffic.jsonl").read_text().count("\n")
    post(url, {"texts": ["Odpovedujem pregled v petek."], "language": "de"})
    _, answer = post(url, {"texts": ["Odpovedujem pregled v petek.", "Siwezi kufika."]})
    logged = [json.loads(line) for line in (work / "traffic.jsonl").read_text().splitlines()[before:]]
    assert [datetime.fromisoformat(row.pop("time")).utcoffset() is not None for row in logged] == [True, True]
    first = answer["predictions"][0]
    assert len(logged) == 2
    assert logged[0] == {
        "task": "clinic",
        "language": "sl",
        "text": "Odpovedujem pregled v petek.",
        "label": "cancel",
        "probability": first["probability"],
    }


def test_what_a_rehearsal_or_a_smoke_test_asks_is_no_traffic(work: Path, url: str) -> None:
    log = work / "traffic.jsonl"
    before = log.read_text()
    rehearse(url, work / "winners")
    status, _ = post(url, {"texts": ["Smoke?"], "language": "sl"}, {**JSON, "Polydistill-Unlogged": "smoke test"})
    assert status == 200
    assert log.read_text() == before


def test_the_rehearsal_writes_what_was_answered_and_leaves_bento_and_log_as_they_were(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("POLYDISTILL_TRAFFIC_LOG", str(tmp_path / "traffic.jsonl"))
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "store"))
    run_serve(work / "bento", work / "winners", tmp_path / "served")
    rows = [json.loads(line) for line in (tmp_path / "served" / "answers.jsonl").read_text().splitlines()]
    known = read_json(work / "winners" / "clinic" / "sl" / "known_answers.json")
    assert rows[:8] == [{"task": "clinic", "language": "sl", **answer} for answer in known]
    facts = read_json(tmp_path / "served" / "serve.json")
    assert (facts["checked"], facts["by_cell"]) == (16, {"clinic/sl": 8, "clinic/sw": 8})
    assert facts["bento"].startswith("polydistill:")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["served"]
    assert list((work / "bento").rglob("__pycache__")) == []  # it would change the bento


def test_the_rehearsal_fails_at_the_first_text_that_is_answered_otherwise(work: Path, url: str, tmp_path: Path) -> None:
    winners = shutil.copytree(work / "winners", tmp_path / "winners")
    known = read_json(winners / "clinic" / "sw" / "known_answers.json")
    known[2]["probability"] += 0.001
    write_json(winners / "clinic" / "sw" / "known_answers.json", known)
    with pytest.raises(PolydistillError, match=r"clinic/sw: the service answers book .*: 'Nataka kuja kupimwa meno.'"):
        rehearse(url, winners)


@pytest.mark.parametrize(("by", "passes"), [(0.01, True), (0.05, False)])
def test_a_network_may_answer_a_little_otherwise_on_another_processor(
    work: Path, url: str, tmp_path: Path, by: float, passes: bool
) -> None:
    winners = shutil.copytree(work / "winners", tmp_path / "winners")
    folder = winners / "clinic" / "sw"
    write_json(folder / "winner.json", read_json(folder / "winner.json") | {"student": "encoder"})
    known = read_json(folder / "known_answers.json")
    known[2]["probability"] -= by
    write_json(folder / "known_answers.json", known)
    if passes:
        assert len(rehearse(url, winners)) == 16
    else:
        with pytest.raises(PolydistillError, match="clinic/sw: the service answers book"):
            rehearse(url, winners)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rehearsal_leaves_no_server_and_no_file(
    work: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    program = "import sys; from pathlib import Path; from polydistill.serve import run_serve; "
    program += "run_serve(*map(Path, sys.argv[1:]))"
    paths = [str(work / "bento"), str(work / "winners"), str(tmp_path / "served")]
    rehearsal = subprocess.Popen([sys.executable, "-c", program, *paths], stderr=subprocess.DEVNULL)
    servers = wait_for_children(rehearsal.pid)
    rehearsal.send_signal(sent)
    assert rehearsal.wait(timeout=30) != 0
    assert psutil.wait_procs(servers, timeout=5)[1] == []
    assert list(tmp_path.iterdir()) == []


def wait_for_children(pid: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(pid).children(recursive=True)):
        assert time.monotonic() < deadline, "no server was started"
    return children


def test_a_server_that_ends_gives_its_last_words(work: Path, tmp_path: Path) -> None:
    bento = shutil.copytree(work / "bento", tmp_path / "bento")
    (bento / "src" / "service.py").write_text("raise RuntimeError('no such thing')")
    with pytest.raises(PolydistillError, match="the server of the bento ended with 1(.|\n)*no such thing"):
        run_serve(bento, work / "winners", tmp_path / "served")
    assert not (tmp_path / "served").exists()


def test_a_missing_bento_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `polydistill package` first"):
        foreground(tmp_path / "bento", ServeParams(host="127.0.0.1", port=3000))


def test_a_port_in_use_and_an_unknown_host_say_what_to_change(work: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PolydistillError, match=f"cannot serve on localhost:{port}: another program listens there"):
            foreground(work / "bento", ServeParams(host="localhost", port=port))
    with pytest.raises(PolydistillError, match="nowhere.invalid:3000: the host is unknown; change `serve` in params.y"):
        foreground(work / "bento", ServeParams(host="nowhere.invalid", port=3000))


def test_a_log_that_cannot_be_written_stops_serving_at_once(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLYDISTILL_TRAFFIC_LOG", str(tmp_path / "file" / "traffic.jsonl"))
    with pytest.raises(DataError, match="cannot write .*traffic.jsonl"):
        foreground(work / "bento", ServeParams(host="127.0.0.1", port=free_port()))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_serve_runs_until_it_is_interrupted(work: Path, tmp_path: Path) -> None:
    port = free_port()
    program = "import sys; from pathlib import Path; from polydistill import serve, params; "
    program += "serve.serve(Path(sys.argv[1]), params.ServeParams(host='localhost', port=int(sys.argv[2])))"
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "POLYDISTILL_TRAFFIC_LOG": "traffic.jsonl"}
    command = [sys.executable, "-c", program, str(work / "bento"), str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        assert post(f"http://127.0.0.1:{port}", {"texts": ["Siwezi kufika."], "language": "sw"})[0] == 200
        workers = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
        assert psutil.wait_procs(workers, timeout=5)[1] == []
    finally:
        server.kill()
        server.wait()
    assert (tmp_path / "traffic.jsonl").read_text().count("\n") == 1  # relative to where it was started


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            assert get(url)[0] == 200
            return
        except urllib.error.URLError:
            continue
    raise AssertionError("not ready in time")
