"""Reads a teacher's replies: each is hostile input until it is parsed, and what cannot be read is said, not guessed."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polydistill.task import Label
from polydistill.teachers import Reply

TEXTS_SCHEMA = {
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
    "required": ["texts"],
    "additionalProperties": False,
}
VERDICTS_SCHEMA = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "number": {"type": "integer"},
                    "accept": {"type": "boolean"},
                    "reason": {"type": "string"},
                },
                "required": ["number", "accept", "reason"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}


class UnreadableReply(Exception):
    """A reply that does not hold what was asked for; a fact about the teacher, not an error of the run."""


@dataclass(frozen=True)
class Verdict:
    """A teacher's judgement of one text; `accept` is None where none could be read."""

    accept: bool | None
    reason: str


def read_texts(reply: Reply) -> list[str]:
    """Return the texts of a reply to `generate`.

    Raises:
        UnreadableReply: If it holds no list of texts.
    """
    texts = _read_object(reply).get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UnreadableReply("`texts` is no list of texts")
    return [_encodable(text).strip() for text in texts]


def read_verdicts(reply: Reply, count: int) -> list[Verdict]:
    """Return a verdict for each of `count` texts; one that is missing, twofold or malformed is no verdict."""
    try:
        entries = _read_object(reply).get("verdicts")
    except UnreadableReply as exc:
        return [Verdict(None, str(exc))] * count
    by_number: dict[int, list[Verdict]] = {}
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("accept"), bool) and isinstance(entry.get("number"), int):
            verdict = Verdict(entry["accept"], _encodable(str(entry.get("reason", ""))))
            by_number.setdefault(entry["number"], []).append(verdict)
    found = [by_number.get(number, []) for number in range(1, count + 1)]
    return [verdicts[0] if len(verdicts) == 1 else Verdict(None, f"{len(verdicts)} verdicts") for verdicts in found]


_NEGATED = r"\b(?:not|nor|neither|never|no|isn't|doesn't|cannot|can't|rather than|instead of)\b[^.!?\n]{0,40}"


def read_label(text: str, labels: Sequence[Label], language: str) -> str | None:
    """Return the one label that an answer names, or None (an abstention) where it names none, several, or denies one.

    A label is named by its name (`_`, `-` and `/` may be spaces) or by what speakers of `language` call it, as whole
    words, in any case. An answer of nothing but a label always counts.
    """
    answer = " ".join(text.casefold().split())
    mentioned = set()
    for label in labels:
        # (?<!\w) and (?!\w) keep "alarm" out of "alarming"; \b would fail beside a label that ends in a mark.
        pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in _names(label, language))
        if re.fullmatch(rf"\W*(?:{pattern})\W*", answer):
            return label.name
        if re.search(pattern, answer):
            mentioned.add(label.name)
            if re.search(rf"{_NEGATED}(?:{pattern})", answer):
                return None
    return mentioned.pop() if len(mentioned) == 1 else None


def _names(label: Label, language: str) -> list[str]:
    names = {label.name, re.sub(r"[_/-]", " ", label.name)}
    names |= {label.names[language]} if language in label.names else set()
    return sorted(name.casefold() for name in names)


def _read_object(reply: Reply) -> dict[str, Any]:
    """Return the first JSON object in the reply; words or a Markdown fence around it do no harm."""
    start = reply.text.find("{")
    if start < 0:
        raise UnreadableReply("no JSON")
    try:
        found, _ = json.JSONDecoder().raw_decode(reply.text, start)
    except (json.JSONDecodeError, RecursionError) as exc:
        cut = " (cut off at the token limit)" if reply.finish_reason == "length" else ""
        raise UnreadableReply(f"broken JSON{cut}") from exc
    content: dict[str, Any] = found
    return content


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can hold and UTF-8 cannot, by the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
