"""The demo's chain on a real vLLM server."""

import json
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tiny_demo import ENVIRONMENT, Server, run, wait_for_lines, write_params

from polydistill.files import read_json
from polydistill.prompts import render

pytestmark = pytest.mark.vllm

CELL = "work/clinic/sl"
HITS, ANSWERED = "vllm:prefix_cache_hits_total", "vllm:request_success_total"


def test_a_schema_is_obeyed(vllm_server: Server) -> None:
    # Without the schema the tiny model says the word that it has learned.
    word = {"type": "object", "properties": {"word": {"enum": ["schema"]}}, "required": ["word"]}
    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": render("canary")}],
        "max_tokens": 100,
        "temperature": 0,
    }
    assert json.loads(_chat(vllm_server, asked)) == {"word": "canary"}
    asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "word", "schema": word}}
    assert json.loads(_chat(vllm_server, asked)) == {"word": "schema"}


def test_the_demo_runs_from_its_parameters_alone(vllm_server: Server, workspace: Path) -> None:
    hits, answered = vllm_server.metric(HITS), vllm_server.metric(ANSWERED)
    write_params(workspace, kind="openai", url=vllm_server.url)
    run(["dvc", "init", "--no-scm", "--quiet"], workspace)
    run(["dvc", "repro", "--quiet"], workspace)

    assert read_json(workspace / CELL / "selected/winner.json")["student"] == "linear"
    assert (workspace / "work/report/index.html").exists()
    assert (workspace / "work/bento").exists()
    assert (workspace / "work/monitored").exists()  # of the answers that the service gave
    usage = read_json(workspace / CELL / "generated/usage.json")
    assert usage["teacher"]["structured"] is True
    assert usage["texts"]["usable"] > usage["texts"]["wanted"] / 2
    for purpose in ("generate", "revise"):
        assert usage["purposes"][purpose]["prompt_tokens"] > 0
        assert usage["purposes"][purpose]["completion_tokens"] > 0
    assert vllm_server.metric(ANSWERED) - answered >= usage["purposes"]["generate"]["requests"]
    assert vllm_server.metric(HITS) > hits  # the prompts of a cell begin alike


def test_what_is_answered_is_not_asked_again_after_a_kill(vllm_server: Server, workspace: Path) -> None:
    write_params(workspace, kind="openai", url=vllm_server.url, concurrency=2)
    run(["polydistill", "prepare"], workspace)
    before = vllm_server.metric(ANSWERED)
    journal = workspace / CELL / "generated/journal/plain.jsonl"
    with subprocess.Popen(["polydistill", "generate"], cwd=workspace, env=ENVIRONMENT) as first:
        wait_for_lines(journal, 6, first)
        first.kill()
    assert first.returncode < 0
    kept = _replies(journal)

    run(["polydistill", "generate"], workspace)
    replies = _replies(journal)
    assert replies[: len(kept)] == kept
    assert len(replies) > len(kept)
    assert set(Counter(reply["digest"] for reply in replies).values()) == {1}
    # What was under way at the kill is asked again, one request of each of the two workers at most.
    assert vllm_server.metric(ANSWERED) - before <= len(replies) + 2
    again = vllm_server.metric(ANSWERED)
    run(["polydistill", "generate"], workspace)
    assert vllm_server.metric(ANSWERED) == again


def _chat(server: Server, asked: dict[str, Any]) -> str:
    request = urllib.request.Request(
        server.url + "/chat/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        text: str = json.load(answer)["choices"][0]["message"]["content"]
    return text


def _replies(journal: Path) -> list[dict[str, Any]]:
    """Return what the journal holds after its first line; a last line that is cut off does not count."""
    lines = journal.read_text("utf-8").rpartition("\n")[0].split("\n")
    return [json.loads(line) for line in lines[1:]]
