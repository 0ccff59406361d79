"""Checks, each of which finds the texts with one fault, behind one small interface.

`params.yaml:filter.checks` lists them in the order in which they run. A new one is a file here, which holds a class of
the same name, such as `TooShort` in too_short.py. `generate` tops up what they would take away.
"""

from importlib import import_module

from polydistill.checks._base import Check, Context, TextCheck
from polydistill.errors import ParamsError
from polydistill.params import FilterParams

__all__ = ["Check", "Context", "TextCheck", "open_checks"]


def open_checks(params: FilterParams, context: Context) -> list[Check]:
    """Return the checks that `filter.checks` lists, in its order, for one cell.

    Raises:
        ParamsError: If a file holds no class of its name, or a check lacks a setting that it needs.
        MissingExtraError: If a check needs a library that is not installed.
    """
    checks = {name: _class_of(name).open(params, context) for name in params.checks}
    for name, check in checks.items():
        if not isinstance(check, Check):  # `open` is the one method that a class may forget without being refused
            raise ParamsError(f"filter.checks: the class of {name} has no `open` that returns the check")
        if not hasattr(check, "meaning"):
            raise ParamsError(f"filter.checks: the class of {name} has no `meaning`, which says what it finds")
    return [*checks.values()]


def _class_of(name: str) -> type[Check]:
    module = import_module(f"{__name__}.{name}")
    class_name = "".join(map(str.capitalize, name.split("_")))
    if not hasattr(module, class_name):
        raise ParamsError(f"filter.checks: {module.__file__} holds no class {class_name}")
    check: type[Check] = getattr(module, class_name)
    return check
