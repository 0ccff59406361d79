from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl

from build import build_prepared
from components.challenge.component import challenge as challenge_component
from polydistill.cluster.challenge import (
    BETTER,
    EQUAL,
    NEWER,
    WORSE,
    card_of,
    newer_data,
    rule,
    run_challenge,
    winner_of,
)
from polydistill.cluster.registry import Data, Kept
from polydistill.cluster.store import open_store
from polydistill.errors import DataError, MissingExtraError
from polydistill.files import digest, read_json, write_json
from polydistill.params import RetrainParams, load_params, to_struct
from promotions import JUNE, MAY, SWAPPED, TEXTS, champion, data, new_winner, write_champions

PARAMS = RetrainParams(max_age_days=90, confidence=0.95)
CELL = "demo/sl"
KINDS = ("winner", "card")


class Challenge:
    """A challenger, perhaps a champion, and what comes of it."""

    def __init__(self, work: Path, *, labels: dict[str, list[str]] | None = None, metric: str = "accuracy") -> None:
        self.work, self.champions = work, work / "champions"
        self.champions.mkdir()
        self.prepared = build_prepared(work / "prepared", labels or TEXTS)
        self.winner = new_winner(work, CELL, TEXTS, metric)
        self.card = work / "cards" / CELL

    def against(self, texts: Any = TEXTS, of: Data | None = None) -> "Challenge":
        """Have a champion that was trained on these texts."""
        new_winner(self.work / "then", CELL, texts)
        write_champions(self.champions, {CELL: champion(of=of or data())})
        (self.champions / CELL).mkdir(parents=True)
        (self.work / "then/winners" / CELL).rename(self.champions / CELL / "winner")
        (self.work / "then/cards" / CELL).rename(self.champions / CELL / "card")
        for folder in ("winner", "card"):
            (self.champions / CELL / folder / "then").touch()  # by which it is known again
        return self

    def run(self, of: str = "b", committed_at: datetime | None = JUNE, **changes: str) -> dict[str, Any]:
        """Return challenge.json."""
        source = data(of, committed_at).model_dump(mode="json") | changes
        verdict = run_challenge(
            CELL,
            self.champions,
            self.prepared,
            self.winner,
            self.card,
            source,
            PARAMS,
            self.work / "challenged",
        )
        record: dict[str, Any] = read_json(self.work / "challenged/challenge.json")
        assert record["verdict"] == verdict
        for folder in (winner_of(self.work / "challenged"), card_of(self.work / "challenged")):
            assert record["promoted"] != (folder / "then").exists()
        assert (winner_of(self.work / "challenged") / "winner.json").exists()
        assert (card_of(self.work / "challenged") / "card.json").exists()
        return record


def marks(right: int, texts: int = 20) -> np.ndarray:
    """Return the marks of one who has the first so many texts right."""
    return (np.arange(texts) < right)[np.newaxis]


@pytest.mark.parametrize(
    ("challenger", "champion", "newer", "verdict"),
    [
        pytest.param(20, 10, False, BETTER, id="better"),
        pytest.param(20, 10, True, BETTER, id="better on newer data"),
        pytest.param(10, 20, True, WORSE, id="worse on newer data"),
        pytest.param(10, 20, False, WORSE, id="worse"),
        pytest.param(18, 18, True, NEWER, id="alike on newer data"),
        pytest.param(18, 18, False, EQUAL, id="alike on the same data"),
        pytest.param(17, 20, True, NEWER, id="a little worse, which chance explains, on newer data"),
        pytest.param(20, 17, False, EQUAL, id="a little better, which chance explains, on the same data"),
    ],
)
def test_who_takes_the_cell(challenger: int, champion: int, newer: bool, verdict: str) -> None:
    assert rule(marks(challenger), marks(champion), newer, "", 0.95).verdict == verdict


def test_how_sure_it_must_be_is_a_setting() -> None:
    # Six texts that the challenger alone has right: mid-p 2 × 0.5 ** 7 = 0.016
    assert rule(marks(20), marks(14), False, "", 0.95).verdict == BETTER
    assert rule(marks(20), marks(14), False, "", 0.99).verdict == EQUAL


def test_the_reason_has_the_numbers() -> None:
    reason = rule(marks(20), marks(10), False, "its data are the same", 0.95).reason
    assert reason.startswith(
        "1.000 against the champion's 0.500 on 20 validation texts (difference +0.500, 95 % interval"
    )
    assert reason.endswith("better beyond chance")
    assert rule(marks(20), marks(20), False, "its data are the same", 0.95).reason.endswith(
        "not separable, and its data are the same"
    )


