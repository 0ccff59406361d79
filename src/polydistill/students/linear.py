"""The linear student: what counts is which character and word n-grams a text has."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion
from sklearn.utils.validation import check_is_fitted

from polydistill.errors import DataError
from polydistill.files import explained, read_json, write_json
from polydistill.students.base import Student


class LinearStudent(Student):
    """TF-IDF of character and word n-grams into multinomial logistic regression; seconds on a CPU, no download."""

    def __init__(
        self,
        *,
        max_char_ngram: int = 5,
        max_word_ngram: int = 2,
        inverse_regularization: float = 10.0,
        seed: int = 0,
    ) -> None:
        self.max_char_ngram = max_char_ngram
        self.max_word_ngram = max_word_ngram
        self.inverse_regularization = inverse_regularization
        self.seed = seed

    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> Self:
        """Train from scratch.

        Raises:
            DataError: If the texts have fewer than two labels, or hold no word at all.
        """
        if len(set(labels)) < 2:
            raise DataError(f"a student needs texts of two labels or more, got {sorted(set(labels))}")
        self.vectorizer_ = self._vectorizer()
        try:
            features = self.vectorizer_.fit_transform(texts)
        except ValueError as exc:
            if "empty vocabulary" not in str(exc):
                raise
            raise DataError(f"a student needs words to learn from; none of {len(texts)} texts holds one") from exc
        model = LogisticRegression(C=self.inverse_regularization, max_iter=1000, random_state=self.seed)
        model.fit(features, labels)
        self.classes_ = [str(label) for label in model.classes_]
        # With two labels scikit-learn keeps one row of weights; a zero row for the first lets softmax serve both.
        weights, bias = model.coef_, model.intercept_
        if len(self.classes_) == 2:
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.concatenate([[0.0], bias])
        self.weights_, self.bias_ = weights.astype(np.float32), bias.astype(np.float32)
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns in `classes_` order."""
        check_is_fitted(self, "weights_")
        if not len(texts):
            return np.empty((0, len(self.classes_)))
        scores = np.asarray(self.vectorizer_.transform(texts) @ self.weights_.T, dtype=np.float64) + self.bias_
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
        return probabilities

    def save(self, folder: Path) -> None:
        """Write student.json (settings, labels), terms.json (the n-grams) and a .npy file an array."""
        check_is_fitted(self, "weights_")
        write_json(folder / "student.json", {"kind": "linear", "settings": self.get_params(), "labels": self.classes_})
        terms = {name: list(part.get_feature_names_out()) for name, part in self.vectorizer_.transformer_list}
        (folder / "terms.json").write_text(json.dumps(terms, ensure_ascii=False) + "\n", encoding="utf-8")
        # Not one .npz: the bytes of a zip archive depend on the version of Python.
        _write_array(folder / "weights.npy", self.weights_)
        _write_array(folder / "bias.npy", self.bias_)
        for name, part in self.vectorizer_.transformer_list:
            _write_array(folder / f"idf_{name}.npy", part.idf_)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote.

        Raises:
            DataError: If a file is missing or damaged.
        """
        facts, terms = read_json(folder / "student.json"), read_json(folder / "terms.json")
        student = cls(**facts["settings"])
        student.classes_ = facts["labels"]
        student.vectorizer_ = student._vectorizer()
        try:
            student.weights_, student.bias_ = _read_array(folder / "weights.npy"), _read_array(folder / "bias.npy")
            for name, part in student.vectorizer_.transformer_list:
                part.vocabulary = {term: i for i, term in enumerate(terms[name])}
                part.idf_ = _read_array(folder / f"idf_{name}.npy")
        except (ValueError, KeyError, TypeError, EOFError) as exc:
            raise DataError(f"{folder}: damaged ({exc}); train the student again") from exc
        if student.weights_.shape != (len(student.classes_), sum(map(len, terms.values()))):
            raise DataError(f"{folder}: weights of shape {student.weights_.shape} do not fit; train the student again")
        return student

    def _vectorizer(self) -> FeatureUnion:
        shared: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, self.max_char_ngram), **shared)
        of_words = TfidfVectorizer(ngram_range=(1, self.max_word_ngram), token_pattern=r"\b\w+\b", **shared)
        return FeatureUnion([("characters", characters), ("words", of_words)])


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
