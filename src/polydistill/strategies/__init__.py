"""Strategies, the ways to guide each request for texts, behind one small interface.

A new one is a file here: `params.yaml:generate.strategy` names the file, which holds a class of the same name, such as
`ByTopic` in by_topic.py.
"""

from collections.abc import Sequence
from importlib import import_module

from polydistill.errors import ParamsError
from polydistill.params import GenerateParams
from polydistill.records import Record
from polydistill.strategies._base import Guidance, Strategy
from polydistill.task import Task

__all__ = ["Guidance", "Strategy", "open_strategy"]


def open_strategy(task: Task, language: str, seeds: Sequence[Record], params: GenerateParams) -> Strategy:
    """Return the strategy that `generate.strategy` names, for one cell.

    Args:
        task: The task, with its facets where the strategy combines them.
        language: BCP 47 tag of the cell.
        seeds: The seeds of all labels.
        params: Section `generate` of params.yaml.

    Raises:
        ParamsError: If the file holds no such class.
        DataError: If the task lacks something that the strategy needs; the message says what to run.
    """
    module = import_module(f"{__name__}.{params.strategy}")
    name = "".join(map(str.capitalize, params.strategy.split("_")))
    if not hasattr(module, name):
        raise ParamsError(f"generate.strategy: {module.__file__} holds no class {name}")
    strategy: Strategy = getattr(module, name)(task, language, seeds, params)
    return strategy