@pytest.mark.parametrize(
    ("now", "then", "newer"),
    [
        pytest.param(data("b", JUNE), data("a", MAY), True, id="later, other content"),
        pytest.param(data("a", JUNE), data("a", MAY), False, id="later, same content"),
        pytest.param(data("b", MAY), data("a", JUNE), False, id="earlier"),
        pytest.param(data("b", MAY), data("a", MAY), False, id="at the same time"),
        pytest.param(data("b", None), data("a", MAY), False, id="of no commit"),
        pytest.param(data("b", JUNE), data("a", None), False, id="then of no commit"),
    ],
)
def test_data_are_newer_where_the_commit_is_later_and_the_content_another(now: Data, then: Data, newer: bool) -> None:
    assert newer_data(now, then)[0] == newer


def test_where_there_is_no_champion_the_winner_is_the_first(tmp_path: Path) -> None:
    record = Challenge(tmp_path).run()
    assert (record["promoted"], record["verdict"]) == (True, "first")
    assert record["champion"] is None and record["p_value"] is None
    assert "The first winner of this cell." in (tmp_path / "challenged/challenge.md").read_text()


def test_a_better_challenger_is_promoted_and_all_is_told(tmp_path: Path) -> None:
    record = Challenge(tmp_path).against(SWAPPED).run("a", MAY)
    assert (record["promoted"], record["verdict"]) == (True, BETTER)
    assert (record["challenger"]["score"], record["champion"]["score"]) == (1, 0)
    assert (record["difference"], record["texts"]) == (1, 40)
    assert record["p_value"] < 0.05 and record["interval"][0] > 0
    assert record["champion"]["run"] == "spring" and record["champion"]["data"]["commit"] == "c" * 40
    page = (tmp_path / "challenged/challenge.md").read_text()
    assert page.startswith("# demo/sl: the challenger is promoted")
    assert "| champion | linear | 0.000 | cccccccccccc |" in page
    assert "The challenger was chosen by these texts among the students of its run, which favours it a little." in page


def test_a_worse_challenger_is_not_promoted_on_newer_data_either(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path, labels={"book": TEXTS["cancel"], "cancel": TEXTS["book"]}).against(SWAPPED)
    record = challenge.run("b", JUNE)
    assert (record["promoted"], record["verdict"]) == (False, WORSE)
    assert (tmp_path / "challenged/challenge.md").read_text().startswith("# demo/sl: the champion stays")


def test_one_that_cannot_be_told_from_the_champion_is_promoted_where_its_data_are_newer(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path).against()
    record = challenge.run("b", JUNE)
    assert (record["promoted"], record["verdict"]) == (True, NEWER)
    assert "2026-06-01 12:00 UTC, are newer than the champion's, of 2026-05-01 12:00 UTC" in record["reason"]
    record = challenge.run("a", JUNE)
    assert (record["promoted"], record["verdict"]) == (False, EQUAL)
    assert 0 < record["smallest_gap"] < 0.2


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        pytest.param("accuracy", 30 / 40, id="accuracy"),
        pytest.param("macro_f1", (2 * 20 / (20 + 30) + 2 * 10 / (20 + 10)) / 2, id="macro-F1"),
    ],
)
def test_the_metric_is_that_by_which_select_chose(tmp_path: Path, metric: str, score: float) -> None:
    # Ten of the thirty that book it takes for such as cancel.
    labels = {"book": [*TEXTS["book"], *TEXTS["cancel"][:10]], "cancel": TEXTS["cancel"][10:]}
    record = Challenge(tmp_path, labels=labels, metric=metric).against().run()
    assert (record["metric"], record["challenger"]["score"]) == (metric, pytest.approx(score))
    assert record["difference"] == 0


def test_a_champion_whose_labels_are_others_is_replaced(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path).against({"book": TEXTS["book"], "complain": TEXTS["cancel"]})
    record = challenge.run("a", MAY)
    assert (record["promoted"], record["verdict"]) == (True, "other labels")
    assert "other labels (book, complain) than the task has now (book, cancel): not comparable" in record["reason"]
    assert record["texts"] == 0


def test_the_order_of_the_labels_does_not_matter(tmp_path: Path) -> None:
    labels = {"cancel": TEXTS["cancel"], "book": TEXTS["book"]}
    assert Challenge(tmp_path, labels=labels).against().run("a", MAY)["verdict"] == EQUAL


def damaged_in_the_store(winner: Path) -> None:
    write_json(winner.parent / "damaged.json", {"schema_version": 1, "reason": "winners/1.tar is missing"})


def changed(winner: Path) -> None:
    (winner / "model/terms.json").write_text("[]")


