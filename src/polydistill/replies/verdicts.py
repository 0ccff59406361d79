"""Reads the verdicts of a reply to `revise`: a text is accepted only by a verdict that says so without any doubt."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from polydistill.replies.faults import reply_faults, text_fault
from polydistill.replies.parsing import Line, answer_of, find_lines, find_list, unquote
from polydistill.teachers.base import ChatRequest, Reply
from polydistill.text import tidy

Decision = Literal["accept", "repair", "reject"]
Aspect = Literal["language", "label", "natural"]

DECISIONS: tuple[Decision, ...] = get_args(Decision)
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)

_FIELDS = {
    "number": {"type": "integer"},
    "language": {"type": "boolean"},
    "label": {"type": "boolean"},
    "natural": {"type": "boolean"},
    "decision": {"type": "string", "enum": list(DECISIONS)},
    "text": {"type": "string"},
    "reason": {"type": "string"},
}
VERDICTS_SCHEMA = {
    "type": "object",
    "properties": {
        "verdicts": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": _FIELDS,
                "required": list(_FIELDS),
                "additionalProperties": False,
            },
        }
    },
    "required": ["verdicts"],
    "additionalProperties": False,
}

_MAX_REASON = 300  # characters
_SAID: dict[str, Decision] = {word: decision for decision in DECISIONS for word in (decision, f"{decision}ed")}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A teacher's judgement of one text.

    `decision` is None where none could be read; `reason` then names the fault. `repaired` is the better text of a
    repair, and `faulted` what the teacher finds wrong with the text as it was, as far as it says so.
    """

    decision: Decision | None
    repaired: str | None
    faulted: tuple[Aspect, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class VerdictsRead:
    """A verdict for each text that was asked about, in its order, and the faults found, each once."""

    verdicts: list[Verdict]
    faults: list[str]


@dataclass(frozen=True, slots=True)
class _Found:
    """A verdict as it stands in a reply; the number is None where it has none."""

    number: int | None
    verdict: Verdict
    fault: str | None = None


def read_verdicts(request: ChatRequest, reply: Reply) -> VerdictsRead:
    """Return a verdict for each of the request's texts; one that is missing, twofold or broken decides nothing."""
    if faults := reply_faults(reply):
        return VerdictsRead([_undecided(faults[0])] * request.count, faults)
    answer, noted = answer_of(reply.text)
    found, faults = _find(answer, structured=request.schema is not None) if answer else (None, ["empty"])
    if found is None:
        return VerdictsRead([_undecided(faults[0])] * request.count, faults)
    faults = [*noted, *faults]
    by_number: dict[int, list[_Found]] = {number: [] for number in range(1, request.count + 1)}
    for one in found:
        if one.number is None:
            faults.append("broken_verdict")
        elif one.number in by_number:
            by_number[one.number].append(one)
        else:
            faults.append("wrong_count")
    verdicts = []
    for of_one in by_number.values():
        fault = of_one[0].fault if len(of_one) == 1 else "twofold_verdict" if of_one else "no_verdict"
        faults += [fault] if fault else []
        verdicts.append(of_one[0].verdict if len(of_one) == 1 else _undecided(str(fault)))
    return VerdictsRead(verdicts, list(dict.fromkeys(faults)))


def _find(answer: str, *, structured: bool) -> tuple[Iterable[_Found] | None, list[str]]:
    if structured:
        entries, faults = find_list(answer, "verdicts")
        return (None if entries is None else map(_from_entry, entries)), faults
    lines, faults = find_lines(answer)
    return (map(_from_line, lines) if lines else None), faults


def _undecided(fault: str, faulted: tuple[Aspect, ...] = ()) -> Verdict:
    return Verdict(None, None, faulted, fault)


def _from_entry(entry: Any) -> _Found:
    # type() rather than isinstance(): true is no number
    if not isinstance(entry, dict) or type(entry.get("number")) is not int:
        return _Found(None, _undecided("broken_verdict"))
    number: int = entry["number"]
    if not _is_whole(entry):
        return _Found(number, _undecided("broken_verdict"), "broken_verdict")
    faulted = tuple(aspect for aspect in ASPECTS if not entry[aspect])
    return _decide(number, entry["decision"], faulted, entry.get("text") or "", entry.get("reason") or "")


def _is_whole(entry: Mapping[str, Any]) -> bool:
    return (
        all(isinstance(entry.get(aspect), bool) for aspect in ASPECTS)
        and entry.get("decision") in DECISIONS
        and all(isinstance(entry.get(words), str | None) for words in ("text", "reason"))
    )


def _from_line(line: Line) -> _Found:
    """Read "accept", "reject: label: why" or "repair: the better text"."""
    said, _, rest = line.content.replace("：", ":", 1).partition(":")
    decision = _SAID.get(said.strip(" *_`.!").casefold())
    if decision is None:
        return _Found(line.number, _undecided("broken_verdict"), "broken_verdict")
    if decision == "repair":
        return _decide(line.number, decision, (), unquote(rest.strip()), "")
    if decision == "accept":
        # Whatever comes after it could be a "but".
        doubt = re.search(r"\w", rest)
        fault = "contradiction" if doubt else None
        return _Found(line.number, _undecided("contradiction") if doubt else Verdict("accept", None, (), ""), fault)
    named, colon, why = rest.partition(":")
    words = set(re.findall(r"\w+", named.casefold()))
    faulted = tuple(aspect for aspect in ASPECTS if aspect in words)
    if len(words) == len(faulted):  # else it is a reason that happens to hold a colon
        return _decide(line.number, decision, faulted, "", why)
    return _decide(line.number, decision, (), "", rest)


def _decide(number: int, decision: Decision, faulted: tuple[Aspect, ...], text: str, reason: str) -> _Found:
    reason = tidy(reason, _MAX_REASON)
    if decision == "accept" and faulted:
        return _Found(number, _undecided("contradiction", faulted), "contradiction")
    if decision != "repair":
        return _Found(number, Verdict(decision, None, faulted, reason))
    repaired = text.strip()
    if fault := text_fault(repaired):
        fault = "no_repair" if fault == "blank" else fault
        return _Found(number, _undecided(fault, faulted), fault)
    return _Found(number, Verdict("repair", repaired, faulted, reason))
