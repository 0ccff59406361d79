"""A small server with OpenAI's chat-completions API, in a process of its own, as slow or as broken as one wants it.

    with chat_server(status=503, share=0.04, latency=0.1) as server: ...

    python tests/chat_server.py --port 8000 --faults '{"latency": 0.1, "keep": false}'

A healthy one answers every purpose with what it asks for: texts that pass as Slovenian and never come twice, a yes to
each text to judge, the first label, the value that a schema allows. What can be switched is listed at `SETTINGS`,
`CONDITIONS` and `FAULTS`. Nothing is imported that is not in the standard library, so that any Python can run it.
"""

import argparse
import asyncio
import gzip
import http.client
import importlib
import itertools
import json
import math
import os
import random
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any, cast

KEY = "sk-very-secret"
MAX_KEPT = 20_000
WAIT_S = 30

SETTINGS = {
    "latency": "seconds that every chat request takes",
    "hold": "so many chat requests are answered; later ones wait until `release()`",
    "keep": "False: the bodies of chat requests are only counted, which saves time and memory",
    "by_prompt": "True: texts depend on the prompt alone, not on how many were written before",
    "models": "names for GET /v1/models; one by default",
    "models_status": "the HTTP status of GET /v1/models",
    "models_busy": "the first so many of those get 429 with Retry-After: 0",
    "seed": "of `share`; 0 by default",
    "rules": "a list of more faults, each with conditions of its own; a later one overrides",
}
CONDITIONS = {
    "purpose": "only requests of this purpose, or of one in this list",
    "match": "only requests whose prompt contains this",
    "after": "not the first so many of those",
    "first": "the first so many of those, from then on none",
    "every": "each n-th of those",
    "share": "this share of those, drawn by `seed`",
}
FAULTS = {
    "status": "this HTTP status, with an error as its body",
    "retry_after": "seconds for the header Retry-After, with `status`",
    "retry_after_date": "True: that header says a date instead",
    "says": "what the error says",
    "echo_key": "True: the error holds the Authorization header",
    "reset": "the TCP connection is reset",
    "slow": "so many seconds more than `latency`",
    "hang": "no answer ever",
    "half": "the connection closes after half of the body",
    "html": "a page in HTML, with 200 or with `status`",
    "body": "this JSON as the whole body",
    "raw": "this text as the whole body",
    "gzip": "so many zeros as the whole body, compressed",
    "reject_schema": "400 to whoever asks for structured output",
    "empty_choices": "a list of no choices",
    "refusal": "a refusal in place of content",
    "finish": "this finish_reason",
    "cut_off": "half of the content, and the finish_reason `length`",
    "content": "this content, whatever is asked",
    "duplicates": "the same text for ever",
    "other_language": "English texts",
    "wrong_count": "so many texts or verdicts, whatever is asked",
    "looping": "texts of one word over and over",
    "mega": "so many bytes of content, or a little more",
    "surrogate": "an unpaired surrogate in the first text",
    "nul": "a NUL in the first text",
    "control": "control characters in the first text",
    "echo_key_in_reply": "the Authorization header in the first text",
    "judge": "the verdict on every text: yes, no, repair or nonsense",
    "no_usage": "no counts of tokens",
    "fenced": "a markdown fence around the content",
    "ignore_schema": "prose and numbered lines to whoever asks for structured output",
}
_ALL = {*SETTINGS, *CONDITIONS, *FAULTS}


def check_faults(faults: Mapping[str, Any]) -> None:
    """Raise ValueError where a name is misspelt, which would otherwise leave the server healthy."""
    for each in (faults, *faults.get("rules", ())):
        if unknown := set(each) - _ALL:
            raise ValueError(f"no such faults: {', '.join(sorted(unknown))}")


# Texts. A text is a codeword of a Reed-Solomon code: its number, in base 13, is a polynomial over the integers modulo
# 13, and slot i holds the phrase that stands at the polynomial's value at i. Two polynomials of degree d meet in at
# most d places, so of the first 13**5 texts no two share more than 4 of the 7 phrases, and none are near duplicates.

