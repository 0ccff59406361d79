"""The contract that every kind of student keeps, so that no other step asks which kind it has."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Student(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A text classifier: its constructor only stores settings, `fit` starts afresh and sets `classes_`."""

    classes_: list[str]

    @abstractmethod
    def fit(self, texts: Sequence[str], labels: Sequence[str]) -> Self:
        """Train from scratch; the two sequences have the same length."""

    @abstractmethod
    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns as `classes_`, rows summing to 1."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the trained student into an existing folder: arrays and JSON, never a pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote."""

    def predict(self, texts: Sequence[str]) -> list[str]:
        """Return the likeliest label of each text."""
        return [self.classes_[i] for i in self.predict_proba(texts).argmax(axis=1)]
