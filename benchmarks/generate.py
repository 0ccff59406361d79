"""How fast polydistill asks a server, beside distilabel, the OpenAI SDK and, as the limit, a bare aiohttp loop.

    python benchmarks/generate.py [--peers-python PATH] [--requests 5000] [--concurrency 16 64 256] [--repeat 3]
    python benchmarks/generate.py --server http://127.0.0.1:8000/v1 --model NAME
    python benchmarks/generate.py --memory 100000     # peak memory of polydistill alone, the server answering at once
    python benchmarks/generate.py --resume 1000000    # opening a journal of so many replies, and going on from it

Without --server, a server of its own answers every request after 100 ms. All clients send the same prompt and get the
same reply; polydistill alone writes anything, its journal, forced to disk. Each client is measured in a process of its
own, after a first request that is not counted (it brings in what a library imports late). distilabel and the OpenAI SDK
are no dependencies of this project and want an environment of their own; rows of what is not there are left out:

    python -m venv peers && peers/bin/pip install distilabel openai aiohttp requests
    python benchmarks/generate.py --peers-python peers/bin/python
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from generate_clients import CLIENTS, MODEL, PEERS, REPLY

HERE = Path(__file__).resolve().parent
LIMIT, SLOWEST = "bare aiohttp loop", "distilabel"
MEMORY_CLIENTS = (LIMIT, "polydistill")


def in_a_process(job: str, python: str, **settings: Any) -> dict[str, Any]:
    """Run one of JOBS by itself and return what it reports."""
    command = [python, "-W", "ignore", HERE / "generate_clients.py", json.dumps({"job": job, **settings})]
    quiet = {"DISTILABEL_LOG_LEVEL": "ERROR", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | quiet, check=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@contextmanager
def fake_server(latency_s: float) -> Iterator[tuple[str, int]]:
    """Run the tests' server; yield its URL and process id."""
    script = HERE.parent / "tests" / "chat_server.py"
    faults = {"latency": latency_s, "keep": False, "content": REPLY, "models": [MODEL]}
    command = [sys.executable, script, "--faults", json.dumps(faults)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.terminate()


def cpu_seconds(pid: int | None) -> float:
    """Return the processor time that a process has taken; None is none of ours."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_of_all() -> float:
    """Return the processor time that everything on this machine has taken."""
    user, nice, system, _, _, irq, soft_irq, stolen, *_ = Path("/proc/stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, soft_irq, stolen))) / os.sysconf("SC_CLK_TCK")


def fsync_milliseconds(folder: Path) -> float:
    """Return how long it takes to force a line to this disk, the median of 50."""
    took = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(bytes(1000))
            os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took) * 1000


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Run every client at every concurrency, the order reversed from one repeat to the next, and print a table."""
    runs: dict[tuple[int, str], list[dict[str, Any]]] = {}
    left_out: dict[str, str] = {}
    fake = arguments.server == "fake"
    server = fake_server(arguments.latency) if fake else nullcontext((arguments.server, None))
    with server as (url, server_pid):
        for repeat in range(arguments.repeat):
            for concurrency in arguments.concurrency:
                for client in arguments.clients if repeat % 2 == 0 else reversed(arguments.clients):
                    if client in left_out:
                        continue
                    report = watched(arguments, client, concurrency, url, server_pid, folder)
                    if "missing" in report:
                        left_out[client] = report["missing"]
                        continue
                    runs.setdefault((concurrency, client), []).append(report)
                    rate = arguments.requests / report["seconds"]
                    print(f"{repeat + 1}: {concurrency} at once, {client}: {rate:.0f}/s", file=sys.stderr)
    for client, why in left_out.items():
        print(f"Left out: {client} ({why}).\n")
    if not runs:
        return
    known = {name: number for found in runs.values() for name, number in found[0]["versions"].items()}
    others = [run["others_busy"] for found in runs.values() for run in found]
    answers = f"a fake server that takes {arguments.latency * 1000:.0f} ms" if fake else "a real server"
    print(f"{arguments.requests} requests a run, {arguments.repeat} runs: median (lowest–highest); {answers}; ", end="")
    print(", ".join(f"{name} {number}" for name, number in sorted(known.items())), end=". ")
    print(f"Other programs took {min(others):.0%}–{max(others):.0%} of the machine meanwhile.\n")
    print_table(runs, arguments)


def watched(
    arguments: argparse.Namespace, client: str, concurrency: int, url: str, server_pid: int | None, folder: Path
) -> dict[str, Any]:
    """Run one client; add to its report how busy the server was, and whatever else runs on this machine."""
    started, all_before, server_before = time.perf_counter(), cpu_seconds_of_all(), cpu_seconds(server_pid)
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = in_a_process(
        "measure",
        arguments.peers_python if client in PEERS else sys.executable,
        client=client,
        url=url,
        model=arguments.model,
        concurrency=concurrency,
        requests=arguments.requests,
        folder=str(folder),
    )
    if "missing" in report:
        return report
    whole, server = time.perf_counter() - started, cpu_seconds(server_pid) - server_before
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    client_cpu = now.ru_utime + now.ru_stime - ours.ru_utime - ours.ru_stime
    others = cpu_seconds_of_all() - all_before - client_cpu - server
    report["others_busy"] = max(0.0, others / whole / (os.cpu_count() or 1))
    if server_pid is not None:
        report["server_busy"] = server / report["seconds"]
    return report


def print_table(runs: dict[tuple[int, str], list[dict[str, Any]]], arguments: argparse.Namespace) -> None:
    """Print the medians, and each client's share of the limit and multiple of distilabel."""
    print("| at once | client | requests/s | of the limit | × distilabel | client CPU, ms a request ", end="")
    print("| peak memory, MB (before) | failed | server busy |")
    print("| ---: | --- " + "| ---: " * 7 + "|")
    for concurrency in arguments.concurrency:
        limit, slowest = (median(runs.get((concurrency, client), []), "seconds") for client in (LIMIT, SLOWEST))
        for client in arguments.clients:
            found = runs.get((concurrency, client))
            if not found:
                continue
            seconds, busy = median(found, "seconds"), median(found, "server_busy")
            rates = [arguments.requests / run["seconds"] for run in found]
            cells = [
                f"{arguments.requests / seconds:.0f} ({min(rates):.0f}–{max(rates):.0f})",
                f"{limit / seconds:.0%}" if limit else "–",
                f"{slowest / seconds:.1f}" if slowest else "–",
                f"{median(found, 'cpu_s') / arguments.requests * 1000:.2f}",
                f"{median(found, 'memory_peak'):.0f} ({median(found, 'memory_before'):.0f})",
                str(sum(run["failed"] for run in found)),
                f"{busy:.0%}{', the bottleneck' if busy > 0.9 else ''}" if busy else "–",
            ]
            print(f"| {concurrency} | {client} | " + " | ".join(cells) + " |")


def median(runs: Sequence[dict[str, Any]], key: str) -> float:
    """Return the median of what the runs report, 0 where none does."""
    return statistics.median([run[key] for run in runs if key in run] or [0.0])


def resume(replies: int, folder: Path) -> None:
    """Write a journal of so many replies, and go on from it in another process."""
    written = in_a_process("write", sys.executable, requests=replies, folder=str(folder))
    report = in_a_process("go on", sys.executable, requests=replies, folder=str(folder))
    print(f"A journal of {report['answered']} replies, {written['bytes'] / 1e6:.0f} MB.\n")
    print("| what | seconds | of which CPU |\n| --- | ---: | ---: |")
    print(f"| open it | {report['open_s']:.1f} | {report['open_cpu_s']:.1f} |")
    print(f"| make every request again and take its reply from it | {report['s']:.1f} | {report['cpu_s']:.1f} |")
    print(f"\nPeak memory {report['memory_peak']:.0f} MB, {report['memory_before']:.0f} MB before.")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each client at each concurrency")
    parser.add_argument("--clients", nargs="+", choices=list(CLIENTS), default=list(CLIENTS))
    parser.add_argument("--peers-python", default=sys.executable, help="where distilabel and the OpenAI SDK are")
    parser.add_argument("--server", default="fake", help="base URL of a server; by default a fake one")
    parser.add_argument("--model", default=MODEL, help="model name at the server")
    parser.add_argument("--latency", type=float, default=0.1, help="of the fake server, in seconds")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk for journals")
    parser.add_argument("--memory", type=int, metavar="REQUESTS", help="peak memory at so many requests, 256 at once")
    parser.add_argument("--resume", type=int, metavar="REPLIES", help="going on from a journal of so many")
    arguments = parser.parse_args()
    if arguments.memory:
        arguments.requests, arguments.concurrency, arguments.repeat = arguments.memory, [256], 1
        arguments.latency, arguments.clients = 0.0, MEMORY_CLIENTS
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, ", end="")
    busy = f"load {os.getloadavg()[0]:.1f} before the start"
    print(f"{busy}, fsync {fsync_milliseconds(arguments.folder):.1f} ms\n", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.resume:
            resume(arguments.resume, Path(folder))
        else:
            compare(arguments, Path(folder))


if __name__ == "__main__":
    main()
