"""What makes a text unusable, as far as it can be told while texts come: the checks of `filter`, one text at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from polydistill.checks import Context, TextCheck, open_checks
from polydistill.near import Nearness
from polydistill.params import FilterParams


@dataclass(frozen=True)
class Rules:
    """The checks of `filter` that reject.

    Attributes:
        checks: Those that look at one text alone, in their order.
        reasons: The names of all.
        nearness: When two texts of a label count as near.
    """

    checks: Sequence[TextCheck]
    reasons: frozenset[str]
    nearness: Nearness

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> "Rules":
        """Return the rules of a cell; test texts are not for this step to see."""
        reasons = frozenset(params.rejecting)
        checks = [c for c in open_checks(params, context) if isinstance(c, TextCheck) and c.reason in reasons]
        return cls(checks, reasons, Nearness.of(params.near_duplicate))

    def first_fault(self, text: str) -> str | None:
        """Return the first reason for which the text goes, whatever other texts there are."""
        return next((check.reason for check in self.checks if check.fault(text) is not None), None)
