"""Trains one run after the other, or side by side, and none that has ended before."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import polydistill
from polydistill.files import digest
from polydistill.params import StudentKind, TrainParams
from polydistill.records import Record
from polydistill.runs import FINAL
from polydistill.scores import to_classes
from polydistill.students import Context, Labelled, Student, make_student, student_class
from polydistill.train.finished import FinishedRuns, Outcome, key_of
from polydistill.train.plan import Drawer, Run
from polydistill.train.side_by_side import side_by_side

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "tokenizers", "peft", "onnxruntime")
_CODE = ("students/*.py", "prompts/*", "replies/*.py", "labelling.py", "text.py", "task.py")
"""What decides how a student learns and answers, or reads what an LLM answers."""


@dataclass
class Trainer:
    """Trains one kind of student, and has each trained student answer the same texts.

    Args:
        kind: Kind of student.
        params: Section `train` of params.yaml.
        context: What the student may know beside its texts.
        drawer: Draws the texts of a run.
        asked: The texts that every trained student answers.
        stop_by: Texts that a student may stop its training by.
        finished: What has ended before.
    """

    kind: StudentKind
    params: TrainParams
    context: Context
    drawer: Drawer
    asked: Sequence[str]
    stop_by: Labelled
    finished: FinishedRuns
    shared: Any = field(default=None, init=False)
    _keys: dict[Run, str] = field(default_factory=dict, init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what the runs share: another process makes that anew, since it may stand on a GPU."""
        return self.__dict__ | {"shared": None}

    def ended(self, runs: Sequence[Run]) -> dict[Run, Outcome]:
        """Return what came of the runs that have ended before."""
        found = {run: self.finished.get(self.key(run)) for run in runs}
        return {
            run: outcome
            for run, outcome in found.items()
            if outcome is not None and (run.run != FINAL or self.finished.model(self.key(run)).exists())
        }

    def outcomes(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
        """Train the runs, and yield each when it is on disk."""
        # All sizes in turn, so that the time that is left can be told from the time that was taken.
        runs = sorted(runs, key=lambda run: run.run)
        student = self._student(self.params.seed)
        at_once = self.params.jobs or student.at_once()
        # One thread for each training that is small, so that results do not depend on how many are at work.
        with threadpool_limits(1) if student.forks else nullcontext():
            if runs and (at_once == 1 or student.forks):
                self.share()
            for run, outcome in side_by_side(self.train, runs, at_once, forks=student.forks):
                self.finished.add(self.key(run), outcome)
                yield run, outcome

    def share(self) -> None:
        """Do once what all runs share."""
        of_pools = [record.text for pool in self.drawer.pools.values() for record in pool]
        every = dict.fromkeys([*of_pools, *self.stop_by.texts, *self.asked])
        self.shared = self._student(self.params.seed).share(list(every))

    def train(self, run: Run) -> Outcome:
        """Train a student and take its answers; the final one is kept."""
        if self.shared is None:
            self.share()
        student = self._student(run.seed)
        student.fit(*_columns(self.drawer.draw(run)), self.stop_by)
        if run.run == FINAL:  # before it answers: what is saved may be served by another program, as ONNX is
            self.finished.save_model(self.key(run), student)
        answers = to_classes(student.predict(self.asked), self.context.task.label_names)
        return Outcome(answers.astype(np.int16), student.training_)

    def key(self, run: Run) -> str:
        """Return the hash of everything that the outcome of a run depends on."""
        if run not in self._keys:
            texts = _columns(self.drawer.draw(run))
            # The final student answers as it is saved, which may be in other digits.
            facts = {"common": self._common, "seed": run.seed, "final": run.run == FINAL, "texts": texts}
            self._keys[run] = key_of(facts)
        return self._keys[run]

    @cached_property
    def _common(self) -> str:
        """The hash of what the outcomes of all runs depend on."""
        settings = getattr(self.params, self.kind).model_dump()
        facts = {
            "kind": self.kind,
            "settings": settings,
            "model": _state(settings.get("model")),
            "stop_by": [self.stop_by.texts, self.stop_by.labels],
            "asked": self.asked,
            "task": self.context.task.model_dump(),
            "language": self.context.language,
            "code": _code(),
        }
        if not student_class(self.kind).servable and self.context.teacher is not None:
            recording = self.context.recording
            facts["teacher"] = self.context.teacher.model_dump()
            facts["recording"] = digest(recording) if recording is not None and recording.exists() else None
        return key_of(facts)

    def _student(self, seed: int) -> Student:
        return make_student(self.kind, self.params, seed, self.context, self.shared)


def _columns(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    return [record.text for record in records], [record.label for record in records]


@cache
def _state(model: str | None) -> list[tuple[str, int, int]]:
    """Return what tells whether a model's folder is as it was: its files, their sizes and times; nothing of a name."""
    files = sorted(file for file in Path(model).rglob("*") if file.is_file()) if model else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


@cache
def _code() -> dict[str, str]:
    """Return what the code is: another version of it may train another student from the same texts."""
    root = Path(polydistill.__file__).parent
    files = {str(file.relative_to(root)): digest(file) for pattern in _CODE for file in root.glob(pattern)}
    installed = {found.metadata["Name"]: found.version for found in metadata.distributions()}
    return files | {name: installed.get(name, "") for name in _LIBRARIES}
