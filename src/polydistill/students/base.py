"""The contract that every kind of student keeps, so that no other step asks which kind it has."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator, ClassifierMixin

from polydistill.params import BudgetParams, StudentKind, TeacherParams
from polydistill.task import Task


@dataclass(frozen=True)
class Labelled:
    """Texts and their labels, two sequences of the same length."""

    texts: Sequence[str]
    labels: Sequence[str]


@dataclass(frozen=True)
class Context:
    """What a student may know beyond the texts it trains on.

    `task` and `language` tell what the labels mean; a student that asks a served LLM does so as `teacher` and `budget`
    say, replays `recording` where the teacher is a recorded one, and keeps the replies in the folder `journal`.
    """

    task: Task
    language: str
    teacher: TeacherParams | None = None
    budget: BudgetParams | None = None
    recording: Path | None = None
    journal: Path | None = None


class Student(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """A text classifier: its constructor only stores settings, `fit` starts afresh and sets `classes_`."""

    kind: ClassVar[StudentKind]
    servable: ClassVar[bool] = True
    """Whether a service can answer with what `save` wrote, and nothing else but a model at the hub."""
    forks: ClassVar[bool] = False
    """Whether trainings may go on side by side in forked processes, which a library with threads of its own forbids."""

    context: Context | None = None
    """What `make_student` was told beside the settings."""
    shared: Any = None
    """What `share` returned for the texts of a grid; None where the student trains by itself."""
    classes_: list[str]
    training_: dict[str, float | int | str]
    """What there is to tell of the training, such as `epochs` or `restarts`; set by `fit`, empty where nothing is."""

    def share(self, texts: Sequence[str]) -> Any:
        """Return what all trainings on these texts can share, such as n-gram counts or the weights of a base model.

        It changes no result: a student with `shared` set trains and answers as one without.
        """
        return None

    def at_once(self) -> int:
        """Return how many trainings this machine bears side by side."""
        return int(cpu_count()) if self.forks else 1

    @abstractmethod
    def fit(self, texts: Sequence[str], labels: Sequence[str], validation: Labelled | None = None) -> Self:
        """Train from scratch.

        Args:
            texts: Training texts.
            labels: Their labels, as many.
            validation: Further texts that a student may stop by; it does not learn from them.

        Raises:
            DataError: If the texts have fewer than two labels, or nothing can be learned from them.
        """

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

    def predict(self, texts: Sequence[str]) -> Sequence[str | None]:
        """Return the likeliest label of each text; None where the student abstains, which few kinds ever do."""
        return [self.classes_[i] for i in self.predict_proba(texts).argmax(axis=1)]
