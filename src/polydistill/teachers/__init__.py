"""Teachers, the LLMs that write and judge texts, behind one small protocol."""

from pathlib import Path

from polydistill.params import TeacherParams
from polydistill.teachers.asking import ask, ask_all, ask_one
from polydistill.teachers.base import ChatRequest, Failure, Outcome, Reply, Teacher
from polydistill.teachers.budget import Budget, ledger
from polydistill.teachers.canary import follows_schema
from polydistill.teachers.journal import Journal, Usage
from polydistill.teachers.openai import OpenAITeacher
from polydistill.teachers.recorded import RecordedTeacher, check_target, open_journal, record, write_recording

__all__ = [
    "Budget",
    "ChatRequest",
    "Failure",
    "Journal",
    "Outcome",
    "RecordedTeacher",
    "Reply",
    "Teacher",
    "Usage",
    "ask",
    "ask_all",
    "ask_one",
    "check_target",
    "follows_schema",
    "ledger",
    "open_journal",
    "open_teacher",
    "record",
    "write_recording",
]


def open_teacher(params: TeacherParams, recording: Path) -> Teacher:
    """Return the teacher that section `teacher` names, to be entered with `async with`.

    Args:
        params: Section `teacher` of params.yaml.
        recording: The recording of the cell; read only where the teacher is a recorded one.
    """
    if params.kind == "recorded":
        return RecordedTeacher(recording)
    if params.kind == "openai":
        return OpenAITeacher(params)
    from polydistill.teachers.vllm import VLLMTeacher  # noqa: PLC0415 - heavy, and in an extra of its own

    return VLLMTeacher(params)
