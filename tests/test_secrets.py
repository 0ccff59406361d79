"""No key is told to anybody but the server: not in a file, not on the screen, whoever sends it back."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from asks import ASKED, asked, teacher_params
from build import build_prepared
from chat_server import chat_server
from polydistill.errors import PolydistillError
from polydistill.teachers import Reply
from spaces import SEEDS, build_workspace

pytestmark = pytest.mark.slow

# As hostile as a key may be: characters that JSON, addresses and patterns treat in their own ways.
KEY = "sk-9Zx/pl+an.t$ed(8)=Qw"
FORMS = {KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1].replace("/", "\\/"), base64.b64encode(KEY.encode()).decode()}
MAIN = "from polydistill.cli import main; main()"


def run(workspace: Path, *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run `polydistill` as a process of its own; return the exit code and all that it prints."""
    command = [sys.executable, "-c", MAIN, *arguments]
    clean = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    done = subprocess.run(
        command, cwd=workspace, capture_output=True, text=True, timeout=60, env=clean | dict(env or {}), check=False
    )
    return done.returncode, done.stdout + done.stderr


def traces(folder: Path, *but: Path) -> set[str]:
    """Return the files below a folder in whose name or content the key stands in any form."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and path not in but:
            content = path.read_bytes()
            if any(form.encode() in content or form in path.name for form in FORMS):
                found.add(path.relative_to(folder).as_posix())
    return found


def tells(said: str) -> bool:
    return any(form in said for form in FORMS)


def space(root: Path, url: str | None, **changes: Any) -> Path:
    """Build a workspace whose cell is prepared and whose teacher is a server."""
    asks = {"teacher__kind": "openai", "teacher__url": url, "teacher__tries": 2, "teacher__total_timeout_s": 2.0}
    build_workspace(root, **(asks | changes))
    build_prepared(root / "work" / "demo" / "sl" / "prepared", SEEDS)
    return root


@pytest.mark.parametrize("entry", ["variable", "file"])
@pytest.mark.parametrize(
    ("faults", "code"),
    [
        pytest.param({}, 0, id="well"),
        pytest.param({"echo_key_in_reply": True}, 0, id="in a text"),
        pytest.param({"echo_key_in_reply": True, "ignore_schema": True}, 0, id="in a line"),
        pytest.param({"status": 400, "echo_key": True}, 1, id="400"),
        pytest.param({"status": 401, "echo_key": True}, 1, id="401"),
        pytest.param({"status": 404, "echo_key": True}, 1, id="404"),
        pytest.param({"status": 503, "echo_key": True}, 1, id="503"),
        pytest.param({"status": 302, "echo_key": True}, 1, id="redirect"),
        pytest.param({"status": 400, "echo_key": True, "match": "hours"}, 1, id="400 for some"),
    ],
)
def test_generate_tells_no_key(tmp_path: Path, entry: str, faults: dict[str, Any], code: int) -> None:
    key_file = tmp_path / "secret"
    changes, env = {}, {"OPENAI_API_KEY": KEY}
    if entry == "file":
        key_file.write_text(KEY + "\n", encoding="utf-8")
        changes, env = {"teacher__key_file": str(key_file)}, {}
    with chat_server(**faults) as server:
        workspace = space(tmp_path / "ws", server.url, **changes)
        ended, said = run(workspace, "generate", "--verbose", "--record", "tape.jsonl", env=env)
    assert server.keys() == {f"Bearer {KEY}"}
    assert (ended, tells(said)) == (code, False), said
    assert traces(tmp_path, key_file) == set()
    if not code:
        journal = workspace / "work" / "demo" / "sl" / "generated" / "journal" / "plain.jsonl"
        for path in (journal, workspace / "tape.jsonl"):
            assert ("[key]" in path.read_text(encoding="utf-8")) == bool(faults)


@pytest.mark.slow
def test_the_whole_chain_tells_no_key(tmp_path: Path) -> None:
    root = tmp_path / "ws"
    # A schema leaves the answers of evaluate no room for a key.
    with chat_server(echo_key_in_reply=True, ignore_schema=True) as server:
        build_workspace(root, teacher__kind="openai", teacher__url=server.url)
        steps = ["prepare", "generate", "filter", "measure", "train", "evaluate", "select", "card", "report", "package"]
        for step in steps:
            record = ["--record", "tape.jsonl"] if step in ("generate", "evaluate") else []
            code, said = run(root, step, "--verbose", *record, env={"OPENAI_API_KEY": KEY})
            assert (code, tells(said)) == (0, False), said
    for file in ("work/demo/sl/generated/journal/plain.jsonl", "work/demo/sl/evaluated/journal/zero-shot.jsonl"):
        assert "[key]" in (root / file).read_text(encoding="utf-8")
    assert (root / "work" / "bento").exists()
    assert traces(tmp_path) == set()


@pytest.mark.parametrize("faults", [{}, {"echo_key_in_reply": True}, {"status": 400, "echo_key": True}], ids=str)
def test_facets_tell_no_key(tmp_path: Path, faults: dict[str, Any]) -> None:
    with chat_server(**faults) as server:
        workspace = space(tmp_path / "ws", server.url)
        _, said = run(workspace, "facets", "--verbose", env={"OPENAI_API_KEY": KEY})
    assert server.count() == (2 if "status" in faults else 1)  # once more without a schema
    assert not tells(said), said
    assert traces(tmp_path) == set()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"teacher__url": f"http://user:{KEY}@host/v1"}, id="password in the url"),
        pytest.param({"teacher__url": f"http://{quote(KEY, safe='')}@host/v1"}, id="user in the url"),
        pytest.param({"teacher__url": f"http://host/v1?key={KEY}"}, id="query of the url"),
        pytest.param({"teacher__url": f"http://host/v1#{KEY}"}, id="fragment of the url"),
        pytest.param({"teacher__key_env": KEY}, id="key as the variable"),
        pytest.param({"teacher__key_env": [KEY]}, id="list as the variable"),
        pytest.param({"teacher__key_file": [KEY]}, id="list as the file"),
        pytest.param({"teacher__key_file": KEY}, id="key as the file"),
        pytest.param({"teacher__key_file": KEY * 20}, id="long key as the file"),
        pytest.param({"teacher__key_file": f"{KEY}\0"}, id="key with a NUL as the file"),
    ],
)
def test_a_key_in_the_wrong_place_is_refused_and_not_repeated(tmp_path: Path, changes: dict[str, Any]) -> None:
    with chat_server() as server:
        workspace = space(tmp_path / "ws", server.url, **changes)
        code, said = run(workspace, "generate", "--verbose")
    assert code == 2, said
    assert "teacher" in said
    assert not tells(said), said
    assert traces(workspace, workspace / "params.yaml") == set()
    assert server.count() == 0


def test_a_key_that_could_name_a_variable_is_not_repeated(tmp_path: Path) -> None:
    key = "hf_qWeRtYuIoPaSdFgHjKl"
    with chat_server(status=401) as server:
        workspace = space(tmp_path / "ws", server.url, teacher__key_env=key)
        code, said = run(workspace, "generate", "--verbose")
    assert code == 1
    assert "put one into the variable that params.yaml:teacher.key_env names" in said
    assert key not in said


@pytest.mark.parametrize("content", [f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}\u200b"], ids=["lines", "words", "odd"])
def test_a_file_with_more_than_a_key_is_not_repeated(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret").write_text(content, encoding="utf-8")
    with chat_server() as server:
        workspace = space(tmp_path / "ws", server.url, teacher__key_file=str(tmp_path / "secret"))
        code, said = run(workspace, "generate", "--verbose")
    assert (code, "is no API key" in said, tells(said)) == (2, True, False)
    assert traces(workspace) == set()


# What no chat server does, but someone between it and us may.


class _Parrot(BaseHTTPRequestHandler):
    """Says the key in every place of an answer, in the form that the server's `form` makes of it."""

    server: "_Parrots"

    def do_GET(self) -> None:
        self._answer({"data": [{"id": f"model-{self.server.form}"}]}, 200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        said = self.server.form
        message = {"role": "assistant", "content": f"1. {said}\n2. {said}"}
        choice = {"message": message, "finish_reason": f"stop {said}"}
        self._answer({"id": said, "choices": [choice], "error": said}, self.server.status)

    def _answer(self, body: dict[str, Any], status: int) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status, f"OK {self.server.form}")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Location", f"http://127.0.0.1:1/{self.server.form}")
        self.send_header("Set-Cookie", f"key={self.server.form}")
        self.send_header("Retry-After", self.server.form)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


class _Parrots(ThreadingHTTPServer):
    form, status = "", 200


@contextmanager
def parrot(form: str, status: int) -> Iterator[str]:
    with _Parrots(("127.0.0.1", 0), _Parrot) as server:
        server.form, server.status = form, status
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 503])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_key_comes_back_from_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, status: int) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    said = ""
    with parrot(form, status) as url:
        params = teacher_params(url, tries=1)
        try:
            [outcome] = asked(params, [ASKED], tmp_path / "journal.jsonl").values()
        except PolydistillError as exc:
            said = "".join(str(error) for error in (exc, exc.__cause__))
        else:
            assert isinstance(outcome, Reply)
            said = f"{outcome}"
            assert "[key]" in outcome.text
    assert said
    assert not tells(said), said
    assert traces(tmp_path) == set()


def test_no_part_of_a_key_is_left_where_an_answer_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for space_before in (1980, 1990, 290):
        with chat_server(status=400, raw=" " * space_before + KEY) as server, pytest.raises(PolydistillError) as error:
            asked(teacher_params(server), [ASKED], tmp_path / f"{space_before}.jsonl")
        assert KEY[:5] not in str(error.value)
