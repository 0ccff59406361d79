"""Reads the label that an answer names; where it names none for sure, that is an abstention, never a guess."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from polydistill.replies.parsing import find_object
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

_FENCE = re.compile(r"\s*```\w*\s*(\{.*\})\s*```\s*", re.DOTALL)
_QUOTE = re.compile(r'["“”„«»]([^"“”„«»]+)["“”„«»]')
# Before a label that the answer says stands in the text.
_MENTIONED = re.compile(
    r"\b(?:mention(?:s|ed|ing)|says|contains|includes|quotes|words?|phrase|term|expression)\s+"
    r'(?:of\s+)?(?:the\s+)?(?:words?\s+|phrase\s+|term\s+)?["“”„«»]*$'
)

# What follows a verdict to give reasons, in which the names of labels may stand as mere words ...
_REASONS = re.compile(
    r"[\s,](?:as|because|since|due to|given|considering|specifically)\b"
    r"|[.!]\s+(?:it|this|the (?:text|article|message|sentence|news|piece|post)(?: of news)?)\s+"
    r"(?:mention|discusse|describe|talk|refer|state|report|highlight|explain|provide)s?\b"
)
# ... unless it takes something back, or names a second label.
_TURN = re.compile(
    rf"\b(?:{_NOT}|no|however|but|although|though|also|too|as well|alternatively|possibly|potentially|perhaps"
    r"|(?:could|might|may|can)\s+(?:be|fall|fit|relate)|another|additionally|both|instead|rather|either|categor\w+"
    r"|label\w*|class\w*|topics?|falls?|fits?|belongs?|related)\b"
)
_JOINED = re.compile(r"(?:\b(?:and|or)|[/&+])\s*$")

_AROUND = r"[\s\"'“”„«»‘’*_`()\[\].,:;!#]*"
_CALLED = r"(?:(?:the\s+)?(?:correct\s+|best\s+)?(?:answer|label|option|choice|category|number)\b(?:\s+is\b)?)"
_NUMBER_ALONE = re.compile(rf"(?:{_AROUND}{_CALLED})*{_AROUND}(\d{{1,4}}){_AROUND}")
# "3, because ..." or "3 - it is ..."; "3. It is ..." may as well be the third point of a list.
_NUMBER_AND_REASONS = re.compile(
    rf"{_AROUND}(\d{{1,4}})(?:\s*[,;:–—]\s++|\s+-\s++|[.)]?\s++(?=because\b|since\b|as\b))(\D++)"
)
_NUMBER_WITH_NAME = re.compile(rf"(?:^{_AROUND}|\b{_CALLED}[\s:#]*)(\d{{1,4}})(?![\w%])")


def read_label(
    text: str, labels: Sequence[Label], language: str, *, options: Sequence[str] = (), asked: str = ""
) -> str | None:
    """Return the one label that an answer names, or None (an abstention) where it names none, several, or denies one.

    A label is named by its name (`_`, `-`, `/` and a space are the same) or by what it is called in `language` or in
    English, as whole words, in any case; a name within a longer one does not count, nor one that the answer says stands
    in the text. An answer of nothing but a label always counts. Reasons given after a label may hold the names of
    others as mere words. Denials and reasons are known in English only.

    Args:
        text: The answer, without thoughts before it. Of JSON with the key `label`, only that counts.
        labels: Those of the task.
        language: Of the text that was asked about.
        options: Names of the labels in the order in which the prompt numbered them from 1; where it did not, a number
            says nothing.
        asked: The text that was asked about; what the answer quotes of it is not the answer's own.
    """
    said = _in_json(text)
    if said is None:
        return None
    answer = fold_case(said)
    owners: dict[str, set[str]] = {}
    for label in labels:
        for name in (label.name, label.names.get(language), label.names.get("en")):
            if name:
                owners.setdefault(_name_pattern(name), set()).add(label.name)
    if any(name.isdecimal() for name in owners):
        options = ()
    mentions = _find(answer, owners, fold_case(asked))
    named = {name for _, names in mentions for name in names}
    if not named:
        return _by_number(answer, options)
    alone = len(mentions) == 1 and not re.search(
        r"\w", answer[: mentions[0][0].start()] + answer[mentions[0][0].end() :]
    )
    if alone:
        return named.pop() if len(named) == 1 else None
    if _NONE_FITS.search(answer) or any(_is_denied(answer, mention) for mention, _ in mentions):
        return None
    if len(named) > 1:
        named = _before_reasons(answer, mentions)
    numbers = [int(m[1]) for m in _NUMBER_WITH_NAME.finditer(answer)] if options else []
    if len(named) != 1 or any(0 < n <= len(options) and options[n - 1] not in named for n in numbers):
        return None
    return named.pop()


def _in_json(text: str) -> str | None:
    """Return the label of an answer in JSON and nothing else, None where there is none in it; any other text as is."""
    fence = _FENCE.fullmatch(text)
    found, faults = find_object(fence[1] if fence else text, "label")
    if found is None or faults:
        return text
    label = found["label"]
    return str(label) if isinstance(label, str) or type(label) is int else None


def _find(answer: str, owners: Mapping[str, set[str]], asked: str) -> list[tuple[re.Match[str], set[str]]]:
    """Return where the answer names labels, and which."""
    # The longest first: "mental health" is no mention of "health", nor "not spam" one of "spam".
    patterns = sorted(owners, key=len, reverse=True)
    # No word may go on beside a name: "alarm" is not in "alarming", "sarcastic" not in "non-sarcastic".
    any_name = re.compile(rf"(?<![\w-])(?:{'|'.join(f'({pattern})' for pattern in patterns)})(?!-?\w)")
    if asked:
        answer = _QUOTE.sub(
            lambda quote: quote[0] if any_name.fullmatch(quote[1]) or quote[1] not in asked else " " * len(quote[0]),
            answer,
        )
    return [
        (m, owners[patterns[(m.lastindex or 1) - 1]])
        for m in any_name.finditer(answer)
        if not _is_mark(answer[m.end() : m.end() + 1])
        and not _MENTIONED.search(answer, max(0, m.start() - _REACH), m.start())
    ]


def _before_reasons(answer: str, mentions: Sequence[tuple[re.Match[str], set[str]]]) -> set[str]:
    """Return the labels of the verdict, if all others are mere words in the reasons given for it; else all labels."""
    everything = {name for _, names in mentions for name in names}
    reasons = _REASONS.search(answer, mentions[0][0].end())
    if reasons is None or _TURN.search(answer, reasons.end()):
        return everything
    verdict = {name for m, names in mentions if m.start() < reasons.start() for name in names}
    for mention, names in mentions:
        before = answer[max(0, mention.start() - _REACH) : mention.start()]
        if (
            mention.start() > reasons.start()
            and names != verdict
            and (_JOINED.search(before) or before[-1] in '"“„«\n')
        ):
            return everything
    return verdict


def _by_number(answer: str, options: Sequence[str]) -> str | None:
    """Return the option whose number the answer is, or begins with before it gives reasons."""
    chosen = _NUMBER_ALONE.fullmatch(answer)
    if chosen is None:
        chosen = _NUMBER_AND_REASONS.fullmatch(answer)
        if chosen is None or re.search(rf"\b(?:{_NOT}|no|none|or|neither)\b", chosen[2]):
            return None
    number = int(chosen[1])
    return options[number - 1] if 0 < number <= len(options) else None


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
