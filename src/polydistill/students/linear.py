"""The linear student: what counts is which character and word n-grams a text has."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal, Self

import numpy as np
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted

from polydistill.errors import DataError
from polydistill.files import explained, read_json, write_json
from polydistill.students.base import Labelled, Student
from polydistill.students.bayes_ridge import learn, scores
from polydistill.students.held_out import Factors, add_up, fold, held_out_scores, log_prior, sample, weigh
from polydistill.students.ngrams import Ngrams, count_known, count_ngrams

MOST_HELD_OUT = 1000
"""So many texts cross-validation looks at, about: more take long and tell it little more."""


@dataclass(frozen=True)
class Setting:
    """What cross-validation chooses."""

    max_char_ngram: int
    class_weight: str
    regularization: float


class LinearStudent(Student):
    """Naive Bayes and ridge regression on character and word n-grams, added up; seconds on a CPU, no download."""

    kind = "linear"
    forks = True
    _shared_columns: np.ndarray | None = None
    _vocabulary: dict[str, int] | None = None

    def __init__(
        self,
        *,
        max_char_ngram: Sequence[int] = (6,),
        max_word_ngram: int = 2,
        class_weight: Sequence[Literal["none", "balanced"]] = ("none",),
        regularization: Sequence[float] = (0.3, 1.0, 3.0),
        folds: int = 3,
        seed: int = 0,
    ) -> None:
        self.max_char_ngram = max_char_ngram
        self.max_word_ngram = max_word_ngram
        self.class_weight = class_weight
        self.regularization = regularization
        self.folds = folds
        self.seed = seed

    def share(self, texts: Sequence[str]) -> Ngrams:
        """Return the n-grams of the texts."""
        return count_ngrams(list(dict.fromkeys(texts)), max(self.max_char_ngram), self.max_word_ngram)

    def fit(self, texts: Sequence[str], labels: Sequence[str], validation: Labelled | None = None) -> Self:
        """Train from scratch.

        Raises:
            DataError: If the texts have fewer than two labels, or hold no word at all.
        """
        if len(set(labels)) < 2:
            raise DataError(f"a student needs texts of two labels or more, got {sorted(set(labels))}")
        if not any(character.isalnum() for text in texts for character in text):
            raise DataError(f"a student needs words to learn from; none of {len(texts)} texts holds one")
        self.classes_ = sorted(set(labels))
        classes = np.searchsorted(self.classes_, labels)
        ngrams: Ngrams = self.shared if self._shares(texts) else self.share(texts)
        counts = ngrams.counts[ngrams.rows_of(texts)]
        # Only the n-grams that occur, in sorted order: the same with `shared` as without.
        columns = np.flatnonzero(counts.getnnz(axis=0))
        counts, lengths = counts[:, columns], ngrams.lengths[columns]
        setting, factors = self._choose(counts, lengths, classes)
        short = lengths <= setting.max_char_ngram
        columns, text_weights = columns[short], weigh(classes, setting.class_weight)
        parts = learn(counts[:, short], classes, text_weights, [setting.regularization])
        self.telling_, self.bias_ = parts.telling, (factors.prior * log_prior(classes)).astype(np.float32)
        self.weights_ = np.float32(factors.bayes) * parts.bayes + np.float32(factors.ridge) * parts.ridge[0]
        self.terms_, self._vocabulary = ngrams.terms[columns], None
        self._shared_columns = columns if ngrams is self.shared else None
        self.training_ = asdict(setting)
        if factors.accuracy is not None:
            self.training_["held_out_accuracy"] = round(factors.accuracy, 4)
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns in `classes_` order."""
        check_is_fitted(self, "weights_")
        if not len(texts):
            return np.empty((0, len(self.classes_)))
        said = scores(self._known(texts), self.telling_, self.weights_).astype(np.float64)
        probabilities: np.ndarray = softmax(said + self.bias_, axis=1)
        return probabilities

    def save(self, folder: Path) -> None:
        """Write student.json (settings, labels), terms.json (the n-grams) and a .npy file an array."""
        check_is_fitted(self, "weights_")
        facts = {"kind": "linear", "settings": self.get_params(), "labels": self.classes_, "training": self.training_}
        write_json(folder / "student.json", facts)
        terms = json.dumps(list(self.terms_), ensure_ascii=False)
        (folder / "terms.json").write_text(terms + "\n", encoding="utf-8")
        # Not one .npz: the bytes of a zip archive depend on the version of Python.
        for name in ("telling", "weights", "bias"):
            _write_array(folder / f"{name}.npy", getattr(self, f"{name}_"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote.

        Raises:
            DataError: If a file is missing or damaged.
        """
        facts, terms = read_json(folder / "student.json"), read_json(folder / "terms.json")
        try:
            student = cls(**facts["settings"])
            student.classes_, student.training_ = [str(label) for label in facts["labels"]], facts["training"]
            student.terms_ = np.array([str(term) for term in terms], dtype=object)
            for name in ("telling", "weights", "bias"):
                setattr(student, f"{name}_", _read_array(folder / f"{name}.npy"))
        except (ValueError, KeyError, TypeError, EOFError) as exc:
            raise DataError(f"{folder}: damaged ({exc}); train the student again") from exc
        labels, terms = len(student.classes_), len(student.terms_)
        for name, shape in {"telling": (terms,), "weights": (labels, terms), "bias": (labels,)}.items():
            array = getattr(student, f"{name}_")
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                found = f"{array.dtype} of shape {array.shape}"
                raise DataError(f"{folder / name}.npy: {found} does not fit; train the student again")
        return student

    def _shares(self, texts: Sequence[str]) -> bool:
        return self.shared is not None and all(text in self.shared.rows for text in texts)

    def _known(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return the counts of the n-grams that the student knows."""
        if self._shared_columns is not None and self._shares(texts):
            return self.shared.counts[self.shared.rows_of(texts)][:, self._shared_columns]
        if self._vocabulary is None:
            self._vocabulary = {term: column for column, term in enumerate(self.terms_)}
        return count_known(texts, max(self.max_char_ngram), self.max_word_ngram, self._vocabulary)

    def _choose(self, counts: sp.csr_matrix, lengths: np.ndarray, classes: np.ndarray) -> tuple[Setting, Factors]:
        """Return the setting that says best what texts are that it has not seen."""
        rng = np.random.default_rng(self.seed)
        found: list[tuple[Setting, Factors]] = []
        some = sample(classes, MOST_HELD_OUT, rng)
        counts, classes = counts[some], classes[some]
        fold_of = fold(classes, self.folds, rng)
        for max_char, class_weight in product(self.max_char_ngram, self.class_weight):
            bayes, ridge = held_out_scores(
                counts[:, lengths <= max_char], classes, fold_of, class_weight, self.regularization
            )
            prior = log_prior(classes)
            for strength, of_strength in zip(self.regularization, ridge, strict=True):
                setting = Setting(max_char, class_weight, strength)
                found.append((setting, add_up(bayes, of_strength, prior, classes, fold_of)))
        return min(found, key=lambda one: one[1].loss)


def _write_array(path: Path, array: np.ndarray) -> None:
    # Given a real file, numpy turns a Ctrl-C that comes as it looks at it into a TypeError.
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    path.write_bytes(content.getvalue())


def _read_array(path: Path) -> np.ndarray:
    # A file that is opened here is closed here also where numpy finds it damaged.
    with explained(path, "read"), path.open("rb") as file:
        array: np.ndarray = np.load(file, allow_pickle=False)
    return array
