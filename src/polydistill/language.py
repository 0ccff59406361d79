"""Which language a text is in, judged by py3langid among a few candidates."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import langcodes
import numpy as np
import py3langid.langid
import yaml

# Texts of similar length are walked together; that many bytes of them, padding counted, take some 50 MB.
_BYTES_AT_ONCE = 2**18


class Identifier(Protocol):
    """Judges texts among a few languages.

    Attributes:
        languages: ISO 639 codes of the candidates, sorted.
        unknown: The tags asked for that it does not know; they are no candidates.
    """

    languages: list[str]
    unknown: list[str]

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return how likely each text is in each language: rows of sum 1, columns in the order of `languages`."""
        ...


class LanguageIdentifier:
    """The `Identifier` that py3langid is; the large model behind it is loaded once per process.

    The numbers are those of py3langid's own `rank`, for many texts at once.
    """

    def __init__(self, tags: Iterable[str]) -> None:
        codes = {tag: language_code(tag) for tag in tags}
        model = _model()
        self.languages = sorted(set(model.labels).intersection(codes.values()))
        self.unknown = sorted(tag for tag, code in codes.items() if code not in model.labels)
        # A language written in two scripts has two columns; they are added up in the end.
        self._columns = [i for i, label in enumerate(model.labels) if label in self.languages]
        self._belongs = np.array([self.languages.index(model.labels[i]) for i in self._columns], dtype=int)
        self._weights = model.weights[:, self._columns].astype(np.float32)
        self._prior = model.prior[self._columns]

    def probabilities(self, text: str) -> dict[str, float]:
        """Return for each of `languages` how likely the text is in it, likeliest first; together they make 1."""
        scores = zip(self.languages, self.score([text])[0].tolist(), strict=True)
        return dict(sorted(scores, key=lambda item: (-item[1], item[0])))

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return how likely each text is in each language: rows of sum 1, columns in the order of `languages`."""
        scores = np.zeros((len(texts), len(self.languages)), dtype=np.float32)
        if self.languages:
            encoded = [_encode(text) for text in texts]
            for places in _batches([len(text) for text in encoded]):
                scores[places] = self._score([encoded[i] for i in places])
        return scores

    def _score(self, encoded: Sequence[bytes]) -> np.ndarray:
        rows, features, counts = _count_features(encoded)
        raw = np.zeros((len(encoded), len(self._columns)), dtype=np.float32)
        if len(rows):
            terms = np.log1p(counts.astype(np.float32))[:, None] * self._weights[features]
            starts = np.flatnonzero(np.diff(rows, prepend=-1))
            raw[rows[starts]] = np.add.reduceat(terms, starts) + self._prior
        # What py3langid does to have probabilities that mean the same for short and for long texts.
        raw /= np.sqrt([[max(len(text), 1)] for text in encoded], dtype=np.float32)
        likelihood = np.exp(raw - raw.max(axis=1, keepdims=True))
        merged = np.zeros((len(encoded), len(self.languages)), dtype=np.float32)
        for column, language in enumerate(self._belongs):
            merged[:, language] += likelihood[:, column]
        merged /= merged.sum(axis=1, keepdims=True)
        return merged


@cache
def language_code(tag: str) -> str:
    """Return the code that py3langid has for the language of a BCP 47 tag, or the language's own where it has none."""
    language = langcodes.Language.get(tag).language or tag
    return langcodes.closest_supported_match(language, sorted(set(_model().labels)), max_distance=1) or language


def close_relatives(code: str) -> list[str]:
    """Return the codes of the languages that a text meant to be in `code` may have slipped into, without English."""
    relatives: list[str] = _facts()["relatives"].get(code, [])
    return relatives


def anchors() -> list[str]:
    """Return the codes of the languages that stand for all that are no candidates."""
    codes: list[str] = _facts()["anchors"]
    return codes


@dataclass(frozen=True)
class TellTales:
    """What is common in one language and rare in another: words, and parts of words."""

    words: frozenset[str]
    parts: re.Pattern[str] | None

    def found_in(self, text_words: Iterable[str]) -> list[str]:
        """Return the words that give the language away, sorted; parts count in those that begin with a small letter."""
        return sorted(
            word
            for word in set(text_words)
            if word.lower() in self.words or (self.parts and word[0].islower() and self.parts.search(word))
        )


@cache
def telltales(language: str, against: str) -> TellTales | None:
    """Return what gives `language` away in a text meant to be in `against`, None where the table has nothing."""
    entry = _facts()["telltales"].get(against, {}).get(language)
    if entry is None:
        return None
    parts = entry.get("parts", "").split()
    return TellTales(frozenset(entry["words"].split()), re.compile("|".join(parts)) if parts else None)


@dataclass(frozen=True)
class _Model:
    """The tables of py3langid's naive Bayes classifier over byte n-grams, which an automaton finds.

    Attributes:
        labels: The language of each column of `weights` and `prior`.
        weights: Log-likelihoods, shape (n_features, n_columns).
        prior: Log-priors of the columns.
        row: The row of `next_state` for each state.
        next_state: For each row the state after each of the 256 bytes, one row after the other.
        feature: The feature that is complete in each state, or -1.
    """

    labels: list[str]
    weights: np.ndarray
    prior: np.ndarray
    row: np.ndarray
    next_state: np.ndarray
    feature: np.ndarray


@cache
def _model() -> _Model:
    model = py3langid.langid.LanguageIdentifier.from_model_file(py3langid.langid.MODEL_FILE)
    return _Model(
        labels=list(model.nb_classes),
        weights=model.nb_ptc,
        prior=model.nb_pc.astype(np.float32),
        row=np.asarray(model.tk_row, dtype=np.int64),
        next_state=np.asarray(model.tk_nextmove),
        feature=np.asarray(model.tk_output, dtype=np.int32),
    )


def _encode(text: str) -> bytes:
    # The model was trained on texts in NFC, and on few in capitals.
    lower = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", lower).encode("utf-8", errors="surrogatepass")


def _batches(lengths: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the places of all texts, those of similar length together, so that little is padded."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop - start + 1) * lengths[order[stop]] <= _BYTES_AT_ONCE:
            stop += 1
        yield order[start:stop]
        start = stop


def _count_features(encoded: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the features that stand in each text: which text, which feature, how often; in that order."""
    model = _model()
    width = max(map(len, encoded))
    # No feature has the byte 0 in it.
    padded = b"".join(text.ljust(width, b"\0") for text in encoded)
    letters = np.frombuffer(padded, dtype=np.uint8).reshape(len(encoded), width).T.astype(np.int64)
    found = np.empty(letters.shape, dtype=np.int32)
    state = np.zeros(len(encoded), dtype=np.int64)
    for position in range(width):
        state = model.next_state[(model.row[state] << 8) + letters[position]]
        found[position] = model.feature[state]
    places, rows = np.nonzero(found >= 0)
    keys, counts = np.unique(rows * len(model.weights) + found[places, rows], return_counts=True)
    return (*np.divmod(keys, len(model.weights)), counts)


@cache
def _facts() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(files("polydistill").joinpath("relatives.yaml").read_text("utf-8"))
    return content
