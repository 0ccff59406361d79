"""Seeks diversity: another mix of attributes for each text, seeds in turn, and accepted texts to keep away from."""

import math
import random
from collections.abc import Iterator, Sequence

from polydistill.errors import DataError
from polydistill.params import GenerateParams
from polydistill.records import Record
from polydistill.strategies._base import Guidance, by_label
from polydistill.strategies._crowd import Crowd, crowd_of
from polydistill.task import Label, Task

CROWDED = 5
"""Most texts to avoid that stand where the label's texts are densest."""
AVOID = 8
"""Most texts to avoid in one request; the newest fill up what the crowded leave."""

_ALIKE = 0.4  # likeness from which naming one text to avoid covers the other


class Diverse:
    """Combines the facets of the task, shows the seeds in turn, and names what new texts must not resemble.

    Attributes: each text gets a combination of a topic of its label, a length, a register and a speaker, none of which
    comes again within the label until all have been used; topics come equally often.

    Seeds: each request shows a part of the label's seeds (`seeds_per_request`, or half of them), each seed equally
    often, so that no request leans on the same examples as the one before.

    Avoid: texts cannot be added to where the label's are sparse, since nobody knows a text that is not there. So the
    reverse: what is most crowded among the accepted is named for the new texts to leave, one text a crowd, and with it
    the newest. The texts of the last `ahead - 1` requests may still be under way and are not among them: a larger
    `ahead` keeps more requests of a label in flight, a smaller one knows more.
    """

    ahead: int | None = 4

    def __init__(self, task: Task, language: str, seeds: Sequence[Record], params: GenerateParams) -> None:
        if task.facets is None:
            raise DataError(
                f"task {task.name} has no facets, which generate.strategy `diverse` combines; run `polydistill facets` "
                "(or write the block `facets` in task.yaml), then `polydistill prepare`; or choose the strategy `plain`"
            )
        self._facets = task.facets
        self._seeds = by_label(seeds)
        self._key = f"{params.seed}/{language}"
        self._seeds_per_request = params.seeds_per_request
        self._texts_per_request = params.texts_per_request
        self._crowds: dict[str, Crowd] = {}

    def guide(self, label: Label, number: int, accepted: Sequence[str]) -> Guidance:
        """Return the seeds whose turn it is, a combination a text, and what of `accepted` to keep away from."""
        first = number * self._texts_per_request
        attributes = [self._attributes(label, text) for text in range(first, first + self._texts_per_request)]
        crowd = self._crowds[label.name] = crowd_of(accepted, self._crowds.get(label.name))
        return Guidance(self._turn(label, number), tuple(attributes), _to_avoid(crowd))

    def _turn(self, label: Label, number: int) -> tuple[Record, ...]:
        seeds = self._seeds.get(label.name, [])
        if not seeds:
            return ()
        # One example alone would have all texts take after it.
        size = min(len(seeds), self._seeds_per_request or max(2, len(seeds) // 2))
        # In a round the requests go round the seeds, in one order, until each has been shown equally often.
        round, place = divmod(number, len(seeds) // math.gcd(len(seeds), size))
        order = _shuffled(len(seeds), f"{self._key}/{label.name}/seeds/{round}")
        turn = [seeds[order[(place * size + i) % len(seeds)]] for i in range(size)]
        random.Random(f"{self._key}/{label.name}/{number}").shuffle(turn)
        return tuple(turn)

    def _attributes(self, label: Label, text: int) -> str:
        facets = self._facets
        values = (facets.topics[label.name], facets.lengths, facets.registers, facets.speakers)
        topic, length, register, speaker = _combination(values, text, f"{self._key}/{label.name}/attributes")
        return f"topic: {topic}; speaker: {speaker}; register: {register}; length: {length}"


def _combination(facets: Sequence[Sequence[str]], number: int, key: str) -> Iterator[str]:
    """Yield a value of each facet, so that the first n numbers give all n combinations, in an order shuffled by `key`.

    The first facet is gone through in rounds, each shuffled anew. Each of its values comes once a round, so the number
    of the round counts its uses, and with that as the number and an order of its own the value goes through the rest.
    """
    for values in facets:
        number, place = divmod(number, len(values))
        chosen = _shuffled(len(values), f"{key}:{number}")[place]
        key = f"{key}/{chosen}"
        yield values[chosen]


def _shuffled(size: int, key: str) -> list[int]:
    order = list(range(size))
    random.Random(key).shuffle(order)
    return order


def _to_avoid(crowd: Crowd) -> tuple[str, ...]:
    """Return the texts that stand most crowded, one of those alike, then the newest."""
    named: list[int] = []
    for candidates, most in ((crowd.most_crowded(), CROWDED), (reversed(range(len(crowd.texts))), AVOID)):
        for i in candidates:
            if len(named) == most:
                break
            if all(crowd.likeness(i, other) < _ALIKE for other in named):
                named.append(i)
    return tuple(crowd.texts[i] for i in named)
