"""Reads the texts of a reply to `generate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polydistill.replies.faults import reply_faults, text_fault
from polydistill.replies.parsing import answer_of, find_lines, find_list, unquote
from polydistill.teachers.base import ChatRequest, Reply

TEXTS_SCHEMA = {
    "type": "object",
    "properties": {"texts": {"type": "array", "items": {"type": "string"}}},
    "required": ["texts"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class TextsRead:
    """The texts that can be kept, as many as were asked for at most, and the faults found, each once."""

    texts: list[str]
    faults: list[str]


def read_texts(request: ChatRequest, reply: Reply) -> TextsRead:
    """Return the texts of a reply, whatever it holds; white space around a text goes."""
    if faults := reply_faults(reply):
        return TextsRead([], faults)
    answer, noted = answer_of(reply.text)
    if not answer:
        return TextsRead([], ["empty"])
    entries, faults = _entries(answer, structured=request.schema is not None)
    if entries is None:
        return TextsRead([], faults)
    faults = [*noted, *faults] + (["wrong_count"] if len(entries) != request.count else [])
    texts: list[str] = []
    for entry in entries:
        # A reply of a hundred thousand texts is not worth reading to its end.
        if len(texts) == request.count:
            break
        if not isinstance(entry, str):
            faults.append("not_text")
        elif fault := text_fault(entry.strip()):
            faults.append(fault)
        else:
            texts.append(entry.strip())
    return TextsRead(texts, list(dict.fromkeys(faults)))


def _entries(answer: str, *, structured: bool) -> tuple[Sequence[Any] | None, list[str]]:
    if structured:
        return find_list(answer, "texts")
    lines, faults = find_lines(answer)
    if not lines:
        return None, faults
    # The examples stand in quotes, which some models take over for all texts; quotes around only some may be their own.
    contents = [line.content for line in lines]
    unquoted = [unquote(content) for content in contents]
    if all(plain != content for plain, content in zip(unquoted, contents, strict=True)):
        return unquoted, [*faults, "fenced"]
    return contents, faults
