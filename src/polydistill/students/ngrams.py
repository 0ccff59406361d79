"""How often texts hold which character and word n-grams, counted once for all trainings on them."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from polydistill.text import fold_case

_WORDS = "\t"
"""Stands before an n-gram of words, so that a word is not taken for the same characters within a longer one."""
_DIGIT = re.compile(r"\d")


class _Apart(dict[int, str]):
    """What `str.translate` makes of each code point: punctuation and symbols become words of their own."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = f" {character} " if unicodedata.category(character)[0] in "PS" else character
        return self[code]


_APART = _Apart()


@dataclass(frozen=True)
class Ngrams:
    """The n-grams of some texts.

    Attributes:
        terms: The n-grams, sorted; those of words begin with a tab.
        counts: 1 + log of how often a text holds one, float32 of shape (n_texts, n_terms), column numbers sorted.
        rows: Where a text stands in `counts`.
    """

    terms: np.ndarray
    counts: sp.csr_matrix
    rows: Mapping[str, int]

    @cached_property
    def lengths(self) -> np.ndarray:
        """The characters of each n-gram; 0 for one of words."""
        return np.array([0 if term.startswith(_WORDS) else len(term) for term in self.terms])

    def rows_of(self, texts: Sequence[str]) -> list[int]:
        """Return where each of the texts stands in `counts`."""
        return [self.rows[text] for text in texts]


def words(text: str) -> list[str]:
    """Return the words that n-grams are made of: case folded, each digit a 0, a mark of punctuation a word."""
    return _DIGIT.sub("0", fold_case(text)).translate(_APART).split()


def count_ngrams(texts: Sequence[str], max_chars: int, max_words: int) -> Ngrams:
    """Count all n-grams of texts.

    Args:
        texts: The texts, each once.
        max_chars: The longest of characters; they stay within words, and the shortest is 2, borders counted.
        max_words: The longest of words; the shortest is 1.
    """
    columns: dict[str, int] = {}
    found, ends = _find(texts, max_chars, max_words, lambda terms: [columns.setdefault(t, len(columns)) for t in terms])
    terms = np.array(list(columns), dtype=object)
    order = np.argsort(terms)
    place = np.empty(len(terms), np.int32)
    place[order] = np.arange(len(terms))
    return Ngrams(terms[order], _counts(place[found], ends, len(terms)), {text: row for row, text in enumerate(texts)})


def count_known(texts: Sequence[str], max_chars: int, max_words: int, columns: Mapping[str, int]) -> sp.csr_matrix:
    """Count the n-grams that have a column; the same as `Ngrams.counts` for these."""
    found, ends = _find(texts, max_chars, max_words, lambda terms: [columns[t] for t in terms if t in columns])
    return _counts(found, ends, len(columns))


def _find(
    texts: Sequence[str], max_chars: int, max_words: int, to_columns: Callable[[Sequence[str]], list[int]]
) -> tuple[np.ndarray, list[int]]:
    """Return the columns of the n-grams of all texts, and where those of each text end."""
    within: dict[str, list[int]] = {}  # a word comes up often, and its n-grams are always the same
    found: list[int] = []
    ends = [0]
    for text in texts:
        of_text = words(text)
        for word in of_text:
            if word not in within:
                within[word] = to_columns(_characters(word, max_chars))
            found += within[word]
        for length in range(1, max_words + 1):
            runs = (of_text[start : start + length] for start in range(len(of_text) - length + 1))
            found += to_columns([_WORDS + " ".join(run) for run in runs])
        ends.append(len(found))
    return np.array(found, dtype=np.int32), ends


def _counts(found: np.ndarray, ends: Sequence[int], n_terms: int) -> sp.csr_matrix:
    counts = sp.csr_matrix((np.ones(len(found), np.float32), found, ends), shape=(len(ends) - 1, n_terms))
    counts.sum_duplicates()
    counts.data = 1 + np.log(counts.data)
    return counts


def _characters(word: str, longest: int) -> list[str]:
    bordered = f" {word} "
    return [
        bordered[start : start + length]
        for length in range(2, longest + 1)
        for start in range(len(bordered) - length + 1)
    ]