_BASE = 13
_DIGITS = 6
ENDLESS = _BASE**_DIGITS
SLOVENIAN = [
    "Prosim, naročite me/Rada bi prišla/Želim se prijaviti/Ali lahko pridem/Zanimajo me karte/Mama mora iti"
    "/Sosed je povabljen/Midva greva skupaj/Hčerka se odpravlja/Prijavite tudi brata/Komaj čakamo odhod"
    "/Kdo pelje dedka/Teta nas vabi",
    "na pregled kolena/na tečaj kuhanja/na ogled gradu/na čiščenje zob/na koncert orgel/na popravilo avta"
    "/na vaje plesa/na delavnico lončarstva/na cepljenje psa/na turnir šaha/na pokušino sirov/na gledališko igro"
    "/na predavanje zgodovine",
    "v Ljubljani/v Mariboru/blizu Celja/sredi Kranja/pod Triglavom/ob Blejskem jezeru/pri Novi Gorici/na Ptuju"
    "/za Domžalami/v Murski Soboti/onkraj Postojne/v Slovenj Gradcu/nad Koprom",
    "v torek/naslednji petek/jutri/ta ponedeljek/čez tri dni/konec meseca/po praznikih/drugo sredo/vsako nedeljo"
    "/prvega aprila/pred poletjem/med počitnicami/to soboto",
    "zjutraj/opoldne/zvečer/po kosilu/ob osmih/pred službo/takoj po šoli/proti večeru/okrog desetih"
    "/sredi dopoldneva/ponoči/popoldne/ob zori",
    "skupaj z babico/brez čakanja/s kolesom/z dvema otrokoma/z avtobusom/kljub dežju/s težkim nahrbtnikom"
    "/po znižani ceni/brez očal/s prijateljico Majo/na lastne stroške/z manjšo zamudo/peš čez hrib",
    "pišite mi nazaj/potem pokličite/najlepša hvala/denar prinesem/vrnemo se pozno/račun plačam takoj"
    "/napotnico že imam/sporočite ceno/nič ne zamudimo/odgovor čakam doma/parkirali bomo zunaj"
    "/vzeli bomo malico/telefon bo vključen",
]
ENGLISH = [
    "Please sign me up/I would like to come/My brother wants to go/Could we still get in/The neighbours are driving"
    "/She asked whether to walk/Our teacher has invited us/Nobody told me about going/He already paid for going"
    "/They might be late coming/Let us all hurry/We are looking forward/Grandfather would rather go",
    "to the knee examination/to the cooking class/to the castle tour/to the dentist/to the organ concert"
    "/to the garage/to dance practice/to the pottery workshop/to the vaccination/to the chess tournament"
    "/to the cheese tasting/to the theatre play/to the history lecture",
    "in London/near Manchester/outside Bristol/in the middle of York/below the mountain/by the lake/close to Oxford"
    "/on the island/behind the station/in Newcastle/beyond the river/in West Kensington/above the harbour",
    "on Tuesday/next Friday/tomorrow/this Monday/in three days/at the end of the month/after the holidays"
    "/the other Wednesday/every Sunday/on the first of April/before the summer/during half term/on Saturday",
    "in the morning/at noon/in the evening/after lunch/at eight/before work/right after school/towards dusk"
    "/around ten/early/at night/in the afternoon/at sunrise",
    "together with grandmother/without any waiting/by bicycle/with two children/on the bus/despite the rain"
    "/with a heavy rucksack/at a reduced price/without my glasses/with my friend Mary/at our own expense"
    "/slightly delayed/on foot across the hill",
    "write back to me/call us then/thank you very much/I will bring money/we return late/I pay the bill at once"
    "/I have the referral/tell me the price/we miss nothing/I wait at home for an answer/we shall park outside"
    "/we take a snack/my phone will be on",
]
_PHRASES = {"sl": [slot.split("/") for slot in SLOVENIAN], "en": [slot.split("/") for slot in ENGLISH]}


