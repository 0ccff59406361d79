"""A real git server over HTTP, `git http-backend`, that lets in only those who name the token; and its repository.

with git_server(tmp_path / "served") as server:
    url = server.new_repository("texts", workspace)  # with what stands in the folder, on branch main
"""

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, TOKEN, READER = "robot", "glpat-9Zx/pl+an.t$ed(8)=Qw", "glpat-reads-only"


def git(folder: Path, *arguments: str, day: str = "2026-03-01") -> str:
    """Run git as somebody who commits on that day, at noon."""
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    ana = {"NAME": "Ana", "EMAIL": "ana@example.org", "DATE": f"{day}T12:00:00Z"}
    identity = {f"GIT_{role}_{fact}": value for role in ("AUTHOR", "COMMITTER") for fact, value in ana.items()}
    done = subprocess.run(command, cwd=folder, env=os.environ | identity, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit_all(folder: Path, message: str = "texts", day: str = "2026-03-01") -> str:
    """Commit all that stands in the folder; return the commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message", message, day=day)
    return git(folder, "rev-parse", "HEAD")


def bare(workspace: Path, repository: Path) -> Path:
    """Make a bare repository of a checkout."""
    git(workspace, "clone", "--quiet", "--bare", str(workspace), str(repository))
    git(repository, "config", "uploadpack.allowFilter", "true")
    git(repository, "config", "http.receivepack", "true")
    return repository


@dataclass
class GitServer:
    """A server that runs and serves every repository in `folder`.

    `commands` are those of all processes of this machine while it was asked, as everybody on it can list them;
    `before_push` is called when somebody is about to push.
    """

    folder: Path
    url: str = ""
    commands: set[str] = field(default_factory=set)
    before_push: Callable[[], object] = lambda: None


@contextmanager
def git_server(folder: Path) -> Iterator[GitServer]:
    """Serve the repositories of a folder to `USER` with `TOKEN`, or, for reading alone, with `READER`."""
    folder.mkdir(parents=True, exist_ok=True)
    served = GitServer(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _commands() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            yield file.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _handler(served: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(body)

        def _answer(self, body: bytes) -> None:
            served.commands.update(_commands())
            if self.path.endswith("service=git-receive-pack"):
                served.before_push()
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, token = base64.b64decode(given).decode().partition(":")
            if user != USER or token not in (TOKEN, READER):
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.end_headers()
                return
            if token == READER and "git-receive-pack" in self.path:
                self.send_response(403)
                self.end_headers()
                self.wfile.write(b"You are not allowed to push code to this project.")
                return
            path, _, query = self.path.partition("?")
            environment = os.environ | {
                "GIT_PROJECT_ROOT": str(served.folder),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": user,
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
