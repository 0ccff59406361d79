"""Evidently's picture of how the properties of two sides differ, with our tests and verdicts: drift.html."""

import os
import re
import uuid
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset

from polydistill.measure.drift import properties_of
from polydistill.records import Record

os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently looks at it before each event that it would send

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=metric_)[0-9a-f]{32}")
_OURS = StatTest(
    "permutation", "permutation p_value", [ColumnType.Numerical, ColumnType.Categorical], default_threshold=0.05
)


def drift_page(
    synthetic: Sequence[Record], human: Sequence[Record], languages: Sequence[str], drift: Mapping[str, Any]
) -> str:
    """Return Evidently's drift report as one HTML page that needs no network; the same input gives the same page.

    Evidently draws; the p-values are those of `drift`, so that the page does not say otherwise than the gates. Its own
    tests look at each property by itself, others for other numbers of texts.

    Args:
        synthetic: Texts of the one side.
        human: Texts of the other.
        languages: The tag of the wanted language, then those of all languages of the task.
        drift: What `find_drift` returns.
    """
    sides = [properties(side, languages) for side in (synthetic, human)]
    columns = DataDefinition(numerical_columns=list(sides[0].columns[:-1]), categorical_columns=["labels"])

    def ours(of_human: pd.Series, _: pd.Series, __: ColumnType, threshold: float) -> tuple[float, bool]:
        p_value = drift["tests"][of_human.name]["p_value"]
        return p_value, p_value <= threshold

    register_stattest(_OURS, ours)
    report = Report([DataDriftPreset(num_method="permutation", cat_method="permutation")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it looks for spread and correlation where there may be none
        run = report.run(*(Dataset.from_pandas(side, columns) for side in sides))
        html = number_ids(run.get_html_str(as_iframe=False))
    return re.sub(r"<body[^>]*>", lambda body: body.group() + _verdict(drift), html, count=1)


def _verdict(drift: Mapping[str, Any]) -> str:
    """Return our verdict as HTML, to stand above Evidently's heading, which says "drift" by its own count."""
    moved = [name for name, test in drift["tests"].items() if test["verdict"] != "none"]
    told = f"{drift['verdict']} drift: {', '.join(moved)}" if moved else "no drift"
    return (
        f'<p style="font: 16px sans-serif; margin: 1em 2em"><b>The verdict of the run is {escape(told)}.</b> '
        "The heading below counts the properties that moved, each by itself; how many those are decides nothing.</p>"
    )


def properties(records: Sequence[Record], languages: Sequence[str]) -> pd.DataFrame:
    """Return a row a record: the properties of its text, and its label."""
    return pd.DataFrame({**properties_of([r.text for r in records], languages), "labels": [r.label for r in records]})


def number_ids(html: str) -> str:
    """Replace the random ids in a page by others that depend only on the order in which they first stand there."""
    new: dict[str, str] = {}

    def replacement(found: re.Match[str]) -> str:
        old = found.group()
        number = uuid.UUID(int=len(new) + 1)
        return new.setdefault(old, str(number) if "-" in old else number.hex)

    return _ID.sub(replacement, html)