def sentence(number: int, language: str = "sl") -> str:
    """Return the text of this number, which comes again only at `ENDLESS` more."""
    digits = []
    for _ in range(_DIGITS):
        number, digit = divmod(number, _BASE)
        digits.append(digit)
    said = []
    for place, phrases in enumerate(_PHRASES[language]):
        value = 0
        for digit in reversed(digits):
            value = value * place + digit
        said.append(phrases[value % _BASE])
    return f"{' '.join(said[:-1])}, {said[-1]}."


# What is asked.

_WRITE = re.compile(r"\bwrite\W+(?:\w+\W+)??(\d+|one|two|three|four|five)\b[^.\n]*\btext", re.IGNORECASE)
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_NUMBERED = re.compile(r"^(\d+)[.):]\s", re.MULTILINE)
_LABEL = re.compile(r"^(?:[-*]|\d+\.)\s+(.+?)(?::\s.*)?$", re.MULTILINE)
# The first that is found, where no schema is named. The order matters: a prompt for texts may speak of accepted ones.
_PURPOSES = {
    "canary": re.compile(r"\bthe one word\b"),
    "zero-shot": re.compile(r"\blabel alone\b|\bWhich one of these labels\b"),
    "facets": re.compile(r"\bYou plan training data\b|^- registers:", re.MULTILINE),
    "revise": re.compile(r"\bYou check training data\b|\bverdicts\b|^- reject:", re.MULTILINE),
    "generate": _WRITE,
}


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat request as the server understands it."""

    prompt: str
    purpose: str
    schema: Mapping[str, Any] | None  # of structured output; {} where it is asked for without one
    key: str | None  # the Authorization header
    model: str


def read_chat(body: Any, key: str | None) -> Chat:
    messages = [message["content"] for message in body["messages"]]
    prompt = "\n".join(said if isinstance(said, str) else json.dumps(said) for said in messages)
    wanted = body.get("response_format") or {}
    if wanted.get("type", "text") == "text":
        return Chat(prompt, _purpose(prompt), None, key, str(body.get("model")))
    named = wanted.get("json_schema") or {}
    schema = named.get("schema") or {}
    return Chat(prompt, _structured_purpose(named.get("name"), schema, prompt), schema, key, str(body.get("model")))


def _structured_purpose(name: Any, schema: Mapping[str, Any], prompt: str) -> str:
    if isinstance(name, str) and name:
        return name.replace("_", "-")
    properties = schema.get("properties", {})
    return "generate" if "texts" in properties else "revise" if "verdicts" in properties else _purpose(prompt)


def _purpose(prompt: str) -> str:
    return next((purpose for purpose, sign in _PURPOSES.items() if sign.search(prompt)), "other")


def texts_wanted(prompt: str) -> int:
    """Return N of the last "Write N new texts", 2 where nothing of the kind is said."""
    asked = _WRITE.findall(prompt)
    return 2 if not asked else _NUMBERS.get(asked[-1].lower()) or int(asked[-1])


def texts_to_judge(prompt: str) -> int:
    """Return how many lines the last list numbered 1, 2, 3 has; other numbers at the start of a line are no part."""
    count = 0
    for number in map(int, _NUMBERED.findall(prompt)):
        count = 1 if number == 1 else count + 1 if number == count + 1 else count
    return count


def labels(prompt: str) -> list[str]:
    """Return the names in the list after "Labels:"."""
    _, _, listed = prompt.partition("Labels:\n")
    lines = listed.split("\n")
    return [found.group(1) for line in itertools.takewhile(_LABEL.match, lines) if (found := _LABEL.match(line))]


# What is answered.

_JUDGED = {"yes": ("accept", ""), "no": ("reject", "label: of another one"), "repair": ("repair", "stilted wording")}


class Author:
    """Writes the content of answers; no two texts are alike unless a fault says so."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, chat: Chat, faults: Mapping[str, Any], by_prompt: bool) -> str:
        """Return the content of the answer to a chat request."""
        if "content" in faults:
            return str(faults["content"])
        first = zlib.crc32(chat.prompt.encode("utf-8", "replace")) * 64 if by_prompt else self.written
        texts = _Texts(first, chat.key, faults)
        structured = chat.schema is not None and not faults.get("ignore_schema")
        if chat.purpose == "generate":
            content = self._texts(texts, faults.get("wrong_count", texts_wanted(chat.prompt)), structured)
        elif chat.purpose == "revise":
            count = faults.get("wrong_count", texts_to_judge(chat.prompt))
            content = self._verdicts(texts, count, structured, faults.get("judge", "yes"))
        elif chat.purpose == "facets":
            lists = {name: texts.few_words(6) for name in ("lengths", "registers", "speakers")}
            topics = {label: texts.few_words(6) for label in labels(chat.prompt)}
            content = json.dumps({**lists, "topics": topics}, ensure_ascii=False)
        elif structured and chat.schema:
            content = json.dumps(_example(chat.schema, texts), ensure_ascii=False)
        elif chat.purpose == "zero-shot":
            content = texts.spoil((labels(chat.prompt) or ["da"])[0])
        elif chat.purpose == "canary":
            return "no"
        else:
            content = texts.next()
        if not by_prompt:
            self.written = texts.number
        if chat.schema is not None and not structured:
            content = f"Certainly! Here is what you asked for:\n\n{content}\n\nLet me know if you would like more."
        return f"```json\n{content}\n```" if faults.get("fenced") else content

    def _texts(self, texts: "_Texts", count: int, structured: bool) -> str:
        written = [texts.next() for _ in range(count)]
        if structured:
            return json.dumps({"texts": written}, ensure_ascii=False)
        return "\n".join(f"{number}. {text}" for number, text in enumerate(written, 1))

    def _verdicts(self, texts: "_Texts", count: int, structured: bool, judge: str) -> str:
        numbers = range(1, count + 1)
        if judge == "nonsense":
            odd: dict[str, Any] = {
                "language": "maybe",
                "label": None,
                "natural": 3,
                "decision": "perhaps",
                "text": 5,
                "reason": [],
            }
            return json.dumps({"verdicts": [{"number": n, **odd} for n in numbers]}) if structured else "Kdo ve?"
        decision, why = _JUDGED[judge]
        repaired = [texts.next() if judge == "repair" else "" for _ in numbers]
        reasons = [texts.spoil(why) if n == 1 and judge != "repair" else why for n in numbers]
        if not structured:
            said = [f": {text or why}" if text or why else "" for text, why in zip(repaired, reasons, strict=True)]
            return "\n".join(f"{n}. {decision}{more}" for n, more in zip(numbers, said, strict=True))
        verdicts = [
            {
                "number": number,
                "language": True,
                "label": judge != "no",
                "natural": judge != "repair",
                "decision": decision,
                "text": text,
                "reason": reason,
            }
            for number, text, reason in zip(numbers, repaired, reasons, strict=True)
        ]
        return json.dumps({"verdicts": verdicts}, ensure_ascii=False)


