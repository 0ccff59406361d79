"""How generated text differs from human text: how varied each is, how far they lie apart, and what is too far.

The parts: `diversity` (with `bleu`, `surprise` and `foreign`) says how varied each side is, `drift`
whether they differ by more than chance and by how much, `gates` what may stop the run, `page` draws Evidently's report,
and `teachers` ranks several generations of one cell.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polydistill.embedding import embed
from polydistill.errors import DataError
from polydistill.files import new_folder, read_json, require_input, write_json
from polydistill.gather import cell_name
from polydistill.measure import diversity, foreign, gates
from polydistill.measure.diversity import OfRows, Side
from polydistill.measure.drift import PERMUTATIONS, find_drift, vocabulary_test
from polydistill.measure.gates import GateError
from polydistill.measure.sampling import CONFIDENCE, matched, sample
from polydistill.measure.tokens import tokens
from polydistill.measure.twosample import pair_folds, similarities, tell_apart
from polydistill.params import MeasureParams
from polydistill.records import REJECTED, Record, read_records, read_rows, read_validation

__all__ = ["GateError", "require_gates", "run_measure"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Texts:
    """What there is to compare in a cell.

    Attributes:
        synthetic: All accepted texts.
        human: All human texts, or the seeds where there are no others.
        compared_with: `human` or `seed`, which of both.
        seeds: The texts that guided the teacher.
        language: The tag of the cell's language.
        languages: The tags of all languages of the task.
        labels: The labels of the task.
    """

    synthetic: Sequence[Record]
    human: Sequence[Record]
    compared_with: str
    seeds: Sequence[str]
    language: str
    languages: Sequence[str]
    labels: Sequence[str]

    @property
    def tags(self) -> list[str]:
        """The tag of the wanted language, then those of all languages of the task."""
        return [self.language, *self.languages]


class Comparison:
    """All that is measured of a cell, but for what filter found."""

    def __init__(self, texts: Texts, params: MeasureParams) -> None:
        """Draw the texts, and compute what several measures need."""
        seed = params.seed
        self.texts, self.params = texts, params
        self.equal = matched(texts.synthetic, texts.human, max_texts=params.max_texts, seed=seed)
        self.drawn = [sample(side, params.max_texts, seed) for side in (texts.synthetic, texts.human)]
        # Halves of both sides are drawn apart, so that the spreads of their measures do not go together.
        self._equal = Side.of(self.equal[0], seed), Side.of(self.equal[1], seed + 1)
        self._drawn = Side.of(self.drawn[0], seed), Side.of(self.drawn[1], seed + 1)
        labels = self._equal[0].labels
        similarity = similarities([*self._equal[0].texts, *self._equal[1].texts])
        self._told_apart = tell_apart(similarity, labels, PERMUTATIONS, seed)
        self._measures = self._all_measures(similarity, pair_folds(labels, seed))

    @property
    def scores(self) -> np.ndarray:
        """How synthetic each matched text looks to a classifier, the synthetic ones first."""
        return self._told_apart.scores

    def _all_measures(
        self, similarity: np.ndarray, folds: np.ndarray
    ) -> dict[str, tuple[tuple[OfRows, OfRows | None], tuple[Side, Side]]]:
        """Return each measure on both sides, with the texts that it is for."""
        n = len(folds)
        of_side: list[dict[str, OfRows]] = []
        for side, part in zip(self._equal, (slice(None, n), slice(n, None)), strict=True):
            words = diversity.word_measures([tokens(text) for text in side.texts])
            characters = diversity.text_measures(side.texts, side.labels, similarity[part, part])
            of_side.append({**words, **characters})
        for measures, perplexities in zip(of_side, diversity.perplexities(self._equal, folds), strict=True):
            measures |= perplexities
        if self.params.embedding_model is not None:
            embeddings = embed([*self._equal[0].texts, *self._equal[1].texts], self.params.embedding_model)
            for measures, part in zip(of_side, (slice(None, n), slice(n, None)), strict=True):
                measures["embedding_variance"] = diversity.embedding_variance(embeddings[part])
        found: dict[str, tuple[tuple[OfRows, OfRows | None], tuple[Side, Side]]] = {
            name: ((of_side[0][name], of_side[1][name]), self._equal) for name in of_side[0]
        }
        pure = [diversity.share(foreign.in_language(side.texts, self.texts.tags)) for side in self._drawn]
        found["language_purity"] = (pure[0], pure[1]), self._drawn
        copied = [diversity.share(foreign.holds_seed(side.texts, self.texts.seeds)) for side in self._drawn]
        are_seeds = self.texts.compared_with == "seed"
        found["copied_from_seeds"] = (copied[0], None if are_seeds else copied[1]), self._drawn
        even = [diversity.balance(side.labels, self.texts.labels) for side in self._drawn]
        mixed = self._drawn[0].mixed(self.params.seed), self._drawn[1].mixed(self.params.seed + 1)
        found["label_balance"] = (even[0], even[1]), mixed
        return found

    def measures(self, label: str | None = None) -> dict[str, dict[str, Any]]:
        """Return the table of the measures on both sides, of one label or over all."""
        return {
            name: diversity.beside(name, *self._measures[name], label=label)
            for name in diversity.MEANING
            if name in self._measures and not (label is not None and name == "label_balance")
        }

    def apart(self, label: str | None = None) -> dict[str, dict[str, Any]]:
        """Return how far the sides lie apart, of one label or over all."""
        n = int(self._equal[0].of_label(label)[0].sum())
        found = {
            "auc": diversity.apart("auc", diversity.auc_of(self.scores, self._equal, label), n),
            "length_distance": diversity.apart("length_distance", diversity.length_distance(self._equal, label), n),
        }
        if label is None:
            sides = [r.label for r in self.texts.synthetic], [r.label for r in self.texts.human]
            distances = diversity.label_distance(sides, self.params.seed)
            found["label_distance"] = diversity.apart("label_distance", distances, min(map(len, sides)))
        return found

    def lengths(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the quantiles of the lengths of both sides, in characters and in words."""
        units: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(tokens(text))}
        return {
            unit: {
                name: diversity.length_quantiles([length(text) for text in side.texts])
                for name, side in zip(("synthetic", "human"), self._equal, strict=True)
            }
            for unit, length in units.items()
        }

    def drift(self, auc: dict[str, Any]) -> dict[str, Any]:
        """Return the tests of drift and their verdict; `auc` is that of `apart` over all labels."""
        params = self.params.gates
        limits = {
            "labels": params.drift.limit,
            "properties": params.drift.limit,
            "vocabulary": max(2 * params.auc.limit - 1, 0.0),
        }
        vocabulary = vocabulary_test(auc, self._told_apart.p_value)
        texts = self.texts
        return find_drift(texts.synthetic, texts.human, vocabulary, texts.tags, limits, self.params.seed)

    def by_label(self) -> dict[str, dict[str, Any]]:
        """Return the same tables for each label that both sides have."""
        counts = {label: self._equal[0].labels.count(label) for label in dict.fromkeys(self._equal[0].labels)}
        return {
            label: {"n": n, "measures": self.measures(label), "apart": self.apart(label)} for label, n in counts.items()
        }


