"""A small real HTTP server with OpenAI's chat-completions API, as slow or as broken as a test wants it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret"
VERDICTS = {"verdicts": [{"number": 1, "accept": True, "reason": ""}, {"number": 2, "accept": True, "reason": ""}]}

Answer = tuple[int, Any]  # HTTP status and body, which is sent as JSON


def chat(text: str) -> Answer:
    """Return an answer whose one choice holds the text."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def two_texts(prompt: str, number: int) -> Answer:
    """Answer the prompts of `generate`: two texts, or two verdicts where the prompt asks for them."""
    if '"verdicts"' in prompt:
        return chat(json.dumps(VERDICTS))
    return chat(json.dumps({"texts": [f"besedilo {number} ena", f"besedilo {number} dve"]}))


class ChatServer:
    """Lists `models`, and answers the n-th chat request, from 0, with `answer(prompt, n)`.

    Attributes:
        chats: The bodies of all chat requests.
        free: How many chat requests are answered; later ones wait until `let_all_pass`.
    """

    def __init__(self, answer: Callable[[str, int], Answer], models: list[str], free: int | None) -> None:
        self.answer, self.models, self.free = answer, models, free
        self.chats: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self._lock, self._open = threading.Lock(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def let_all_pass(self) -> None:
        self.free = None
        self._open.set()

    def _respond(self, path: str, body: dict[str, Any] | None) -> Answer:
        if body is None:
            return (200, {"data": [{"id": name} for name in self.models]}) if path == "/v1/models" else (404, {})
        with self._lock:
            number = len(self.chats)
            self.chats.append(body)
        if self.free is not None and number >= self.free:
            self._open.wait(30)
        return self.answer(body["messages"][0]["content"], number)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(None)

            def do_POST(self) -> None:
                self._send(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _send(self, body: dict[str, Any] | None) -> None:
                server.keys.add(self.headers["Authorization"])
                status, content = server._respond(self.path, body)
                raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:
                    self.close_connection = True  # the client was interrupted

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def chat_server(
    answer: Callable[[str, int], Answer] = two_texts, *, models: tuple[str, ...] = ("tiny",), free: int | None = None
) -> Iterator[ChatServer]:
    """Run a server as long as the block does."""
    server = ChatServer(answer, list(models), free)
    thread = threading.Thread(target=server._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.let_all_pass()
        server._server.shutdown()
        server._server.server_close()
        thread.join()
