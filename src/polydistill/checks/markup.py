"""Texts with something of a reply's layout left over."""

import re
from collections.abc import Iterable
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams

_MARKUP = {
    "HTML": re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|&(?:[a-zA-Z]+|#\d+|#x[0-9a-fA-F]+);"),
    "markdown": re.compile(
        r"(?<!\w)(\*\*|__)(?=\S).{1,200}?(?<=\S)\1(?!\w)"  # bold
        r"|^\s*\#{1,6}\s|```|\[[^\[\]]{1,200}\]\([^)\s]+\)"  # heading, block of code, link
        r"|(?<![\w`])`(?![\s`])[^`\n]{1,80}(?<!\s)`(?![\w`])",  # code
        re.DOTALL,
    ),
    "a chat token": re.compile(r"<\|[^|<>\s]{1,40}\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"),
    "a placeholder": re.compile(
        r"\[(?:(?:insert|enter|your)\b[^\[\]\n]{1,40}"
        r"|(?:name|date|time|day|city|place|location|address|company|brand|product|number)(?:[ _]\d)?)\]"
        r"|\{\{?\s?[a-z_]{2,40}\s?\}",
        re.IGNORECASE,
    ),
    "a label": re.compile(
        r"^\W*(?:text|example|sentence|label|output|sample|note)\s*\d*\s*:|\"text\"\s*:", re.IGNORECASE
    ),
    "a list": re.compile(r"^\s*(?:\(?\d{1,3}\)|[*•-])\s+\S"),
}
_NUMBERED = re.compile(r"^\s*\d{1,3}\.\s+(\S)")


class Markup(TextCheck):
    """Finds HTML, markdown, chat tokens, placeholders, a label such as "Text:" or "Sport:" and list numbering."""

    meaning = "HTML, markdown, a placeholder, a label or list numbering left over"

    def __init__(self, labels: Iterable[str] = ()) -> None:
        self._markup = dict(_MARKUP)
        # A label such as "1" says too little: numbers begin many a text.
        if names := "|".join(re.escape(label).replace("_", "[_ ]") for label in labels if not label.isdigit()):
            self._markup["its label"] = re.compile(rf"^\W*(?:{names})\W{{0,3}}:\s", re.IGNORECASE)

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for the labels of the task; it has no settings."""
        return cls(context.labels)

    def fault(self, text: str) -> str | None:
        """Look for each kind; "1. maja" is a date, so a number counts as numbering only before no small letter."""
        for kind, pattern in self._markup.items():
            if found := pattern.search(text):
                return f"{kind}: {found.group().strip()}"
        if (found := _NUMBERED.match(text)) and not found.group(1).islower():
            return f"a list: {found.group().strip()}"
        return None
