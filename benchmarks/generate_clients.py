"""The clients that benchmarks/generate.py compares, and what it measures of a journal, each in a process of its own.

    python benchmarks/generate_clients.py '{"job": "measure", "client": "polydistill", ...}'

Prints a JSON object. Every client imports its own library and no other, so that neither time nor memory mixes; this
module imports the standard library alone, since the peers' environment need not hold the project.
"""

# ruff: noqa: PLC0415
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MODEL = "tiny"
MAX_TOKENS = 512
SEEDS = [
    "Kako naj zamenjam geslo za spletno banko?",
    "Rad bi rezerviral mizo za štiri osebe v petek zvečer.",
    "Ali jutri dopoldne v Mariboru dežuje?",
    "Prosim, prestavi moj sestanek z zobozdravnikom na torek.",
    "Koliko denarja sem ta mesec porabil za gorivo?",
    "Predvajaj mi kaj mirnega za učenje, brez besedila.",
    "Kdaj odpelje zadnji vlak iz Ljubljane proti Celju?",
    "Na nakupovalni seznam dodaj mleko, kruh in dva kilograma jabolk.",
    "Moja kartica je bila zavrnjena, čeprav je na računu dovolj denarja.",
    "Zbudi me ob pol sedmih, ob koncu tedna pa uro pozneje.",
]
PROMPT = (
    "You write examples that train a classifier of short requests to an assistant. Every example is in Slovenian, the "
    "way that native speakers write, and belongs to one label. Vary length, tone and situation; do not number them, "
    "do not translate from English, and do not repeat an example that you are shown.\n\nExamples:\n"
    + "\n".join(f"- {seed}" for seed in SEEDS)
    + "\n\nWrite 10 new examples of the label `banking`. Answer with a JSON object that has one key, `texts`."
)
REPLY = json.dumps({"texts": [seed.replace("?", "").lower() + " prosim" for seed in SEEDS]}, ensure_ascii=False)
SCHEMA = {
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
    "required": ["texts"],
    "additionalProperties": False,
}
RESPONSE_FORMAT = {"type": "json_schema", "json_schema": {"name": "generate", "schema": SCHEMA, "strict": True}}

Ask = Callable[[int], int]
"""Asks so many requests and returns how many of them got no text."""


def messages() -> list[dict[str, str]]:
    """Return the conversation that every client sends."""
    return [{"role": "user", "content": PROMPT}]


async def at_once(concurrency: int, requests: int, ask: Callable[[int], Awaitable[str | None]]) -> int:
    """Await `ask(number)`, which returns a text or raises, for every request; return how many got none."""
    numbers = iter(range(requests))
    answered = 0

    async def work() -> None:
        nonlocal answered
        for number in numbers:
            try:
                text = await ask(number)
                answered += bool(text)  # not before the await: others count meanwhile
            except Exception as exc:
                print(f"request {number} failed: {exc!r}", file=sys.stderr)

    await asyncio.gather(*(work() for _ in range(concurrency)))
    return requests - answered


def aiohttp_loop(url: str, model: str, concurrency: int, _: Path) -> Ask:
    """As little as can be done on aiohttp: a session, as many workers as connections, replies read and let go."""
    import aiohttp

    async def run(requests: int) -> int:
        connector = aiohttp.TCPConnector(limit=concurrency)
        async with aiohttp.ClientSession(connector=connector) as session:

            async def ask(number: int) -> str:
                body = {
                    "model": model,
                    "messages": messages(),
                    "temperature": 0.7,
                    "seed": number,
                    "max_tokens": MAX_TOKENS,
                    "response_format": RESPONSE_FORMAT,
                }
                async with session.post(url + "/chat/completions", json=body) as response:
                    return (await response.json())["choices"][0]["message"]["content"]

            return await at_once(concurrency, requests, ask)

    return lambda requests: asyncio.run(run(requests))


def aiohttp_on_uvloop(url: str, model: str, concurrency: int, folder: Path) -> Ask:
    """The same on another event loop."""
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return aiohttp_loop(url, model, concurrency, folder)


