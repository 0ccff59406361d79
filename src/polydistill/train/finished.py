"""Keeps what came of each run on disk as soon as it has ended, so that none is trained twice, whatever ends the others.

runs.jsonl has a line a run, `{"key": ..., "answers": ..., "training": ...}`, where the key is the hash of everything
that the answers depend on. The final student stands in a folder named after its key.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from polydistill.files import explained, new_folder, remove_folder
from polydistill.students import Student

_DAMAGE = (ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    `answers` are places among the labels, int16 of shape (n_texts,); `training` are the facts that the student tells.
    """

    answers: np.ndarray
    training: Mapping[str, Any]


def key_of(facts: Any) -> str:
    """Return the hash of facts, which are JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]


class FinishedRuns:
    """The outcomes in a folder; lines that a kill cut short are passed over."""

    def __init__(self, folder: Path, outcomes: dict[str, Outcome]) -> None:
        self.folder, self._outcomes = folder, outcomes

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read what is there.

        Raises:
            DataError: If the folder cannot be read or made.
        """
        file = folder / "runs.jsonl"
        with explained(file, "read"):
            folder.mkdir(parents=True, exist_ok=True)
            lines = file.read_bytes().splitlines() if file.exists() else []
        outcomes = {}
        for line in lines:
            try:
                row = json.loads(line)
                answers = np.frombuffer(base64.b64decode(row["answers"]), dtype="<i2")
                outcomes[row["key"]] = Outcome(answers, dict(row["training"]))
            except _DAMAGE:
                continue
        return cls(folder, outcomes)

    def get(self, key: str) -> Outcome | None:
        """Return what came of a run, None where it has not ended."""
        return self._outcomes.get(key)

    def add(self, key: str, outcome: Outcome) -> None:
        """Keep an outcome; it is on disk when this returns.

        Raises:
            DataError: If it cannot be written.
        """
        answers = base64.b64encode(outcome.answers.astype("<i2").tobytes()).decode()
        line = json.dumps({"key": key, "answers": answers, "training": dict(outcome.training)}, sort_keys=True)
        with explained(self.folder / "runs.jsonl", "write"), (self.folder / "runs.jsonl").open("ab") as out:
            # After a line that was cut short this one begins anew.
            out.write(b"\n" * (out.tell() > 0) + line.encode())
            out.flush()
            os.fsync(out.fileno())
        self._outcomes[key] = outcome

    def model(self, key: str) -> Path:
        """Return the folder of the student that `save_model` kept under the key."""
        return self.folder / f"model-{key}"

    def save_model(self, key: str, student: Student) -> None:
        """Keep a trained student."""
        with new_folder(self.model(key)) as out:
            student.save(out)

    def forget_models(self, but: Path) -> None:
        """Delete every student but that of one folder: they may be large, and none is asked for again."""
        for folder in self.folder.glob("model-*"):
            if folder != but:
                remove_folder(folder)
