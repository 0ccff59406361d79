"""The texts published with the paper, as they stand there, and the edits that are planted in them."""

import csv
import random
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from polydistill.text import fold

TASKS = ("intent", "topic", "sentiment")
LANGUAGES = ("az", "de", "en", "sl", "sw", "te")
HUMAN, GENERATED, TEST = "train_human_parsed", "train_full", "test"
"""The splits: human training texts, the generations of LLaMA-3-70B, human test texts."""

Labelled = tuple[str, str]
Edit = Callable[[str, Sequence[str], random.Random], str]
"""Changes a text, with words of its language at hand."""


def read(checkout: Path, task: str, language: str, split: str) -> list[Labelled]:
    """Return the different texts of data/<task>/<language>-<split>.csv with their labels; none where it is missing."""
    file = checkout / "data" / task / f"{language}-{split}.csv"
    rows: dict[str, Labelled] = {}
    if file.exists():
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if text := (row["text"] or "").strip():
                    rows.setdefault(fold(text), (text, row["label"]))
    return list(rows.values())


def _on_words(change: Callable[[list[str], int, str], None]) -> Edit:
    def edit(text: str, words: Sequence[str], rng: random.Random) -> str:
        parts = text.split()
        change(parts, rng.randrange(len(parts)), rng.choice(words))
        return " ".join(parts)

    return edit


def _swap(parts: list[str], place: int, _: str) -> None:
    place = min(place, len(parts) - 2)
    parts[place], parts[place + 1] = parts[place + 1], parts[place]


def _typo(text: str, _: Sequence[str], rng: random.Random) -> str:
    place = rng.choice([i for i, c in enumerate(text) if c.isalpha()])
    return text[:place] + rng.choice("aeiostrn") + text[place + 1 :]


def _wide(text: str, *_: object) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in unicodedata.normalize("NFD", text))


ONE_WORD: dict[str, Edit] = {
    "word replaced": _on_words(lambda parts, i, word: parts.__setitem__(i, word)),
    "word inserted": _on_words(lambda parts, i, word: parts.insert(i, word)),
    "word deleted": _on_words(lambda parts, i, word: parts.__delitem__(i)),
    "words swapped": _on_words(_swap),
}
SAME: dict[str, Edit] = {
    "exact": lambda text, *_: text,
    "case": lambda text, *_: text.upper(),
    "punctuation": lambda text, *_: f"«{text.replace(' ', ', ', 1)}»!?",
    "white space": lambda text, *_: f"  {text.replace(' ', chr(0xA0) + ' ')}\n",
    "zero-width": lambda text, *_: "\u200b".join(text),
    "NFKC": _wide,
}
NEARLY: dict[str, Edit] = {**ONE_WORD, "typo": _typo}
