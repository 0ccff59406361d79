"""Reads a teacher's replies: each is hostile input until it is parsed, and what cannot be read is said, not guessed."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polydistill.task import Label
from polydistill.teachers import Reply
from polydistill.text import fold_case

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
        if isinstance(entry, dict) and isinstance(entry.get("accept"), bool) and type(entry.get("number")) is int:
            verdict = Verdict(entry["accept"], _encodable(str(entry.get("reason", ""))))
            by_number.setdefault(entry["number"], []).append(verdict)
    found = [by_number.get(number, []) for number in range(1, count + 1)]
    return [verdicts[0] if len(verdicts) == 1 else Verdict(None, f"{len(verdicts)} verdicts") for verdicts in found]


# Denials in English, in which most teachers answer, whatever the language of the text.
_NOT = r"not|cannot|\w+n['’]t"
_DENIED_BEFORE = re.compile(
    rf"(?<!\w)(?:{_NOT}|no|non|nor|neither|never|none|without|except|unlike|hardly|refuse|lacks?|rather than|instead of"
    r"|anything but|far from|opposite of|fails? to)\b[^.!?\n]{0,40}$"
)
_DENIED_AFTER = re.compile(rf"[^\w\s.,;:!?]*(?:\s+\w+){{0,2}}\s+(?:{_NOT})\b")
_NONE_FITS = re.compile(rf"(?<!\w)(?:none of|(?:{_NOT})\b[^.!?\n]{{0,40}}\b(?:any|either))\b")


def read_label(text: str, labels: Sequence[Label], language: str) -> str | None:
    """Return the one label that an answer names, or None (an abstention) where it names none, several, or denies one.

    A label is named by its name (`_`, `-`, `/` and a space are the same) or by what it is called in `language` or in
    English, as whole words, in any case; a name within a longer one does not count. An answer of nothing but a label
    always counts. Denials are known in English only.
    """
    answer = fold_case(text)
    owners: dict[str, set[str]] = {}
    for label in labels:
        for name in (label.name, label.names.get(language), label.names.get("en")):
            if name:
                owners.setdefault(_name_pattern(name), set()).add(label.name)
    # The longest first: "mental health" is no mention of "health", nor "not spam" one of "spam".
    patterns = sorted(owners, key=len, reverse=True)
    # No word may go on beside a name: "alarm" is not in "alarming", "sarcastic" not in "non-sarcastic".
    any_name = rf"(?<![\w-])(?:{'|'.join(f'({pattern})' for pattern in patterns)})(?!-?\w)"
    mentions = [m for m in re.finditer(any_name, answer) if not _is_mark(answer[m.end() : m.end() + 1])]
    named = {name for m in mentions for name in owners[patterns[(m.lastindex or 1) - 1]]}
    alone = len(mentions) == 1 and not re.search(r"\w", answer[: mentions[0].start()] + answer[mentions[0].end() :])
    if not alone and (_NONE_FITS.search(answer) or any(_is_denied(answer, m) for m in mentions)):
        return None
    return named.pop() if len(named) == 1 else None


def _is_denied(answer: str, mention: re.Match[str]) -> bool:
    return bool(_DENIED_BEFORE.search(answer[: mention.start()]) or _DENIED_AFTER.match(answer[mention.end() :]))


def _is_mark(character: str) -> bool:
    """Say whether it is a vowel sign or the like, with which a word goes on in many scripts."""
    return bool(character) and unicodedata.category(character)[0] == "M"


def _name_pattern(name: str) -> str:
    parts = re.split(r"(?<=[^\W_])[\s_/-]+(?=[^\W_])", fold_case(name))
    return r"\s*[\s_/-]\s*".join(map(re.escape, parts))


def _read_object(reply: Reply) -> dict[str, Any]:
    """Return the first JSON object in the reply; words or a Markdown fence around it do no harm."""
    start = reply.text.find("{")
    if start < 0:
        raise UnreadableReply("no JSON")
    try:
        found, _ = json.JSONDecoder().raw_decode(reply.text, start)
    except (ValueError, RecursionError) as exc:  # not JSONDecodeError alone: numbers of thousands of digits
        cut = " (cut off at the token limit)" if reply.finish_reason == "length" else ""
        raise UnreadableReply(f"broken JSON{cut}") from exc
    content: dict[str, Any] = found
    return content


def _encodable(text: str) -> str:
    """Replace lone surrogates, which JSON can hold and UTF-8 cannot, by the replacement character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
