"""What the service answers to a text: which requests it takes, and which winner says what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from polydistill.errors import DataError, PolydistillError
from polydistill.files import read_json
from polydistill.language import LanguageIdentifier, language_code
from polydistill.students import Student, load_student

MAX_TEXTS = 1_000
MAX_CHARACTERS = 10_000
MAX_CHARACTERS_TOGETHER = 1_000_000
# Room for that many characters where each is escaped, as in "\\u0161".
MAX_BODY_BYTES = 12 * MAX_CHARACTERS_TOGETHER


class RequestError(PolydistillError):
    """A request that the service does not answer; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is blank; leave it out")
    return text


def _not_too_much(texts: list[str]) -> list[str]:
    total = sum(map(len, texts))
    if total > MAX_CHARACTERS_TOGETHER:
        raise ValueError(f"{total} characters together, at most {MAX_CHARACTERS_TOGETHER}; send several requests")
    return texts


Text = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_not_blank)]
Name = Annotated[str, Field(max_length=100)]


class ClassifyRequest(BaseModel):
    """What POST /classify takes. Texts are personal data, so no message repeats one."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    texts: Annotated[
        list[Text],
        Field(min_length=1, max_length=MAX_TEXTS, description="The texts to classify."),
        AfterValidator(_not_too_much),
    ]
    language: Name | None = Field(default=None, description="BCP 47 tag of the texts; left out, guessed for each.")
    task: Name | None = Field(default=None, description="Needed only where several tasks are served.")


def parse_request(content_type: str, body: bytes) -> ClassifyRequest:
    """Return the request that a body holds.

    Raises:
        RequestError: If it is no request; the message says what is wrong and what is allowed.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RequestError("send JSON, with the header Content-Type: application/json", 415)
    try:
        return ClassifyRequest.model_validate_json(body)
    except ValidationError as exc:
        wrong = [_explain(dict(error)) for error in exc.errors(include_input=False, include_context=False)]
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise RequestError("; ".join(wrong[:3]) + more) from exc


def _explain(error: Mapping[str, Any]) -> str:
    where = ".".join(map(str, error["loc"])) or "the request"
    if error["type"] == "extra_forbidden":
        return f"{where}: no known field; known are {', '.join(ClassifyRequest.model_fields)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{where}: {message[0].lower()}{message[1:]}"


class Prediction(BaseModel):
    """The answer to one text."""

    language: str
    label: str
    probability: float
    probabilities: dict[str, float]


class ClassifyResponse(BaseModel):
    """What POST /classify answers: a prediction a text, in order."""

    task: str
    model_version: str = Field(description="Version of the bento that answered.")
    predictions: list[Prediction]


@dataclass(frozen=True)
class Winner:
    """The student that answers for a cell, and the winner.json that tells of it."""

    student: Student
    facts: Mapping[str, Any]


class Classifier:
    """Answers with the winner of each task and language."""

    def __init__(self, winners: Mapping[str, Mapping[str, Winner]]) -> None:
        self._winners = winners
        self._identifiers = {task: _identifier(list(of_task)) for task, of_task in winners.items() if len(of_task) > 1}

    @classmethod
    def load(cls, winners: Path) -> Self:
        """Return the classifier of a folder <task>/<language>/ with a winner.json and model/ each.

        Raises:
            DataError: If there is none, or one is damaged.
        """
        by_task: dict[str, dict[str, Winner]] = {}
        for cell in winner_cells(winners):
            task, language = cell.split("/")
            facts = read_json(winners / cell / "winner.json")
            by_task.setdefault(task, {})[language] = Winner(load_student(winners / cell / "model"), facts)
        return cls(by_task)

    def classify(self, texts: Sequence[str], language: str | None = None, task: str | None = None) -> list[Prediction]:
        """Return a prediction a text, in order; without `language` that of each text is guessed.

        Raises:
            RequestError: If the task or the language is not served, or must be named and is not.
        """
        task = self.choose_task(task)
        if language is not None and language not in self._winners[task]:
            raise RequestError(f"language: `{language}` is not served; served are {_list(self._winners[task])}")
        languages = [language or self._guess(task, text) for text in texts]
        predictions: dict[int, Prediction] = {}
        for one in sorted(set(languages)):
            places = [i for i, of_text in enumerate(languages) if of_text == one]
            student = self._winners[task][one].student
            probabilities = student.predict_proba([texts[i] for i in places])
            for i, row in zip(places, probabilities, strict=True):
                predictions[i] = _prediction(one, student.classes_, row)
        return [predictions[i] for i in range(len(texts))]

    def choose_task(self, task: str | None) -> str:
        """Return the task that is meant: the named one, or the only one.

        Raises:
            RequestError: If it is not served, or none is named though there are several.
        """
        if task is None and len(self._winners) > 1:
            raise RequestError(f"task: several tasks are served, name one of {_list(self._winners)}")
        if task is not None and task not in self._winners:
            raise RequestError(f"task: `{task}` is not served; served are {_list(self._winners)}")
        return task or next(iter(self._winners))

    def models(self) -> list[dict[str, Any]]:
        """Return what there is to know of each winner: cell, labels, student, digests, teacher."""
        known = ("task", "language", "student", "labels", "digests", "teacher")
        return [
            {key: winner.facts[key] for key in known}
            for of_task in self._winners.values()
            for winner in of_task.values()
        ]

    def _guess(self, task: str, text: str) -> str:
        served = self._winners[task]
        if len(served) == 1:
            return next(iter(served))
        identifier = self._identifiers[task]
        if identifier is None:
            raise RequestError(f"language: it cannot be guessed here, name one of {_list(served)}")
        likeliest = max(identifier.probabilities(text).items(), key=lambda item: item[1])[0]
        return next(tag for tag in served if language_code(tag) == likeliest)


def winner_cells(winners: Path) -> list[str]:
    """Return the cells <task>/<language> that the folder holds a winner of, sorted.

    Raises:
        DataError: If it holds none.
    """
    cells = sorted(file.parent.relative_to(winners).as_posix() for file in winners.glob("*/*/winner.json"))
    if not cells:
        raise DataError(
            f"{winners} holds no winner; run `polydistill select` first, or `dvc repro` for the whole chain"
        )
    return cells


def _identifier(tags: Sequence[str]) -> LanguageIdentifier | None:
    """Return None where languages cannot be told apart: one is unknown, or two are variants of one (pt-PT, pt-BR)."""
    identifier = LanguageIdentifier(tags)
    return identifier if len(identifier.languages) == len(tags) else None


def _prediction(language: str, labels: Sequence[str], row: np.ndarray) -> Prediction:
    best = int(row.argmax())
    probabilities = {label: float(p) for label, p in zip(labels, row, strict=True)}
    return Prediction(language=language, label=labels[best], probability=float(row[best]), probabilities=probabilities)


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in names)
