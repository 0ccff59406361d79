"""Decides which trainings there are, and which texts each of them learns from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from polydistill.params import TrainParams, TrainSource
from polydistill.records import Record
from polydistill.runs import FINAL
from polydistill.train.subsets import CHOOSE, draw, draw_by, embed

LEAST_PER_LABEL = 2
"""Texts a label that a training of the curves has at least."""

Pool = Literal["synthetic", "human"]


@dataclass(frozen=True)
class Run:
    """One training: on `size` texts of `source`, drawn with `seed`."""

    source: TrainSource
    size: int
    run: int
    seed: int

    @property
    def facts(self) -> dict[str, Any]:
        """The columns that every table has of a run."""
        return {"source": self.source, "size": self.size, "run": self.run, "seed": self.seed}


def plan_runs(available: Mapping[TrainSource, int], n_labels: int, params: TrainParams) -> list[Run]:
    """Return the final run, then those of the learning curves, of every size that there are texts for."""
    runs = [Run("synthetic", available["synthetic"], FINAL, params.seed)]
    for source in params.sources:
        for size in sorted(set(params.sizes)):
            if LEAST_PER_LABEL * n_labels <= size <= available[source]:
                runs += [Run(source, size, number, params.seed + number) for number in range(params.runs)]
    return runs


class Drawer:
    """Draws the texts of the runs from the synthetic and the human ones."""

    def __init__(self, synthetic: Sequence[Record], human: Sequence[Record], subset: str) -> None:
        self.pools: dict[Pool, Sequence[Record]] = {"synthetic": synthetic, "human": human}
        self._drawn: dict[Run, list[Record]] = {}
        self._draw = {name: _draw_from(pool, subset) for name, pool in self.pools.items() if pool}

    @property
    def available(self) -> dict[TrainSource, int]:
        """The largest size that there are texts for, by source."""
        synthetic, human = len(self.pools["synthetic"]), len(self.pools["human"])
        return {"synthetic": synthetic, "human": human, "mixed": 2 * min(synthetic, human)}

    def draw(self, run: Run) -> list[Record]:
        """Return the texts of a run; of `mixed` half are human."""
        if run not in self._drawn:
            self._drawn[run] = self._draw_anew(run)
        return self._drawn[run]

    def _draw_anew(self, run: Run) -> list[Record]:
        if run.source == "mixed":
            half = run.size // 2
            return self._draw_of("synthetic", run.size - half, run) + self._draw_of("human", half, run)
        return self._draw_of(run.source, run.size, run)

    def _draw_of(self, pool: Pool, size: int, run: Run) -> list[Record]:
        rng = np.random.default_rng([run.seed, run.size, pool == "human"])
        return [self.pools[pool][i] for i in self._draw[pool](size, rng)]


def _draw_from(pool: Sequence[Record], subset: str) -> Callable[[int, np.random.Generator], np.ndarray]:
    """Return what draws subsamples of a size from the pool, as `subset` asks; all texts are looked at once."""
    labels = [record.label for record in pool]
    if subset == "random":
        return partial(draw, labels)
    return partial(draw_by, CHOOSE[subset], labels, embed([record.text for record in pool]))
