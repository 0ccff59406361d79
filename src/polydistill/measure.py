"""How generated text differs from human text: how varied each is, and how far their visible properties lie apart."""

import logging
import os
import re
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset
from scipy.stats import chi2_contingency, ks_2samp
from sklearn.feature_extraction.text import TfidfVectorizer

from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.params import MeasureParams
from polydistill.properties import PROPERTIES, text_properties
from polydistill.records import Record, read_records
from polydistill.text import words

log = logging.getLogger(__name__)
os.environ.setdefault("DO_NOT_TRACK", "1")  # Evidently looks at it before each event that it would send

MEANING = {
    "distinct_1": "share of the words that are different words; higher = more varied",
    "distinct_2": "share of the pairs of neighbouring words that are different pairs; higher = more varied",
    "mean_characters": "characters per text",
    "mean_words": "words per text, between white space",
    "compression_ratio": "bytes before over bytes after zlib; higher = more repetitive",
    "intra_class_distance": "mean cosine distance of two texts of a label (TF-IDF of character 2- to 4-grams); "
    "higher = more varied",
}
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=metric_)[0-9a-f]{32}")


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of the word n-grams within the texts that are different ones; 0 where there is none."""
    grams = [gram for text in map(words, texts) for gram in zip(*(text[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / max(len(grams), 1)


def compression_ratio(texts: Sequence[str]) -> float:
    """Return how many times smaller zlib makes the texts, a line each."""
    raw = "\n".join(texts).encode()
    return len(raw) / len(zlib.compress(raw, 9))


def intra_class_distances(sides: Sequence[Sequence[Record]]) -> list[float | None]:
    """Return for each side the mean cosine distance of two texts of a label, labels weighted by their texts.

    The sides share one vocabulary and its weights, so that their distances compare. None where no label has two texts.
    """
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectorizer.fit(record.text for side in sides for record in side)
    return [_intra_class_distance(side, vectorizer) for side in sides]


def _intra_class_distance(records: Sequence[Record], vectorizer: TfidfVectorizer) -> float | None:
    counts = {label: n for label, n in Counter(r.label for r in records).items() if n > 1}
    if not counts:
        return None
    distances = {}
    for label, n in counts.items():
        # Rows have length 1: the squared length of their sum adds up all cosines, n of them of a row with itself.
        total = np.asarray(vectorizer.transform(r.text for r in records if r.label == label).sum(axis=0))
        distances[label] = 1 - (float((total**2).sum()) - n) / (n * (n - 1))
    return sum(distances[label] * n for label, n in counts.items()) / sum(counts.values())


def diversity(synthetic: Sequence[Record], human: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return the measures of `MEANING` for both sides, which should hold the same number of texts."""
    measures: dict[str, Callable[[Sequence[str]], float]] = {
        "distinct_1": lambda texts: distinct(texts, 1),
        "distinct_2": lambda texts: distinct(texts, 2),
        "mean_characters": lambda texts: float(np.mean([len(text) for text in texts])),
        "mean_words": lambda texts: float(np.mean([len(words(text)) for text in texts])),
        "compression_ratio": compression_ratio,
    }
    texts = [[record.text for record in side] for side in (synthetic, human)]
    values: dict[str, list[float | None]] = {name: [measure(t) for t in texts] for name, measure in measures.items()}
    values["intra_class_distance"] = intra_class_distances([synthetic, human])
    return {
        name: {"synthetic": _rounded(values[name][0]), "human": _rounded(values[name][1]), "meaning": meaning}
        for name, meaning in MEANING.items()
    }


def matched(
    synthetic: Sequence[Record], human: Sequence[Record], *, max_texts: int, seed: int
) -> tuple[list[Record], list[Record]]:
    """Draw from both sides the same number of texts of each label, at most `max_texts` a side.

    Large labels give way first, so that small ones stay whole. The order of the input plays no part.
    """
    available = {
        label: min(sum(r.label == label for r in synthetic), sum(r.label == label for r in human))
        for label in sorted({r.label for r in synthetic} & {r.label for r in human})
    }
    most = max(available.values(), default=0)
    while most > 1 and sum(min(n, most) for n in available.values()) > max_texts:
        most -= 1
    drawn: tuple[list[Record], list[Record]] = ([], [])
    for label, n in available.items():
        for side, records in zip(drawn, (synthetic, human), strict=True):
            side += sample([r for r in records if r.label == label], min(n, most), seed)
    return drawn


def sample(records: Sequence[Record], n: int, seed: int) -> list[Record]:
    """Draw `n` of the records, or all where there are fewer; the order of the input plays no part."""
    ordered = sorted(records, key=lambda r: (r.id, r.label))
    chosen = np.random.default_rng(seed).permutation(len(ordered))[:n]
    return [ordered[i] for i in sorted(chosen)]


