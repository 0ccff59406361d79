"""Finds what was asked for among whatever else a reply holds: a list in a JSON object, or numbered lines."""

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """A line with a number in front."""

    number: int
    content: str


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """Return an object of JSON, None where a key of it stands twice: no telling which of the values is meant."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else None


def _integer(digits: str) -> int | None:
    """Return a number as far as one can be meant; Python refuses to read thousands of digits."""
    return int(digits) if len(digits) < 10 else None


# Not strict: a raw control character in a string is no reason to lose the other strings.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_unique, parse_int=_integer)
_OBJECT = re.compile(r'\{\s*["}]')

# A full stop, a bracket or a colon, as in "10." but not as in "10.30" or "10:30". The number may be in any decimal
# digits, and marks of direction may precede it.
_NUMBERED = re.compile(
    "[\\s\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]*(\\d{1,4})\\s?(?:[.):．）：、](?!\\d)|-(?=\\s))\\s*(.*)"
)

_MAX_LINES = 10_000  # blank ones included; no request asks for as many


def answer_of(text: str) -> tuple[str, list[str]]:
    """Return the reply without what a reasoning model thought first, and what there is to note."""
    answer = text.strip()
    if not answer.startswith("{") and "</think>" in answer:
        return answer.rpartition("</think>")[2].strip(), ["fenced"]
    return answer, []


def find_object(text: str, key: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the one JSON object that has the key, and the faults on the way.

    Objects are not looked for within broken ones, where a text that is quoted could pass for the answer.
    """
    found, around = [], []
    end = 0
    while start := _OBJECT.search(text, end):
        around.append(text[end : start.start()])
        try:
            content, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            return None, ["broken_json"]
        if isinstance(content, dict) and key in content:
            found.append(content)
        else:
            around.append("another object")
    if not end:
        return None, ["no_json"]
    if len(found) > 1:
        return None, ["twofold_json"]
    if not found:
        return None, ["wrong_shape"]
    return found[0], ["fenced"] if any(part.strip() for part in [*around, text[end:]]) else []


def find_list(text: str, key: str) -> tuple[list[Any] | None, list[str]]:
    """Return the list under `key` of the one JSON object that has the key, and the faults on the way."""
    found, faults = find_object(text, key)
    if found is None:
        return None, faults
    return (found[key], faults) if isinstance(found[key], list) else (None, ["wrong_shape"])


def find_lines(text: str) -> tuple[list[Line], list[str]]:
    """Return the lines with a number in front, and the faults on the way."""
    if text.count("\n") > _MAX_LINES:
        return [], ["wrong_shape"]
    # Not splitlines(), which also splits at characters that may stand in a text, such as U+2028.
    matches = [_NUMBERED.match(line) for line in text.split("\n") if line.strip()]
    lines = [Line(int(m[1]), m[2].strip()) for m in matches if m]
    if not lines:
        return [], ["no_lines"]
    return lines, ["fenced"] if len(lines) < len(matches) else []


def unquote(text: str) -> str:
    """Return what a text in JSON's quotes says, any other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        content, end = _DECODER.raw_decode(text)
    except ValueError:
        return text
    return content if isinstance(content, str) and end == len(text) else text
