"""Reads a teacher's replies: each is hostile input until it is parsed, and what cannot be read is said, not guessed."""

from polydistill.replies.faults import FAULTS, MAX_CHARS, NOTED, reply_faults
from polydistill.replies.labels import read_label
from polydistill.replies.texts import TEXTS_SCHEMA, TextsRead, read_texts
from polydistill.replies.verdicts import VERDICTS_SCHEMA, Aspect, Decision, Verdict, VerdictsRead, read_verdicts
from polydistill.teachers.base import ChatRequest, Reply

__all__ = [
    "FAULTS",
    "MAX_CHARS",
    "NOTED",
    "TEXTS_SCHEMA",
    "VERDICTS_SCHEMA",
    "Aspect",
    "Decision",
    "TextsRead",
    "Verdict",
    "VerdictsRead",
    "faults_of",
    "read_label",
    "read_texts",
    "read_verdicts",
    "reply_faults",
]


def faults_of(request: ChatRequest, reply: Reply) -> list[str]:
    """Return what is wrong with a reply, each fault once; of a single answer, only what its reader would not see."""
    if request.purpose == "generate":
        return read_texts(request, reply).faults
    if request.purpose == "revise":
        return read_verdicts(request, reply).faults
    return reply_faults(reply)
