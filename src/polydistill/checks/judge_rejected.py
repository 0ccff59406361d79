"""Texts that the judge rejects."""

from polydistill.checks._verdict import VerdictCheck


class JudgeRejected(VerdictCheck):
    """Finds texts that the teacher, asked for its verdict, does not want."""

    meaning = "the judge said no"
    decision = "reject"
