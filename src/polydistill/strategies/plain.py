"""The paper's strategy: the seeds of the label in an order of each request's own, and nothing else."""

import random
from collections.abc import Sequence

from polydistill.params import GenerateParams
from polydistill.records import Record
from polydistill.strategies._base import Guidance, by_label
from polydistill.task import Label, Task


class Plain:
    """Shows all seeds of the label, or a random `seeds_per_request` of them, in random order."""

    ahead: int | None = None

    def __init__(self, task: Task, language: str, seeds: Sequence[Record], params: GenerateParams) -> None:
        self._seeds = by_label(seeds)
        self._key = f"{params.seed}/{language}"
        self._size = params.seeds_per_request

    def guide(self, label: Label, number: int, accepted: Sequence[str]) -> Guidance:
        """Return the request's own draw of seeds; what was accepted does not matter."""
        seeds = list(self._seeds.get(label.name, ()))
        random.Random(f"{self._key}/{label.name}/{number}").shuffle(seeds)
        return Guidance(tuple(seeds[: self._size]))