def openai_sdk(url: str, model: str, concurrency: int, _: Path, *, aiohttp: bool = False) -> Ask:
    """The same loop around the SDK's asynchronous client, as it is by default or on its aiohttp transport."""
    import openai

    async def run(requests: int) -> int:
        transport = openai.DefaultAioHttpClient() if aiohttp else None
        async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=transport) as client:

            async def ask(number: int) -> str | None:
                completion = await client.chat.completions.create(
                    model=model,
                    messages=messages(),
                    temperature=0.7,
                    seed=number,
                    max_tokens=MAX_TOKENS,
                    response_format=RESPONSE_FORMAT,
                )
                return completion.choices[0].message.content

            return await at_once(concurrency, requests, ask)

    return lambda requests: asyncio.run(run(requests))


def openai_sdk_on_aiohttp(url: str, model: str, concurrency: int, folder: Path) -> Ask:
    """The SDK on its other transport."""
    return openai_sdk(url, model, concurrency, folder, aiohttp=True)


def distilabel(url: str, model: str, concurrency: int, _: Path) -> Ask:
    """Batches of `concurrency` prompts through distilabel's LLM, which is what each batch of its pipelines does.

    A whole pipeline is slower: it adds processes and a cache on disk.
    """
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model=model, base_url=url, api_key="none")
    llm.load()

    def ask(requests: int) -> int:
        answered = 0
        for start in range(0, requests, concurrency):
            batch = [messages() for _ in range(min(concurrency, requests - start))]
            outputs = llm.generate_outputs(
                inputs=batch,
                max_new_tokens=MAX_TOKENS,
                temperature=0.7,
                extra_body={"response_format": RESPONSE_FORMAT},
            )
            answered += sum(bool(output["generations"][0]) for output in outputs)
        return requests - answered

    return ask


def polydistill(url: str, model: str, concurrency: int, folder: Path) -> Ask:
    """What `polydistill generate` asks with; its journal is forced to disk before a reply counts."""
    from polydistill.replies import faults_of
    from polydistill.teachers import Journal, ask, open_teacher

    teacher_params, budget = polydistill_params(url, model, concurrency)

    async def run(requests: int) -> int:
        source = Source(requests)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            async with open_teacher(teacher_params, recording=Path("none")) as teacher:
                with Journal(Path(scratch, "journal.jsonl"), plan={"benchmark": "generate"}) as journal:
                    await ask(source, teacher, journal, teacher_params, budget, faults_of)
        return requests - source.answered

    return lambda requests: asyncio.run(run(requests))


CLIENTS: dict[str, Callable[[str, str, int, Path], Ask]] = {
    "bare aiohttp loop": aiohttp_loop,
    "bare aiohttp loop on uvloop": aiohttp_on_uvloop,
    "polydistill": polydistill,
    "OpenAI SDK": openai_sdk,
    "OpenAI SDK on aiohttp": openai_sdk_on_aiohttp,
    "distilabel": distilabel,
}
PEERS = {"OpenAI SDK", "OpenAI SDK on aiohttp", "distilabel"}
LIBRARIES = ("polydistill", "aiohttp", "uvloop", "openai", "httpx", "httpx2", "distilabel")


class Source:
    """Makes the requests one by one, and counts the replies."""

    def __init__(self, requests: int) -> None:
        self.total = requests
        self.answered = 0
        self._numbers = iter(range(requests))

    def next(self) -> Any:
        """Return the next request, None after the last."""
        number = next(self._numbers, None)
        return None if number is None else polydistill_request(number)

    def take(self, request: Any, outcome: Any) -> None:
        """Count a reply; a failure has no text."""
        self.answered += bool(getattr(outcome, "text", None))


def polydistill_request(number: int) -> Any:
    """Return a request like those of `generate`."""
    from polydistill.teachers import ChatRequest

    return ChatRequest(
        f"generate/banking/{number}",
        "generate",
        PROMPT,
        0.7,
        number,
        SCHEMA,
        len(SEEDS),
        {"seeds": list(range(len(SEEDS)))},
    )


