"""Strategies, the ways to guide each request for texts, behind one small interface; a new one is a file and a line."""

from collections.abc import Callable, Sequence

from polydistill.errors import ParamsError
from polydistill.params import GenerateParams
from polydistill.records import Record
from polydistill.strategies.base import Guidance, Strategy
from polydistill.strategies.diverse import Diverse
from polydistill.strategies.plain import Plain
from polydistill.task import Task

__all__ = ["STRATEGIES", "Guidance", "Strategy", "open_strategy"]

STRATEGIES: dict[str, Callable[[Task, str, Sequence[Record], GenerateParams], Strategy]] = {
    "plain": Plain,
    "diverse": Diverse,
}


def open_strategy(task: Task, language: str, seeds: Sequence[Record], params: GenerateParams) -> Strategy:
    """Return the strategy that `generate.strategy` names, for one cell.

    Args:
        task: The task, with its facets where the strategy combines them.
        language: BCP 47 tag of the cell.
        seeds: The seeds of all labels.
        params: Section `generate` of params.yaml.

    Raises:
        ParamsError: If there is no such strategy.
        DataError: If the task lacks something that the strategy needs; the message says what to run.
    """
    if params.strategy not in STRATEGIES:
        raise ParamsError(f"generate.strategy: there is no `{params.strategy}`; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[params.strategy](task, language, seeds, params)
