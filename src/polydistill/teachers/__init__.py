"""Teachers, the LLMs that write and judge texts, behind one small protocol."""

from pathlib import Path

from polydistill.params import TeacherParams
from polydistill.teachers.asking import ask_all
from polydistill.teachers.base import ChatRequest, Reply, Teacher
from polydistill.teachers.journal import Journal
from polydistill.teachers.openai import OpenAITeacher
from polydistill.teachers.recorded import RecordedTeacher, write_recording

__all__ = ["ChatRequest", "Journal", "Reply", "Teacher", "ask_all", "open_teacher", "write_recording"]


def open_teacher(params: TeacherParams, recording: Path) -> Teacher:
    """Return the teacher that section `teacher` names, to be entered with `async with`.

    Args:
        params: Section `teacher` of params.yaml.
        recording: The recording of the cell; read only where the teacher is a recorded one.
    """
    return RecordedTeacher(recording) if params.kind == "recorded" else OpenAITeacher(params)
