"""Decides which variants of the settings a question asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import yaml

from polydistill.errors import ParamsError
from polydistill.files import parse_yaml
from polydistill.params import Params, check


@dataclass(frozen=True)
class Variant:
    """Settings that differ from params.yaml, by their dotted keys."""

    name: str
    changes: Mapping[str, Any]


def combinations(vary: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return a variant for each combination of the values of the settings, which are named by dotted keys.

    Keys with a comma between them change together: their values are lists, one value a key.

    Raises:
        ParamsError: If such a value is no list of as many.
    """
    shown = _short_names([one for keys in vary for one in keys.split(",")])
    variants = []
    for values in product(*vary.values()):
        changes: dict[str, Any] = {}
        for keys, value in zip(vary, values, strict=True):
            together = keys.split(",")
            if len(together) > 1 and (not isinstance(value, list) or len(value) != len(together)):
                raise ParamsError(f"--vary {keys}: {value} is no list of {len(together)} values, one for each key")
            changes |= dict(zip(together, value if len(together) > 1 else [value], strict=True))
        variants.append(Variant(", ".join(f"{shown[key]} {value}" for key, value in changes.items()), changes))
    return variants


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the end of each dotted key that no other key ends in."""
    shown = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]
        shown[key] = next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key)
    return shown


QUESTIONS: dict[str, list[Variant]] = {
    # Most first: where there are too few seeds that is said before anything is asked.
    "seeds": combinations({"prepare.seeds_per_label": [20, 10, 5, 0]}),
    "strategy": combinations({"generate.strategy": ["plain", "diverse"]}),
    # Without the check for leaks the scores could not be trusted.
    "filter": [Variant("filter on", {}), Variant("filter off", {"filter.checks": ["test_leak"], "filter.mark": []})],
    "source": [Variant("as it is", {"train.sources": ["synthetic", "human"]})],
}
"""The variants of the questions that need no more than their name."""


def variants_of(question: str, vary: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return the combinations of `vary` or, where that is empty, the variants of the question of this name.

    Raises:
        ParamsError: If nothing is varied, and the question is none of those.
    """
    if vary:
        return combinations(vary)
    if question not in QUESTIONS:
        raise ParamsError(
            f"ablate {question}: say what varies, as in --vary teacher.model=A,B --vary train.lora.model=C,D; "
            f"only {', '.join(QUESTIONS)} need no --vary"
        )
    return QUESTIONS[question]


def read_vary(given: Sequence[str]) -> dict[str, list[Any]]:
    """Return what `--vary KEY=VALUE,VALUE` says; values are YAML.

    Raises:
        ParamsError: If one is not of that form.
    """
    vary: dict[str, list[Any]] = {}
    for one in given:
        key, _, values = one.partition("=")
        key = key.strip()
        try:
            vary[key] = parse_yaml(f"[{values}]")
        except yaml.YAMLError as exc:
            raise ParamsError(f"--vary {one}: the values are not YAML ({exc})") from exc
        if not key or not vary[key]:
            raise ParamsError(
                f"--vary {one}: wanted KEY=VALUE,VALUE, such as prepare.seeds_per_label=5,10, or, for settings that "
                "change together, KEY,KEY=[VALUE,VALUE],[VALUE,VALUE]"
            )
    return vary


def with_changes(params: Params, changes: Mapping[str, Any]) -> Params:
    """Return the parameters with changes by dotted keys.

    Raises:
        ParamsError: If a key is unknown, or its value is not allowed.
    """
    content = params.model_dump()
    for key, value in changes.items():
        section: Any = content
        *path, last = key.split(".")
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise ParamsError(f"{key} is no setting of params.yaml")
        section[last] = value
    return check(Params, content, "params.yaml with " + ", ".join(f"{key}={value}" for key, value in changes.items()))
