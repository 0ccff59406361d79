"""How the server of the bento is run: in the foreground, or to rehearse that it answers as the winners did."""

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from polydistill.bento import bentoml_command, bentoml_environment
from polydistill.classifier import MAX_CHARACTERS, ClassifyResponse, Prediction, winner_cells
from polydistill.errors import PolydistillError
from polydistill.files import new_folder, read_json, read_yaml, require_input, write_json
from polydistill.params import ServeParams
from polydistill.traffic import UNLOGGED, VARIABLE, Answer, TrafficLog, answers, to_lines

log = logging.getLogger(__name__)

# How far a probability may be from the winner's, which another processor may have worked out: those of `linear` are the
# same but for rounding, those of networks are not, least of all in int8.
TOLERANCES = {"linear": 1e-6}
TOLERANCE_OF_NETWORKS = 0.02
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
# A proxy that the environment names is not for the own machine.
_LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def serve(bento: Path, params: ServeParams) -> NoReturn:
    """Become the server of the bento, until it is stopped.

    Raises:
        PolydistillError: As `foreground` does.
    """
    command, environment = foreground(bento, params)
    log.info("%s on http://%s:%d (Ctrl-C stops it)", bento_tag(bento), params.host, params.port)
    os.execve(command[0], command, environment)


def foreground(bento: Path, params: ServeParams) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of the server, after making sure that it can start.

    Raises:
        DataError: If there is no bento, or the log that the environment asks for cannot be written.
        PolydistillError: If the server cannot listen there.
    """
    bento_tag(bento)
    environment = bentoml_environment()
    if environment.get(VARIABLE):
        environment[VARIABLE] = str(Path(environment[VARIABLE]).absolute())
        TrafficLog(Path(environment[VARIABLE]))  # now, since BentoML would start a failing service again and again
    return _server_command(bento, _free_address(params), params.port), environment


def run_serve(bento: Path, winners: Path, served: Path) -> None:
    """Rehearse: start the server of the bento, ask it the winners' known answers over HTTP, and stop it.

    Args:
        bento: What `package` wrote.
        winners: The folder of winners that went into it, with known_answers.json in each.
        served: Folder to write answers.jsonl (a row a text, as in the service's log, without time) and serve.json to.

    Raises:
        PolydistillError: If the server does not start, or answers otherwise than the winners did.
    """
    tag = bento_tag(bento)
    with new_folder(served) as folder:
        with running(bento) as url:
            rows = rehearse(url, winners)
        (folder / "answers.jsonl").write_text(to_lines(rows), encoding="utf-8")
        by_cell = dict(Counter(f"{row.task}/{row.language}" for row in rows))
        facts = {"schema_version": 1, "bento": tag, "checked": len(rows), "by_cell": by_cell}
        write_json(folder / "serve.json", facts)


def rehearse(url: str, winners: Path) -> list[Answer]:
    """Ask a service at `url` the known answers of all winners; return what it answered.

    Raises:
        PolydistillError: If it does not answer, or otherwise than a winner did; the message names the first such text.
    """
    rows: list[Answer] = []
    for cell in winner_cells(winners):
        known = _known_answers(winners / cell)
        student = read_json(require_input(winners / cell / "winner.json", "select"))["student"]
        rows += _ask(url, cell, known, TOLERANCES.get(student, TOLERANCE_OF_NETWORKS))
        log.info("%s: %d known answers given again", cell, len(known))
    return rows


def bento_tag(bento: Path) -> str:
    """Return name:version of the bento in the folder.

    Raises:
        DataError: If there is none.
    """
    facts = read_yaml(require_input(bento / "bento.yaml", "package"))
    return f"{facts['name']}:{facts['version']}"


@contextmanager
def running(bento: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run the server of the bento on a free local port; yield its URL once it is ready, stop it in every case.

    The server has a BentoML home of its own, so that it leaves nothing behind and disturbs no other server.

    Raises:
        PolydistillError: If it ends or is not ready in time; the message holds the last that it said.
    """
    with ExitStack() as stack:
        stack.enter_context(_terminated_like_interrupted())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="polydistill-serve-")))
        port = _free_port()
        output = home / "server.log"
        with _signals_wait():  # until the server, once started, is sure to be stopped
            process = subprocess.Popen(
                _server_command(bento, "127.0.0.1", port),
                env={**bentoml_environment(home), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(output.open("wb")),
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(_stop, process)
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, output)
        yield url


def _server_command(bento: Path, address: str, port: int) -> list[str]:
    return bentoml_command("serve", str(bento.resolve()), "--host", address, "--port", str(port))


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _is_ready(url):
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            how = f"ended with {process.returncode}" if ended else f"was not ready after {READY_WITHIN_S:.0f} s"
            last = "\n".join(output.read_text("utf-8", errors="replace").splitlines()[-20:])
            raise PolydistillError(f"the server of the bento {how}; its last words:\n{last}")
        time.sleep(0.05)


def _is_ready(url: str) -> bool:
    try:
        with _LOCAL.open(f"{url}/readyz", timeout=5):
            return True
    except OSError:  # not listening yet, or, as HTTPError, 503
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, which share a session of their own, gently first."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        log.warning("the server did not stop within %.0f s; it is killed", STOP_WITHIN_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C does, else it would end this process and leave the server running."""
    with _handled({signal.SIGTERM: lambda number, _: sys.exit(128 + number)}):
        yield


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block has ended."""
    arrived: list[int] = []
    with _handled(dict.fromkeys((signal.SIGINT, signal.SIGTERM), lambda number, _: arrived.append(number))):
        yield
    for number in arrived:
        signal.raise_signal(number)


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], object]]) -> Iterator[None]:
    """Handle signals so for a while; only a main thread can, and only there do they arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _known_answers(winner: Path) -> list[dict[str, Any]]:
    every = read_json(require_input(winner / "known_answers.json", "select"))
    return [answer for answer in every if len(answer["text"]) <= MAX_CHARACTERS]


def _ask(url: str, cell: str, known: Sequence[Mapping[str, Any]], tolerance: float) -> list[Answer]:
    task, language = cell.split("/")
    rows: list[Answer] = []
    for batch in _batches(known):
        texts = [answer["text"] for answer in batch]
        content = _post(f"{url}/classify", {"texts": texts, "language": language, "task": task})
        response = ClassifyResponse.model_validate(content)
        for wanted, given in zip(batch, response.predictions, strict=True):
            if not _is_same(given, wanted, tolerance):
                raise PolydistillError(
                    f"{cell}: the service answers {given.label} ({given.probability:.6f}) where the winner answered "
                    f"{wanted['label']} ({wanted['probability']:.6f}): {wanted['text']!r}; "
                    "`polydistill package` makes a bento of the winners as they are now"
                )
        rows += answers(response, texts)
    return rows


def _is_same(given: Prediction, wanted: Mapping[str, Any], tolerance: float) -> bool:
    """Return whether an answer is the known one; of two labels that are as likely, either may come out on top."""
    likely = given.probabilities.get(wanted["label"], 0)
    return abs(likely - wanted["probability"]) <= tolerance and given.probability - likely <= 2 * tolerance


def _batches(known: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    # A hundred texts, of whatever length the service takes, stay within the limits of a request.
    return (known[start : start + 100] for start in range(0, len(known), 100))


def _post(url: str, content: Mapping[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", UNLOGGED: "known answers"}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)
    try:
        with _LOCAL.open(request, timeout=60) as response:
            return json.load(response)
    except urllib.error.HTTPError as exc:
        raise PolydistillError(f"the service answered {exc.code}: {exc.read().decode('utf-8', 'replace')}") from exc
    except OSError as exc:
        raise PolydistillError(f"the service did not answer: {exc}") from exc


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_address(params: ServeParams) -> str:
    """Return the IP address of the host, since BentoML takes no name, after making sure that the port is free there."""
    where = f"{params.host}:{params.port}"
    change = "change `serve` in params.yaml"
    try:
        family, _, _, _, address = socket.getaddrinfo(params.host, params.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as exc:
        raise PolydistillError(f"cannot serve on {where}: the host is unknown; {change}") from exc
    except OSError as exc:
        reason = "another program listens there" if exc.errno == errno.EADDRINUSE else exc.strerror
        raise PolydistillError(f"cannot serve on {where}: {reason}; stop it or {change}") from exc
    return str(address[0])