def of_another_version(winner: Path) -> None:
    write_json(winner / "model/student.json", {"kind": "perceptron"})
    facts = read_json(winner / "winner.json")
    facts["digests"]["model"] = digest(winner / "model")
    write_json(winner / "winner.json", facts)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(damaged_in_the_store, "winners/1.tar is missing", id="in the store"),
        pytest.param(changed, "not the one that its winner.json tells of", id="changed"),
        pytest.param(of_another_version, "cannot be loaded (", id="of another version"),
        pytest.param(lambda winner: (winner / "winner.json").unlink(), "cannot be loaded (", id="without facts"),
    ],
)
def test_a_champion_that_cannot_be_asked_is_replaced(tmp_path: Path, damage: Any, reason: str) -> None:
    challenge = Challenge(tmp_path).against()
    damage(challenge.champions / CELL / "winner")
    record = challenge.run("a", MAY)
    assert (record["promoted"], record["verdict"]) == (True, "champion damaged")
    assert reason in record["reason"]


def test_a_champion_that_this_image_cannot_run_is_no_reason_to_replace_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge = Challenge(tmp_path).against()

    def without_its_extra(_: Path) -> None:
        raise MissingExtraError("a student of kind encoder needs onnxruntime; run: pip install 'polydistill[encoder]'")

    monkeypatch.setattr("polydistill.cluster.challenge.load_student", without_its_extra)
    with pytest.raises(MissingExtraError, match="needs onnxruntime"):
        challenge.run()


def test_a_base_model_that_the_hub_does_not_give_is_no_reason_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge = Challenge(tmp_path).against()
    unreachable = type("LocalEntryNotFoundError", (OSError,), {"__module__": "huggingface_hub.errors"})

    def without_the_hub(_: Path) -> None:
        raise DataError("the Hugging Face hub did not give it") from unreachable()

    monkeypatch.setattr("polydistill.cluster.challenge.load_student", without_the_hub)
    with pytest.raises(DataError, match="did not give it"):
        challenge.run()


def test_texts_that_came_after_the_champion_was_chosen_are_counted(tmp_path: Path) -> None:
    more = {"book": [*TEXTS["book"], "Imate prost termin?", "Prosim za uro."], "cancel": TEXTS["cancel"]}
    challenge = Challenge(tmp_path, labels=more).against()
    assert challenge.run()["new_to_champion"] == 2
    assert "2 of them were not there when the champion was chosen" in (tmp_path / "challenged/challenge.md").read_text()


def test_the_test_set_is_not_read(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path).against(SWAPPED)
    (challenge.prepared / "questions.parquet").unlink()
    assert challenge.run()["promoted"]


def test_a_winner_of_another_cell_is_refused(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path)
    challenge.winner = new_winner(tmp_path / "other", "demo/sw", TEXTS)
    with pytest.raises(DataError, match="is of demo/sw and not of demo/sl"):
        challenge.run()


def test_data_that_nobody_knows_where_they_came_from_are_refused(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path)
    with pytest.raises(DataError, match=r"where the data came from is not known \(digest"):
        challenge.run(digest="unknown")
    assert not (tmp_path / "challenged").exists()


def test_the_same_challenge_gives_the_same_bytes(tmp_path: Path) -> None:
    challenge = Challenge(tmp_path).against()
    challenge.run()
    before = digest(tmp_path / "challenged")
    challenge.run()
    assert digest(tmp_path / "challenged") == before


def test_the_component_fetches_the_champion_shows_scores_and_whence_the_data_came(
    tmp_path: Path, store_url: str
) -> None:
    challenge = Challenge(tmp_path).against(SWAPPED)
    store, there = open_store(store_url), challenge.champions / CELL  # one of another cell is not in the store
    winner, card = (Kept(path=path, digest=sha) for path, sha in (store.upload_folder(there / k, k) for k in KINDS))
    kept = champion().model_copy(update={"winner": winner, "card": card})
    write_champions(tmp_path / "registry", {CELL: kept, "demo/sw": champion()})
    fetched = {"commit": "d" * 40, "committed_at": JUNE.isoformat(), "cells": {CELL: "b" * 64, "demo/sw": "c" * 64}}
    write_json(tmp_path / "data/fetch.json", fetched)
    cluster = load_params(Path(__file__).parents[2] / "params.yaml").cluster
    assert cluster is not None
    cluster = cluster.model_copy(update={"store": store_url})
    folders = {
        name: dsl.Artifact(uri=str(tmp_path / name))
        for name in ("registry", "prepared", "data", "challenged", "summary")
    }
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    challenge_component.python_func(
        CELL,
        to_struct(cluster),
        winner=dsl.Model(uri=str(challenge.winner)),
        card=dsl.Artifact(uri=str(challenge.card)),
        metrics=metrics,
        **folders,
    )
    record = read_json(tmp_path / "challenged/challenge.json")
    assert record["challenger"]["data"] == {
        "digest": "b" * 64,
        "commit": "d" * 40,
        "committed_at": "2026-06-01T12:00:00Z",
    }
    assert metrics.metadata == {"promoted": 1, "challenger_accuracy": 1, "champion_accuracy": 0}
    assert (tmp_path / "summary").read_text().startswith("# demo/sl: the challenger is promoted")
