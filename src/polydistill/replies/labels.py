"""Reads the label that an answer names."""

import re
import unicodedata
from collections.abc import Sequence

from polydistill.task import Label
from polydistill.text import fold_case

# Denials in English, in which most teachers answer, whatever the language of the text.
_NOT = r"not|cannot|\w+n['’]t"
_DENIED_BEFORE = re.compile(
    rf"(?<!\w)(?:{_NOT}|no|non|nor|neither|never|none|without|except|unlike|hardly|refuse|lacks?|rather than|instead of"
    r"|anything but|far from|opposite of|fails? to)\b[^.!?\n]{0,40}$"
)
_REACH = 100  # characters before a mention: all that a denial may stand in, with room for a long word
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
    # Not the whole answer: a long one that names labels all along would be searched once a mention.
    before = answer[max(0, mention.start() - _REACH) : mention.start()]
    return bool(_DENIED_BEFORE.search(before) or _DENIED_AFTER.match(answer, mention.end()))


def _is_mark(character: str) -> bool:
    """Say whether it is a vowel sign or the like, with which a word goes on in many scripts."""
    return bool(character) and unicodedata.category(character)[0] == "M"


def _name_pattern(name: str) -> str:
    parts = re.split(r"(?<=[^\W_])[\s_/-]+(?=[^\W_])", fold_case(name))
    # Written so that spaces match in one way only; there may be a great many of them.
    return r"(?:\s+(?:[_/-]\s*)?|[_/-]\s*)".join(map(re.escape, parts))