def judged_gates(
    compared: Comparison,
    measures: dict[str, dict[str, Any]],
    auc: float | None,
    drift: dict[str, Any],
    filtering: dict[str, Any],
    found: Sequence[dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Return what became of each gate, from what was measured and what filter rejected or marked."""
    synthetic, human = compared.equal
    distinct = measures["distinct_2"]
    moved, distance = gates.worst_drift(drift)
    foreign_share = gates.found_share(filtering, found, gates.OTHER_LANGUAGE)
    values = {
        "near_duplicates": gates.found_share(filtering, found, gates.REPEATS),
        "copied_seeds": gates.found_share(filtering, found, gates.COPIES),
        "language_purity": None if foreign_share is None or not filtering["language"]["checked"] else 1 - foreign_share,
        "distinct_2_ratio": distinct["synthetic"] / distinct["human"]
        if distinct["human"] and distinct["synthetic"] is not None
        else None,
        "auc": auc,
        "drift": distance,
    }
    examples = {
        "near_duplicates": partial(gates.found_examples, found, gates.REPEATS),
        "copied_seeds": partial(gates.found_examples, found, gates.COPIES),
        "language_purity": partial(gates.found_examples, found, gates.OTHER_LANGUAGE),
        "distinct_2_ratio": partial(gates.repetitive_examples, synthetic),
        "auc": partial(gates.told_apart_examples, synthetic, compared.scores),
        "drift": partial(gates.drifted_examples, compared.drawn[0], compared.drawn[1], moved, compared.texts.tags),
    }
    return gates.judge(values, examples, compared.params.gates)


def run_measure(prepared: Path, filtered: Path, measured: Path, params: MeasureParams) -> None:
    """Write for one cell diversity.json, metrics.json (its numbers), labels.json (by label), gates.json and drift.html.

    Diversity is compared at equal n per label; label shares and language on random texts of each side.

    Args:
        prepared: The folder that `prepare` wrote.
        filtered: The folder that `filter` wrote.
        measured: The folder to write; it is whole before a gate stops the run.
        params: Section `measure` of params.yaml.

    Raises:
        DataError: If an input is missing or damaged, or both sides have no label in common.
        GateError: If a gate is not passed that is to stop the run.
    """
    # Evidently takes seconds to import, and who only reads the gates needs none of it.
    from polydistill.measure.page import drift_page  # noqa: PLC0415

    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    accepted = read_records(require_input(filtered / "accepted.parquet", "filter"))
    filtering = read_json(require_input(filtered / "filter.json", "filter"))
    found = [
        row
        for name in ("rejected", "marked")
        for row in read_rows(require_input(filtered / f"{name}.parquet", "filter"), REJECTED)
    ]
    human, compared_with = read_records(prepared / "human.parquet"), "human"
    seeds = read_records(prepared / "seeds.parquet")
    if not human:
        human, compared_with = read_validation(prepared)[0], "seed"
    task, cell = facts["task"], cell_name(facts)
    if not {r.label for r in accepted} & {r.label for r in human}:
        raise DataError(f"{cell}: no label has both accepted and {compared_with} texts; there is nothing to compare")
    texts = Texts(
        synthetic=accepted,
        human=human,
        compared_with=compared_with,
        seeds=[seed.text for seed in seeds],
        language=facts["language"],
        languages=task["languages"],
        labels=[label["name"] for label in task["labels"]],
    )
    compared = Comparison(texts, params)
    measures, apart = compared.measures(), compared.apart()
    drift = compared.drift(apart["auc"])
    judged = judged_gates(compared, measures, apart["auc"]["value"], drift, filtering, found)
    content = {
        "schema_version": 2,
        "compared_with": compared_with,
        "n": len(compared.equal[0]),
        "confidence": CONFIDENCE,
        "measures": measures,
        "apart": apart,
        "lengths": compared.lengths(),
        "drift": drift,
    }
    with new_folder(measured) as folder:
        write_json(folder / "diversity.json", content)
        write_json(folder / "metrics.json", _numbers(content))
        write_json(folder / "labels.json", {"schema_version": 1, "labels": compared.by_label()})
        write_json(folder / "gates.json", {"schema_version": 1, "gates": judged})
        page = drift_page(compared.drawn[0], compared.drawn[1], texts.tags, drift)
        (folder / "drift.html").write_text(page, encoding="utf-8")
    pair = measures["distinct_2"]
    log.info(
        "%d texts a side, distinct-2 %s against %s of %s text, drift: %s",
        *(content["n"], *(_shown(pair[side]) for side in ("synthetic", "human")), compared_with, drift["verdict"]),
    )
    gates.enforce(cell, judged, measured)


def require_gates(prepared: Path, measured: Path, place: str) -> None:
    """Stop where `run_measure` did, by what it wrote: for an engine that keeps nothing of a step that fails.

    Args:
        prepared: The folder that `prepare` wrote.
        measured: The folder that `run_measure` wrote.
        place: Where a person finds that folder.

    Raises:
        DataError: If one of both lacks its file.
        GateError: If a gate is not passed that is to stop the run.
    """
    judged = read_json(require_input(measured / "gates.json", "measure"))["gates"]
    gates.require_passed(cell_name(read_json(require_input(prepared / "prepare.json", "prepare"))), judged, place)


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is worth a column of `dvc metrics show`."""
    sides = ("synthetic", "human", "difference")
    return {
        **{name: {side: measure[side] for side in sides} for name, measure in content["measures"].items()},
        **{name: distance["value"] for name, distance in content["apart"].items()},
        "n": content["n"],
    }


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"
