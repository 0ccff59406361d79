"""The interface of a check, and what it may know of the cell whose texts it looks at."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from polydistill.params import FilterParams
from polydistill.records import Sample


@dataclass(frozen=True)
class Context:
    """What a check may know of a cell besides the generated texts.

    Attributes:
        language: BCP 47 tag of the language that was asked for.
        languages: The tags of every language of the task.
        seeds: The texts that guided the teacher.
        tests: The texts of the test set, without their labels.
        self_revision: Whether each text was to be judged by the teacher.
        labels: The labels of the task and what speakers call them.
    """

    language: str
    languages: Sequence[str]
    seeds: Sequence[str] = ()
    tests: Sequence[str] = ()
    self_revision: bool = True
    labels: Sequence[str] = ()


class Check(ABC):
    """Finds the texts that have one fault.

    A subclass stands alone in the file of the name that `params.yaml:filter.checks` lists, which is also its reason:
    `TooShort` in too_short.py rejects as `too_short`.

    Attributes:
        meaning: The fault, for a person to read.
        compares: Whether what it says of a text depends on the other generated texts. Then it sees those that the
            checks before it left; else it sees all, so that the filter can tell which checks agree.
    """

    meaning: ClassVar[str]
    compares: ClassVar[bool] = False

    @property
    def reason(self) -> str:
        """The reason that texts are rejected for."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    @abstractmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with its settings, for one cell."""

    @abstractmethod
    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Return the indices of the samples with the fault, each with the fact behind it, for a person to read."""


class TextCheck(Check):
    """A check that looks at one text alone, so that `generate` can run it on each as it comes."""

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look at each text."""
        found = {i: self.fault(sample.record.text) for i, sample in enumerate(samples)}
        return {i: detail for i, detail in found.items() if detail is not None}

    @abstractmethod
    def fault(self, text: str) -> str | None:
        """Return the fact against the text, for a person to read, or None where it is fine."""