class _Texts:
    """The texts of one answer, with its faults."""

    def __init__(self, number: int, key: str | None, faults: Mapping[str, Any]) -> None:
        self.number, self.key, self.faults = number, key, faults
        self.language = "en" if faults.get("other_language") else "sl"
        self.spoilt = False

    def next(self) -> str:
        text = sentence(0 if self.faults.get("duplicates") else self.number, self.language)
        self.number += 1
        if self.faults.get("looping"):
            text = " ".join([text.split()[0].strip(",")] * 200)
        return text if self.spoilt else self.spoil(text)

    def few_words(self, count: int) -> list[str]:
        return [" ".join(self.next().split(" ")[:6]) for _ in range(count)]

    def spoil(self, text: str) -> str:
        """Put in what is to stand in one text of the answer."""
        self.spoilt = True
        faults = self.faults
        start, end = text[:4], text[4:]
        if faults.get("surrogate"):
            start += "\ud83d"
        if faults.get("nul"):
            start += "\0"
        if faults.get("control"):
            start += "\x01\x08\x1b[31m\x7f\x85"
        if faults.get("echo_key_in_reply"):
            end += f" {self.key}"
        text = start + end
        if size := faults.get("mega"):
            text = f"{text or 'da'} " * (size // (len(text or "da") + 1) + 1)
        return text


def _example(schema: Mapping[str, Any], texts: _Texts) -> Any:
    """Return what a schema allows: its only value, or the first of them."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return _example(schema[choice][0], texts)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {name: _example(inner, texts) for name, inner in schema.get("properties", {}).items()}
        case "array":
            count = min(max(schema.get("minItems", 0), 3), schema.get("maxItems", 3))
            return [_example(schema.get("items", {"type": "string"}), texts) for _ in range(count)]
        case "string":
            return texts.next()
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return None


def _completion(chat: Chat, content: str | None, finish: str, number: int, **message: Any) -> dict[str, Any]:
    prompt_tokens, completion_tokens = len(chat.prompt) // 4 + 1, len(content or "") // 4 + 1
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": chat.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **message},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


class Rule:
    """Some faults, and which requests they strike."""

    def __init__(self, faults: Mapping[str, Any], seed: int) -> None:
        self.faults = {name: value for name, value in faults.items() if name in FAULTS}
        self.match = faults.get("match")
        purposes = faults.get("purpose")
        self.purposes = [purposes] if isinstance(purposes, str) else purposes
        self.after, self.first = faults.get("after", 0), faults.get("first", math.inf)
        self.every, self.share = faults.get("every", 1), faults.get("share", 1)
        self.seen = 0
        self.chance = random.Random(seed)

    def strikes(self, chat: Chat) -> bool:
        if self.match is not None and self.match not in chat.prompt:
            return False
        if self.purposes is not None and chat.purpose not in self.purposes:
            return False
        self.seen += 1
        number = self.seen - self.after
        drawn = 0 < number <= self.first and number % self.every == 0 and self.chance.random() < self.share
        return bool(drawn)


class Behaviour:
    """What a server does from one `set` to the next."""

    def __init__(self, faults: Mapping[str, Any]) -> None:
        check_faults(faults)
        seed = faults.get("seed", 0)
        self.rules = [Rule(rule, seed + i) for i, rule in enumerate([faults, *faults.get("rules", ())])]
        self.latency, self.keep, self.hold = faults.get("latency", 0), faults.get("keep", True), faults.get("hold")
        self.by_prompt, self.models = faults.get("by_prompt", False), faults.get("models", ["tiny"])
        self.models_status, self.models_busy = faults.get("models_status", 200), faults.get("models_busy", 0)
        self.arrived = 0

    def faults_of(self, chat: Chat) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for rule in self.rules:
            if rule.strikes(chat):
                found |= rule.faults
        return found


# HTTP.


def http_response(
    status: int, body: bytes, headers: Mapping[str, str] | None = None, kind: str = "application/json"
) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} {http.client.responses.get(status, 'Odd')}\r\ncontent-type: {kind}\r\n{more}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    return http_response(status, json.dumps(body).encode(), headers)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> bytes:
    return json_response(status, {"error": {"message": message, "type": "error", "code": status}}, headers)


class Connection(asyncio.Protocol):
    """One TCP connection; it answers one request after the other."""

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.received = bytearray()
        self.busy = self.lost = self.closing = False
        self.has_chatted = self.under_way = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.server.connections.discard(self)
        self.chat_is_over()
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._read()

    def _read(self) -> None:
        end = self.received.find(b"\r\n\r\n")
        if self.busy or self.lost or self.closing or end < 0:
            return
        first, *lines = bytes(self.received[:end]).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        whole = end + 4 + int(headers.get("content-length", 0))
        if len(self.received) < whole:
            return
        body = bytes(self.received[end + 4 : whole])
        del self.received[:whole]
        self.busy = True
        method, path, *_ = first.split(" ")
        self.closing = headers.get("connection", "").lower() == "close" or "transfer-encoding" in headers
        if "transfer-encoding" in headers:
            self.send(error_response(411, "say the length of the body"))
        else:
            self.server.handle(self, method, path, headers.get("authorization"), body)

    def send(self, raw: bytes) -> None:
        if self.lost:
            return
        self.chat_is_over()
        self.transport.write(raw)
        self.busy = False
        if self.closing:
            self.transport.close()
        elif self.received:
            asyncio.get_running_loop().call_soon(self._read)

    def send_half(self, raw: bytes) -> None:
        body = raw.index(b"\r\n\r\n") + 4
        self.closing = True
        self.send(raw[: (body + len(raw)) // 2])

    def reset(self) -> None:
        if self.lost:
            return
        self.chat_is_over()
        # Without lingering, closing sends RST in place of FIN. The copy of the descriptor is of the same connection.
        with socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def chat_is_over(self) -> None:
        if self.under_way:
            self.under_way = False
            self.server.under_way -= 1


class Server:
    """Counts and keeps the chat requests, and answers them as its behaviour has it."""

    def __init__(self, faults: Mapping[str, Any]) -> None:
        self.behaviour = Behaviour(faults)
        self.author = Author()
        self.connections: set[Connection] = set()
        self.chats: deque[bytes] = deque(maxlen=MAX_KEPT)
        self.keys: dict[str | None, None] = {}
        self.count = self.chat_connections = self.under_way = self.most_at_once = 0
        self.held: list[Callable[[], None]] = []
        self.waiting: list[tuple[int, Connection]] = []
        self.listening: asyncio.Server | None = None

    def handle(self, connection: Connection, method: str, path: str, key: str | None, body: bytes) -> None:
        if path == "/v1/chat/completions" and method == "POST":
            self.keys[key] = None
            self._chat(connection, key, body)
        elif path == "/v1/models" and method == "GET":
            self.keys[key] = None
            models = [{"id": name, "object": "model"} for name in self.behaviour.models]
            status = self.behaviour.models_status
            answer = {"object": "list", "data": models}
            if self.behaviour.models_busy:
                self.behaviour.models_busy -= 1
                connection.send(error_response(429, "later", {"retry-after": "0"}))
            else:
                connection.send(json_response(200, answer) if status == 200 else error_response(status, "no models"))
        elif path.startswith("/control"):
            self._control(connection, path, body)
        else:
            connection.send(error_response(404, f"no {method} {path}"))

    def _chat(self, connection: Connection, key: str | None, body: bytes) -> None:
        try:
            chat = read_chat(json.loads(body), key)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            connection.send(error_response(400, f"no chat request: {exc!r}"))
            return
        self.count += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        connection.under_way = True
        if not connection.has_chatted:
            connection.has_chatted = True
            self.chat_connections += 1
        behaviour = self.behaviour
        if behaviour.keep:
            self.chats.append(body)
        behaviour.arrived += 1
        faults = behaviour.faults_of(chat)
        answer = self._answer(connection, chat, faults)
        delay = behaviour.latency + faults.get("slow", 0)

        def go_on() -> None:
            if delay and not connection.lost:
                connection.timer = asyncio.get_running_loop().call_later(delay, answer)
            else:
                answer()

        if not faults.get("hang"):
            if behaviour.hold is not None and behaviour.arrived > behaviour.hold:
                self.held.append(go_on)
            else:
                go_on()
        if self.waiting:
            self._tell_waiting()

    def _answer(self, connection: Connection, chat: Chat, faults: Mapping[str, Any]) -> Callable[[], None]:
        """Decide now, in the order of arrival, what is sent later."""
        if faults.get("reset"):
            return connection.reset
        raw = self._response(chat, faults)
        return lambda: connection.send_half(raw) if faults.get("half") else connection.send(raw)

    def _response(self, chat: Chat, faults: Mapping[str, Any]) -> bytes:
        status = faults.get("status", 200)
        headers = {}
        if (pause := faults.get("retry_after")) is not None or faults.get("retry_after_date"):
            date = formatdate(math.ceil(time.time() + (pause or 0)), usegmt=True)
            headers["retry-after"] = date if faults.get("retry_after_date") else str(pause)
        if "raw" in faults:
            return http_response(status, str(faults["raw"]).encode("utf-8", "surrogatepass"), headers)
        if "gzip" in faults:
            zeros = gzip.compress(bytes(faults["gzip"]))
            return http_response(status, zeros, {**headers, "content-encoding": "gzip"})
        if "body" in faults:
            return json_response(status, faults["body"], headers)
        if faults.get("html"):
            return http_response(status, b"<html><body><h1>Please sign in</h1></body></html>", headers, "text/html")
        if faults.get("reject_schema") and chat.schema is not None:
            return error_response(400, "response_format is not supported by this model", headers)
        if status != 200:
            says = str(faults.get("says", http.client.responses.get(status, "an error")))
            return error_response(status, f"{says} {chat.key}" if faults.get("echo_key") else says, headers)
        if faults.get("refusal"):
            refused = _completion(chat, None, "stop", self.count, refusal="I cannot help with that.")
            return json_response(200, refused)
        content = self.author.write(chat, faults, self.behaviour.by_prompt)
        finish = str(faults.get("finish", "stop"))
        if faults.get("cut_off"):
            content, finish = content[: len(content) // 2], "length"
        answer = _completion(chat, content, finish, self.count)
        if faults.get("no_usage"):
            del answer["usage"]
        return json_response(200, answer | {"choices": []} if faults.get("empty_choices") else answer)

    def _control(self, connection: Connection, path: str, body: bytes) -> None:
        match path.removeprefix("/control").lstrip("/").split("/"):
            case [""]:
                try:
                    self.behaviour = Behaviour(json.loads(body))
                except (ValueError, TypeError, AttributeError) as exc:
                    connection.send(error_response(400, str(exc)))
                    return
                connection.send(json_response(200, {}))
            case ["state"]:
                connection.send(json_response(200, self._state()))
            case ["chats"]:
                connection.send(http_response(200, b"[" + b",".join(self.chats) + b"]"))
            case ["release"]:
                self.behaviour.hold = None
                held, self.held = self.held, []
                for go_on in held:
                    go_on()
                connection.send(json_response(200, {}))
            case ["wait", count]:
                self.waiting.append((int(count), connection))
                self._tell_waiting()
            case ["die"]:
                self._die(connection)
            case _:
                connection.send(error_response(404, f"no {path}"))

    def _state(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "keys": list(self.keys),
            "most_at_once": self.most_at_once,
            "connections": self.chat_connections,
        }

    def _tell_waiting(self) -> None:
        still = []
        for count, connection in self.waiting:
            if self.count >= count:
                connection.send(json_response(200, {"count": self.count}))
            elif not connection.lost:
                still.append((count, connection))
        self.waiting = still

    def _die(self, last: Connection) -> None:
        """Break off everything, and hand over what was counted and kept as the last answer."""
        if self.listening:
            self.listening.close()
        for connection in self.connections - {last}:
            connection.transport.abort()
        last.send(http_response(200, json.dumps(self._state()).encode() + b"\n[" + b",".join(self.chats) + b"]"))


async def serve(host: str, port: int, faults: Mapping[str, Any]) -> None:
    """Serve until SIGTERM or Ctrl-C comes, or whoever holds the other end of stdin is gone."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stopped.set())
    server = Server(faults)
    server.listening = await loop.create_server(lambda: Connection(server), host, port, backlog=2048)
    port = server.listening.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://{host}:{port}/v1\n")
    sys.stdout.flush()
    await stopped.wait()
    server.listening.close()
    for connection in list(server.connections):
        connection.transport.abort()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A small server with OpenAI's chat-completions API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--faults", type=json.loads, default={}, help="JSON object; none by default")
    said = parser.parse_args(arguments)
    loop_factory = None
    with suppress(ImportError):
        loop_factory = importlib.import_module("uvloop").new_event_loop  # twice as fast, where there is one
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(said.host, said.port, said.faults))