def polydistill_params(url: str, model: str, concurrency: int) -> tuple[Any, Any]:
    """Return the sections `teacher` and `budget` of params.yaml."""
    from polydistill.params import BudgetParams, TeacherParams

    no_limits = dict.fromkeys(BudgetParams.model_fields)
    engine = {"tensor_parallel_size": 1, "quantization": None, "max_model_len": None, "gpu_memory_utilization": 0.9}
    teacher = {
        "kind": "openai",
        "url": url,
        "model": model,
        "revision": None,
        "key_env": "POLYDISTILL_BENCHMARK_KEY",
        "key_file": None,
        "concurrency": concurrency,
        "timeout_s": 120,
        "total_timeout_s": 600,
        "tries": 5,
        "max_tokens": MAX_TOKENS,
        "vllm": engine,
    }
    return TeacherParams.model_validate(teacher), BudgetParams.model_validate(no_limits)


def megabytes() -> float:
    """Return the memory that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_megabytes() -> float:
    """Return the most memory that this process ever had in use."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def versions() -> dict[str, str]:
    """Return the versions of the libraries that are imported here."""
    found = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            if name in sys.modules:
                found[name] = version(name)
    return found


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run one client and return what it took; the first request is for what is imported late."""
    try:
        ask = CLIENTS[job["client"]](job["url"], job["model"], job["concurrency"], Path(job["folder"]))
    except ImportError as exc:
        return {"missing": str(exc)}
    ask(1)
    memory, cpu, started = megabytes(), time.process_time(), time.perf_counter()
    failed = ask(job["requests"])
    return {
        "seconds": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu,
        "memory_before": memory,
        "memory_peak": peak_megabytes(),
        "failed": failed,
        "versions": versions(),
    }


def write_journal(job: dict[str, Any]) -> dict[str, Any]:
    """Write a journal of so many replies."""
    from polydistill.teachers import Journal, Reply

    with Journal(Path(job["folder"], "journal.jsonl"), plan={"benchmark": "generate"}) as journal:
        for start in range(0, job["requests"], 10_000):
            lines = []
            for number in range(start, min(start + 10_000, job["requests"])):
                request = polydistill_request(number)
                reply = Reply(REPLY, "stop", 400, 250, seconds=1.234)
                lines.append(journal.encode(request, request.digest(MODEL, ""), reply, (), MAX_TOKENS))
            journal.write(lines)
    return {"bytes": Path(job["folder"], "journal.jsonl").stat().st_size}


def go_on_from_journal(job: dict[str, Any]) -> dict[str, Any]:
    """Open the journal, then take every reply from it; nothing is left to ask."""
    from polydistill.replies import faults_of
    from polydistill.teachers import Journal, ask, open_teacher

    teacher_params, budget = polydistill_params("http://127.0.0.1:9/v1", MODEL, 256)
    source = Source(job["requests"])
    memory, times = megabytes(), []

    def tick() -> None:
        times.append((time.perf_counter(), time.process_time()))

    async def run() -> None:
        async with open_teacher(teacher_params, recording=Path("none")) as teacher:
            tick()
            with Journal(Path(job["folder"], "journal.jsonl"), plan={"benchmark": "generate"}) as journal:
                tick()
                await ask(source, teacher, journal, teacher_params, budget, faults_of)
                tick()

    asyncio.run(run())
    (start, start_cpu), (opened, opened_cpu), (end, end_cpu) = times
    return {
        "open_s": opened - start,
        "open_cpu_s": opened_cpu - start_cpu,
        "s": end - opened,
        "cpu_s": end_cpu - opened_cpu,
        "memory_before": memory,
        "memory_peak": peak_megabytes(),
        "answered": source.answered,
    }


JOBS = {"measure": measure, "write": write_journal, "go on": go_on_from_journal}


def main() -> None:
    """Do the job that the one argument tells, and print what it reports."""
    job = json.loads(sys.argv[1])
    print(json.dumps(JOBS[job["job"]](job)))


if __name__ == "__main__":
    main()
