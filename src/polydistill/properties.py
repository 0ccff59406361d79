"""Properties of a text that mean the same in every language, for drift reports and for the drift monitor."""

import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from polydistill.text import words


def _share_of(*categories: str) -> Callable[[str], float]:
    def share(text: str) -> float:
        return sum(unicodedata.category(c).startswith(categories) for c in text) / max(len(text), 1)

    return share


PROPERTIES: dict[str, Callable[[str], float]] = {
    "characters": len,
    "words": lambda text: len(words(text)),
    "characters per word": lambda text: float(np.mean([len(w) for w in words(text)] or [0])),
    "share of punctuation": _share_of("P"),
    "share of digits": _share_of("Nd"),
    "share of capitals": _share_of("Lu"),
}

# What the drift monitor compares production with: properties of human texts and what the winner says of them, no text.
REFERENCE = pa.schema([("label", pa.string()), *((name, pa.float64()) for name in PROPERTIES)])


def text_properties(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Return for each property of `PROPERTIES` its value per text, float64 of shape (n_texts,)."""
    return {name: np.array([measure(text) for text in texts], dtype=float) for name, measure in PROPERTIES.items()}
