"""Texts on which the judge gave no readable verdict."""

from polydistill.checks._verdict import VerdictCheck


class NoVerdict(VerdictCheck):
    """Finds texts without a verdict: the judge fails closed."""

    meaning = "the judge gave no readable verdict"
    decision = None
