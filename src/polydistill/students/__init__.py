"""Students, the small classifiers, behind one contract; each kind in a file of its own, imported where it is wanted."""

import importlib
from pathlib import Path
from typing import Any, get_args

from polydistill.errors import DataError, MissingExtraError, ParamsError
from polydistill.files import read_json
from polydistill.params import StudentKind, TrainParams
from polydistill.students.base import Context, Labelled, Student

__all__ = ["KINDS", "Context", "Labelled", "Student", "load_student", "make_student", "student_class"]

KINDS: tuple[StudentKind, ...] = get_args(StudentKind)
EXTRAS = {"encoder": "encoder", "lora": "lora"}
"""The extra that a kind needs; the others need `train`."""


def student_class(kind: StudentKind) -> type[Student]:
    """Return the class of a kind, <Kind>Student of the module of that name.

    Raises:
        MissingExtraError: If its extra is not installed.
    """
    try:
        module = importlib.import_module(f"polydistill.students.{kind}")
    except ModuleNotFoundError as exc:
        extra = EXTRAS.get(kind, "train")
        raise MissingExtraError(
            f"a student of kind {kind} needs {exc.name}; run: pip install 'polydistill[{extra}]'"
        ) from exc
    found: type[Student] = getattr(module, f"{kind.capitalize()}Student")
    return found


def make_student(
    kind: StudentKind, params: TrainParams, seed: int, context: Context | None = None, shared: Any = None
) -> Student:
    """Return an untrained student of the kind, with its section of the parameters.

    Args:
        kind: Kind of student.
        params: Section `train` of params.yaml.
        seed: What the training draws depends on it alone.
        context: What the student may know beyond its texts.
        shared: What `Student.share` of such a student returned, None to train without.

    Raises:
        ParamsError: If the section of the kind is missing.
    """
    section = getattr(params, kind)
    if section is None:
        raise ParamsError(f"train.students names {kind}, so train.{kind} is needed; see params.yaml of a new workspace")
    student = student_class(kind)(seed=seed, **section.model_dump())
    student.context, student.shared = context, shared
    return student


def load_student(folder: Path) -> Student:
    """Return the student that `Student.save` wrote to `folder`, of whatever kind.

    Raises:
        DataError: If the folder holds no student, or one of a kind that this version does not know.
    """
    kind = read_json(folder / "student.json").get("kind")
    if kind not in KINDS:
        raise DataError(f"{folder}: a student of kind {kind!r} is unknown here; known are {', '.join(KINDS)}")
    return student_class(kind).load(folder)
