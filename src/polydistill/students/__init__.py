"""Students, the small classifiers, behind one contract; each kind in a file of its own."""

from pathlib import Path

from polydistill.errors import DataError
from polydistill.files import read_json
from polydistill.params import StudentKind, TrainParams
from polydistill.students.base import Student
from polydistill.students.linear import LinearStudent

__all__ = ["LinearStudent", "Student", "load_student", "make_student"]

KINDS: dict[str, type[Student]] = {"linear": LinearStudent}


def make_student(kind: StudentKind, params: TrainParams, seed: int) -> Student:
    """Return an untrained student of the kind, with its section of the parameters."""
    return KINDS[kind](seed=seed, **getattr(params, kind).model_dump())


def load_student(folder: Path) -> Student:
    """Return the student that `Student.save` wrote to `folder`, of whatever kind.

    Raises:
        DataError: If the folder holds no student, or one of a kind that this version does not know.
    """
    kind = read_json(folder / "student.json").get("kind")
    if kind not in KINDS:
        raise DataError(f"{folder}: a student of kind {kind!r} is unknown here; known are {', '.join(KINDS)}")
    return KINDS[kind].load(folder)
