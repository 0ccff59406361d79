"""A git repository in a folder: found by git alone at an address such as pods are given, or served by git's daemon."""

import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ADDRESS = "https://git.example.org/team/texts.git"


def found_at(address: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have git, as long as the test runs, go to the folder where it is told to go to the address."""
    settings = root.with_name(f"{root.name}.gitconfig")
    settings.write_text(f'[url "{root}"]\n\tinsteadOf = {address}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    return address


@contextmanager
def git_daemon(folder: Path) -> Iterator[str]:
    """Serve the repositories in a folder to be read, as `git daemon` does; yield its address."""
    command = ["git", "daemon", "--inetd", "--export-all", f"--base-path={folder}", str(folder)]

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            subprocess.run(command, stdin=self.request, stdout=self.request, stderr=subprocess.DEVNULL, check=False)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"git://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
