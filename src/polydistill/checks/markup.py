"""Texts with something of a reply's layout left over."""

import re
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams

_MARKUP = {
    "HTML": re.compile(r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?/?>|&(?:[a-zA-Z]+|#\d+|#x[0-9a-fA-F]+);"),
    "markdown": re.compile(
        r"(?<!\w)(\*\*|__)(?=\S).{1,200}?(?<=\S)\1(?!\w)"  # bold
        r"|^\s*\#{1,6}\s|```|\[[^\[\]]{1,200}\]\([^)\s]+\)",  # heading, code, link
        re.DOTALL,
    ),
    "a label": re.compile(
        r"^\W*(?:text|example|sentence|label|output|sample|note)\s*\d*\s*:|\"text\"\s*:", re.IGNORECASE
    ),
    "a list": re.compile(r"^\s*(?:\(?\d{1,3}\)|[*•-])\s+\S"),
}
_NUMBERED = re.compile(r"^\s*\d{1,3}\.\s+(\S)")


class Markup(TextCheck):
    """Finds HTML, markdown, a label such as "Text:" and list numbering."""

    meaning = "HTML, markdown, a label or list numbering left over"

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which has no settings."""
        return cls()

    def fault(self, text: str) -> str | None:
        """Look for each kind; "1. maja" is a date, so a number counts as numbering only before no small letter."""
        for kind, pattern in _MARKUP.items():
            if found := pattern.search(text):
                return f"{kind}: {found.group().strip()}"
        if (found := _NUMBERED.match(text)) and not found.group(1).islower():
            return f"a list: {found.group().strip()}"
        return None