# The test's side.


class ChatServer:
    """A server in a process of its own, and what it has seen; counts go on over `stop` and `start`.

    Attributes:
        url: What a client takes as the base URL.
        pid: The server's process.
    """

    def __init__(self, faults: Mapping[str, Any]) -> None:
        self._faults: dict[str, Any] = dict(faults)
        self._process: subprocess.Popen[str] | None = None
        self._before: dict[str, Any] = {"count": 0, "keys": [], "most_at_once": 0, "connections": 0}
        self._chats_before: list[dict[str, Any]] = []
        self._port = 0
        self.url, self.pid = "", 0

    def start(self, **faults: Any) -> None:
        """Start, the second time on the same port; the behaviour is the last one set unless another is given."""
        assert self._process is None, "it runs already"
        self._faults = faults or self._faults
        check_faults(self._faults)
        told = ["--port", str(self._port), "--faults", json.dumps(self._faults)]
        command = [sys.executable, str(Path(__file__).resolve()), *told]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url, self.pid = self._process.stdout.readline().strip(), self._process.pid
        if not self.url:
            self._end()
            raise RuntimeError("the chat server did not start; stderr says why")
        self._port = int(self.url.rpartition(":")[2].partition("/")[0])

    def stop(self) -> None:
        """Break off all connections and end the process; do nothing where it is stopped."""
        if self._process is None:
            return
        with suppress(OSError, http.client.HTTPException):  # it may have been killed
            state, _, chats = self._ask("/die").partition(b"\n")
            self._chats_before += json.loads(chats)
            self._before = self._with_before(json.loads(state))
        self._end()

    def set(self, **faults: Any) -> None:
        """Replace the behaviour from now on, and count `first`, `every`, `after` and `hold` from here."""
        check_faults(faults)
        self._faults = faults
        self._ask("", json.dumps(faults).encode())

    def release(self) -> None:
        """Answer what `hold` holds back, and hold nothing from now on."""
        self._faults = {name: value for name, value in self._faults.items() if name != "hold"}
        self._ask("/release")

    def wait_for(self, count: int) -> None:
        """Return once so many chat requests have come.

        Raises:
            TimeoutError: If they have not in `WAIT_S` seconds.
        """
        try:
            self._ask(f"/wait/{max(0, count - self._before['count'])}")
        except TimeoutError as exc:
            raise TimeoutError(f"{self.count()} chat requests came in {WAIT_S} s, not {count}") from exc

    def chats(self) -> list[dict[str, Any]]:
        """Return the bodies of the chat requests in the order of arrival, `MAX_KEPT` of them, the last ones."""
        now = [] if self._process is None else json.loads(self._ask("/chats"))
        return (self._chats_before + now)[-MAX_KEPT:]

    def count(self) -> int:
        """Return how many chat requests have come, whatever became of them."""
        return int(self._state()["count"])

    def keys(self) -> AbstractSet[str | None]:
        """Return the Authorization headers of all requests, None where there was none."""
        return set(self._state()["keys"])

    def most_at_once(self) -> int:
        """Return the most chat requests that were under way at the same time."""
        return int(self._state()["most_at_once"])

    def connections(self) -> int:
        """Return how many TCP connections have carried a chat request."""
        return int(self._state()["connections"])

    def _state(self) -> dict[str, Any]:
        return self._before if self._process is None else self._with_before(json.loads(self._ask("/state")))

    def _with_before(self, now: Mapping[str, Any]) -> dict[str, Any]:
        before = self._before
        summed = {name: before[name] + now[name] for name in ("count", "keys", "connections")}
        return {**summed, "most_at_once": max(before["most_at_once"], now["most_at_once"])}

    def _ask(self, path: str, body: bytes = b"") -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=WAIT_S)) as connection:
            connection.request("POST", f"/control{path}", body)
            response = connection.getresponse()
            said = response.read()
        if response.status != 200:
            raise RuntimeError(f"the chat server answered {response.status}: {said.decode()}")
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:  # closes the pipes, which ends it, and waits
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def chat_server(**faults: Any) -> Iterator[ChatServer]:
    """Run a server as long as the block does."""
    server = ChatServer(faults)
    server.start()
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    main()