def properties(records: Sequence[Record]) -> pd.DataFrame:
    """Return a row a record: the properties of its text, and its label."""
    return pd.DataFrame({**text_properties([r.text for r in records]), "label": [r.label for r in records]})


def drift(synthetic: pd.DataFrame, human: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Test for each column of `properties` whether both sides are drawn from one distribution."""
    found = {}
    for name in PROPERTIES:
        result = ks_2samp(human[name], synthetic[name])
        found[name] = {"test": "Kolmogorov-Smirnov", "statistic": result.statistic, "p_value": result.pvalue}
    statistic, p_value = _chi_square(human["label"], synthetic["label"])
    found["label"] = {"test": "chi-square", "statistic": statistic, "p_value": p_value}
    return {name: {key: _rounded(value) for key, value in of_name.items()} for name, of_name in found.items()}


def _chi_square(human: pd.Series, synthetic: pd.Series) -> tuple[float, float]:
    labels = sorted({*human, *synthetic})
    counts = [[int((side == label).sum()) for label in labels] for side in (human, synthetic)]
    result = chi2_contingency(counts)
    return float(result.statistic), float(result.pvalue)


def _label_test(human: pd.Series, synthetic: pd.Series, _: ColumnType, threshold: float) -> tuple[float, bool]:
    p_value = _chi_square(human, synthetic)[1]
    return p_value, p_value < threshold


# Evidently's own chi-square test divides by zero where a label has no human text, and adds in an order that varies.
_LABEL_TEST = StatTest("labels", "chi-square p_value", [ColumnType.Categorical], default_threshold=0.05)
register_stattest(_LABEL_TEST, _label_test)


def drift_report(synthetic: pd.DataFrame, human: pd.DataFrame) -> str:
    """Return Evidently's drift report as one HTML page that needs no network; the same input gives the same page.

    The tests are named, since Evidently would choose others for other numbers of texts; they are those of `drift`.
    """
    columns = DataDefinition(numerical_columns=list(PROPERTIES), categorical_columns=["label"])
    report = Report([DataDriftPreset(num_method="ks", cat_method="labels")])
    with np.errstate(invalid="ignore"):  # it looks for correlations of columns that may be constant
        run = report.run(Dataset.from_pandas(synthetic, columns), Dataset.from_pandas(human, columns))
        return number_ids(run.get_html_str(as_iframe=False))


def number_ids(html: str) -> str:
    """Replace the random ids in a page by others that depend only on the order in which they first stand there."""
    new: dict[str, str] = {}

    def replacement(found: re.Match[str]) -> str:
        old = found.group()
        number = uuid.UUID(int=len(new) + 1)
        return new.setdefault(old, str(number) if "-" in old else number.hex)

    return _ID.sub(replacement, html)


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def run_measure(prepared: Path, filtered: Path, measured: Path, params: MeasureParams) -> None:
    """Write diversity.json and drift.html for one cell.

    Diversity is compared at equal n per label; drift on random texts of each side, since it is to show whether the
    shares of the labels differ.

    Args:
        prepared: The folder that `prepare` wrote.
        filtered: The folder that `filter` wrote.
        measured: The folder to write.
        params: Section `measure` of params.yaml.

    Raises:
        DataError: If an input is missing or damaged, or both sides have no label in common.
    """
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    synthetic = read_records(require_input(filtered / "accepted.parquet", "filter"))
    human, compared_with = read_records(prepared / "human.parquet"), "human"
    if not human:
        human, compared_with = read_records(prepared / "seeds.parquet"), "seed"
    cell = f"{facts['task']['name']}/{facts['language']}"
    equal = matched(synthetic, human, max_texts=params.max_texts, seed=params.seed)
    n = len(equal[0])
    if not n:
        raise DataError(f"{cell}: no label has both accepted and {compared_with} texts; there is nothing to compare")
    drawn = [properties(sample(side, params.max_texts, params.seed)) for side in (synthetic, human)]
    measures = diversity(*equal)
    content = {
        "schema_version": 1,
        "compared_with": compared_with,
        "n": n,
        "measures": measures,
        "drift": drift(*drawn),
        "drift_texts": {"synthetic": len(drawn[0]), "human": len(drawn[1])},
    }
    with new_folder(measured) as folder:
        write_json(folder / "diversity.json", content)
        (folder / "drift.html").write_text(drift_report(*drawn), encoding="utf-8")
    pair = measures["distinct_2"]
    log.info(
        "%d texts a side, distinct-2 %.3f against %.3f of %s text",
        *(n, pair["synthetic"], pair["human"], compared_with),
    )
