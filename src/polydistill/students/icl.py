"""The in-context student: a served LLM that is shown labelled examples before each text."""

import asyncio
import fcntl
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.validation import check_is_fitted

from polydistill.errors import DataError, ParamsError
from polydistill.files import explained, read_json, write_json
from polydistill.labelling import Example, ask_labels, plan_of
from polydistill.params import BudgetParams, TeacherParams, check
from polydistill.students.base import Context, Labelled, Student
from polydistill.task import Task
from polydistill.teachers import Journal, open_teacher

SURE = 0.99
"""The probability of the label that the LLM names. It says no number itself, so this one is a convention."""

_NO_LIMITS = BudgetParams(
    requests=None, tokens=None, cost=None, prompt_price=None, completion_price=None, tokens_per_s=None
)


class IclStudent(Student):
    """Examples in front of an LLM behind a server; nothing is trained, and every answer is a request.

    An answer that names no label, or several, gives all labels the same probability.
    """

    kind = "icl"
    servable = False

    def __init__(
        self,
        *,
        shots: int = 10,
        choose: Literal["random", "similar"] = "random",
        teacher: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.shots = shots
        self.choose = choose
        self.teacher = teacher
        self.seed = seed

    def fit(self, texts: Sequence[str], labels: Sequence[str], validation: Labelled | None = None) -> Self:
        """Choose the examples; where they are chosen by their likeness to the text, keep all.

        Raises:
            DataError: If the texts have fewer than two labels.
        """
        if len(set(labels)) < 2:
            raise DataError(f"a student needs texts of two labels or more, got {sorted(set(labels))}")
        self.classes_ = sorted(set(labels))
        self.examples_: list[Example] = list(zip(texts, labels, strict=True))
        if self.choose == "random":
            rng = np.random.default_rng(self.seed)
            self.examples_ = [self.examples_[i] for i in draw_in_turn(labels, self.shots, rng)]
        self.training_ = {"examples": min(self.shots, len(self.examples_))}
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns in `classes_` order.

        Raises:
            ParamsError: If `context` does not say whom to ask.
            TeacherError: If the LLM does not answer; what it did answer is not asked again.
            DataError: If the journal cannot be used.
        """
        labels = self.predict(texts)
        probabilities = np.full((len(texts), len(self.classes_)), 1 / len(self.classes_))
        for row, label in zip(probabilities, labels, strict=True):
            if label is not None:
                row[:] = (1 - SURE) / (len(self.classes_) - 1)
                row[self.classes_.index(label)] = SURE
        return probabilities

    def predict(self, texts: Sequence[str]) -> list[str | None]:
        """Return the label that the LLM gives each text, None for an abstention; errors as of `predict_proba`."""
        check_is_fitted(self, "examples_")
        if not len(texts):
            return []
        context, params, recording, folder = self._whom_to_ask()
        with _in_turn(folder):
            return asyncio.run(self._ask(texts, context, params, recording, folder))

    def save(self, folder: Path) -> None:
        """Write student.json: settings, labels and examples."""
        check_is_fitted(self, "examples_")
        examples = [{"text": text, "label": label} for text, label in self.examples_]
        content = {"kind": self.kind, "settings": self.get_params(), "labels": self.classes_, "examples": examples}
        write_json(folder / "student.json", content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote; to answer it needs its `context` set.

        Raises:
            DataError: If the file is missing or damaged.
        """
        path = folder / "student.json"
        facts = read_json(path)
        try:
            student = cls(**facts["settings"])
            student.classes_ = facts["labels"]
            student.examples_ = [(example["text"], example["label"]) for example in facts["examples"]]
        except (KeyError, TypeError) as exc:
            raise DataError(f"{path}: damaged ({exc}); train the student again") from exc
        return student

    async def _ask(
        self, texts: Sequence[str], context: Context, params: TeacherParams, recording: Path, folder: Path
    ) -> list[str | None]:
        task, language, budget = self._task(context.task), context.language, context.budget or _NO_LIMITS
        async with open_teacher(params, recording) as teacher:
            if self.kind not in teacher.models:
                raise ParamsError(
                    f"{recording} holds no answers to in-context prompts; set params.yaml:train.icl.teacher to a server"
                )
            paid = teacher.kind != "recorded"
            path = folder / ("icl.jsonl" if paid else "recorded-icl.jsonl")
            with Journal(path, plan_of("icl", context.task, language, teacher), paid=paid) as journal:
                return await ask_labels(
                    "icl", texts, self._shown(texts), task, language, teacher, journal, params, budget
                )

    def _whom_to_ask(self) -> tuple[Context, TeacherParams, Path, Path]:
        """Return the context, whom to ask, the recording where that is a recorded teacher, and the journal's folder.

        Raises:
            ParamsError: If any of it is missing.
        """
        context = self.context
        if context is None:
            raise ParamsError("an in-context student asks an LLM: set its `context`, which says how, before it answers")
        own = None if self.teacher is None else check(TeacherParams, dict(self.teacher), "train.icl.teacher")
        params = own or context.teacher
        if params is None or context.journal is None or (params.kind == "recorded" and context.recording is None):
            raise ParamsError(
                "an in-context student asks an LLM and keeps its replies: its `context` lacks the teacher, the folder "
                "`journal`, or the recording of a recorded teacher"
            )
        if params.kind == "vllm":
            raise ParamsError(
                "an in-context student asks an LLM behind a server, which a teacher of kind `vllm` is not; set "
                "params.yaml:train.icl.teacher to one of kind `openai`"
            )
        return context, params, context.recording or Path(), context.journal

    def _task(self, task: Task) -> Task:
        """Return the task with the labels that were learned alone."""
        if unknown := set(self.classes_) - set(task.label_names):
            raise DataError(f"the student has learned labels that the task {task.name} lacks: {sorted(unknown)}")
        return task.model_copy(update={"labels": [label for label in task.labels if label.name in self.classes_]})

    def _shown(self, texts: Sequence[str]) -> list[list[Example]]:
        """Return the examples to show before each text; the most similar one stands last, next to the text."""
        if self.choose == "random":
            return [self.examples_] * len(texts)
        vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
        known = vectorizer.fit_transform([text for text, _ in self.examples_])
        similarity = np.asarray((vectorizer.transform(texts) @ known.T).todense())
        nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : self.shots]
        return [[self.examples_[i] for i in row[::-1]] for row in nearest]


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other student asks; all runs of a cell have one journal, since the budget is for all of them."""
    path = folder / "icl.lock"
    with explained(path, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("ab")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def draw_in_turn(labels: Sequence[str], size: int, rng: np.random.Generator) -> list[int]:
    """Return the places of up to `size` texts, drawn at random, as many of each label as can be, in a random order."""
    order = rng.permutation(len(labels)).tolist()
    seen: Counter[str] = Counter()
    turn = {}
    for place in order:
        turn[place] = seen[labels[place]]
        seen[labels[place]] += 1
    # The first of each label, then the second of each, and so on.
    chosen = sorted(order, key=turn.__getitem__)[:size]
    rng.shuffle(chosen)
    return chosen
