"""What a strategy is asked, and what it answers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from polydistill.records import Record
from polydistill.task import Label


@dataclass(frozen=True)
class Guidance:
    """What one request for texts says besides the task and the label.

    Attributes:
        seeds: The examples to show, in this order.
        attributes: What each text is to be like, a line a text in the order in which they are to be written; empty
            where that is left to the teacher. There is one for each of `texts_per_request`, so a request for fewer
            texts takes the first ones.
        avoid: Accepted texts that the new ones must not repeat or resemble.
    """

    seeds: tuple[Record, ...]
    attributes: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


class Strategy(Protocol):
    """A way to guide the requests of one cell."""

    ahead: int | None
    """How many requests of a label may be planned beyond those whose texts it has seen; None: it looks at none."""

    def guide(self, label: Label, number: int, accepted: Sequence[str]) -> Guidance:
        """Return the guidance of a request; the same arguments always give the same.

        Args:
            label: The label to write texts of.
            number: The number of the request within its label, from 0.
            accepted: The accepted texts of the label from the requests 0 to `number - ahead`, that one included, in
                the order of the requests and of the replies; exactly these, so that nothing depends on which reply
                came first. Empty where `ahead` is None or larger than `number`.
        """


def by_label(seeds: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the seeds of each label, in an order that does not depend on theirs."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for seed in sorted(seeds, key=lambda seed: seed.id):
        groups[seed.label].append(seed)
    return groups
