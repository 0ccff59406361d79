import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kfp import dsl

from components.due.component import due as due_component
from polydistill.cluster.due import VERDICT, run_due
from polydistill.cluster.fetch import cell_digest
from polydistill.cluster.registry import REGISTRY, Champion, Lost, Registry
from polydistill.cluster.store import open_store
from polydistill.errors import DataError
from polydistill.files import read_json
from polydistill.params import RetrainParams, load_params, to_struct
from promotions import champion
from s3_server import S3

PARAMS = RetrainParams(max_age_days=90, confidence=0.95)
NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)


def promote(store_url: str, champions: Mapping[str, Champion], lost: Mapping[str, Lost] | None = None) -> None:
    """Write a registry with these champions, and something in the place of each."""
    store = open_store(store_url)
    for one in champions.values():
        for part in (one.winner, one.card, one.reference):
            store.write(part.path, b"")
    store.write(REGISTRY, Registry(serial=1, champions=dict(champions), lost=dict(lost or {})).to_bytes())


def write_verdict(store_url: str, at: datetime, retrain: Mapping[str, bool | None]) -> None:
    cells = {cell: {"retrain": again, "reasons": ["labels moved"] if again else []} for cell, again in retrain.items()}
    verdict = {"schema_version": 1, "time": at.isoformat(), "days": 7, "cells": cells}
    open_store(store_url).write(VERDICT, json.dumps(verdict).encode())


def test_a_cell_without_a_champion_is_due(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {"clinic/sl": champion(YESTERDAY)})
    assert run_due(store_url, ["clinic/sl", "clinic/sw"], PARAMS, tmp_path / "due") == ["clinic/sw"]
    told = read_json(tmp_path / "due" / "due.json")
    assert told["due"] == {"clinic/sw": "it has no champion yet"}
    assert told["not_due"] == ["clinic/sl"]


def test_where_nothing_is_promoted_every_cell_is_due(tmp_path: Path, store_url: str) -> None:
    cells = ["clinic/sw", "clinic/sl"]
    assert run_due(None, cells, PARAMS, tmp_path / "without") == cells
    assert run_due(store_url, cells, PARAMS, tmp_path / "due") == cells


def test_an_old_champion_is_due_unless_age_does_not_matter(tmp_path: Path, store_url: str) -> None:
    promoted = {"clinic/sl": champion(NOW - timedelta(days=91)), "clinic/sw": champion(NOW - timedelta(days=89))}
    promote(store_url, promoted)
    assert run_due(store_url, list(promoted), PARAMS, tmp_path / "due") == ["clinic/sl"]
    reason = read_json(tmp_path / "due" / "due.json")["due"]["clinic/sl"]
    assert reason == "its champion is 91 days old, more than max_age_days 90"
    ageless = RetrainParams(max_age_days=None, confidence=0.95)
    assert run_due(store_url, list(promoted), ageless, tmp_path / "due") == []


def test_a_cell_that_drifted_is_due(tmp_path: Path, store_url: str) -> None:
    promoted = {cell: champion(YESTERDAY) for cell in ("clinic/az", "clinic/sl", "clinic/sw")}
    promote(store_url, promoted)
    write_verdict(store_url, NOW, {"clinic/az": None, "clinic/sl": True, "clinic/sw": False})
    assert run_due(store_url, list(promoted), PARAMS, tmp_path / "due") == ["clinic/sl"]
    assert read_json(tmp_path / "due" / "due.json")["due"] == {"clinic/sl": "drift in production: labels moved"}


def test_drift_of_an_earlier_champion_does_not_count(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {"clinic/sl": champion(NOW)})
    write_verdict(store_url, YESTERDAY, {"clinic/sl": True})
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == []


def test_where_the_monitor_has_not_run_yet_nothing_drifted(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {"clinic/sl": champion(YESTERDAY)})
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == []
    assert (tmp_path / "due" / "due.md").read_text().startswith("# Nothing is due")


def test_a_verdict_that_cannot_be_read_is_said(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {"clinic/sl": champion(YESTERDAY)})
    open_store(store_url).write(VERDICT, b'{"cells": {}}')
    with pytest.raises(DataError, match=r"verdict.json is no verdict of the drift monitor \(time: Field required\)"):
        run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due")


@pytest.mark.parametrize("part", ["winners", "cards"])
def test_a_champion_that_is_missing_is_due(tmp_path: Path, store_url: str, s3: S3, part: str) -> None:
    promote(store_url, {"clinic/sl": champion(YESTERDAY)})
    s3.client().delete_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/{part}/1.tar")
    run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due")
    assert read_json(tmp_path / "due" / "due.json")["due"] == {
        "clinic/sl": f"its champion cannot be used: {store_url}/{part}/1.tar is missing"
    }


def test_what_the_monitor_alone_lacks_makes_no_cell_due(tmp_path: Path, store_url: str, s3: S3) -> None:
    promote(store_url, {"clinic/sl": champion(YESTERDAY)})
    s3.client().delete_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/references/1.tar")
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == []


def test_a_cell_whose_champion_was_taken_out_waits_for_nothing(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {}, {"clinic/sl": lost(7)})
    same = lambda cells: dict.fromkeys(cells, "a" * 64)  # noqa: E731
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due", same) == ["clinic/sl"]


def test_champions_of_cells_that_are_no_longer_run_are_not_due(tmp_path: Path, store_url: str) -> None:
    promote(store_url, {"clinic/az": champion(NOW - timedelta(days=500))})
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == ["clinic/sl"]


OLD = champion(NOW - timedelta(days=200))


def lost(days_ago: int) -> Lost:
    """Return a challenger that lost, on the data "a"."""
    return Lost(run="spring", at=NOW - timedelta(days=days_ago), data="a" * 64)


@pytest.mark.parametrize(
    ("days_ago", "digest", "max_age_days", "waits"),
    [
        pytest.param(7, "a", 90, True, id="the same data"),
        pytest.param(7, "b", 90, False, id="other data"),
        pytest.param(91, "a", 90, False, id="the same data, after max_age_days"),
        pytest.param(91, "a", None, True, id="the same data, where age does not matter"),
    ],
)
def test_a_cell_whose_challenger_lost_waits_for_other_data(
    tmp_path: Path, store_url: str, days_ago: int, digest: str, max_age_days: int | None, waits: bool
) -> None:
    write_verdict(store_url, YESTERDAY, {"clinic/sl": True})
    promote(store_url, {"clinic/sl": OLD}, {"clinic/sl": lost(days_ago)})
    params = PARAMS.model_copy(update={"max_age_days": max_age_days})
    found = run_due(store_url, ["clinic/sl"], params, tmp_path / "due", lambda cells: dict.fromkeys(cells, digest * 64))
    assert found == ([] if waits else ["clinic/sl"])
    told = read_json(tmp_path / "due" / "due.json")
    assert list(told["waiting"]) == told["not_due"] == (["clinic/sl"] if waits else [])


def test_why_a_cell_waits_is_told(tmp_path: Path, store_url: str) -> None:
    cells = {"clinic/sl": OLD, "clinic/sw": OLD}
    promote(store_url, cells, {"clinic/sl": lost(7)})
    asked: list[str] = []

    def digests(of: Sequence[str]) -> dict[str, str]:
        asked.extend(of)
        return {"clinic/sl": "a" * 64}

    assert run_due(store_url, list(cells), PARAMS, tmp_path / "due", digests) == ["clinic/sw"]
    assert asked == ["clinic/sl"]
    page = (tmp_path / "due" / "due.md").read_text()
    assert "# 1 of 2 cells are due" in page
    assert (
        "| clinic/sl | its champion is 200 days old, more than max_age_days 90; but the challenger of "
        f"{lost(7).at:%Y-%m-%d} lost, and its data are those of today; it waits for others or until max_age_days 90 "
        "have passed |"
    ) in page


def test_a_champion_that_is_missing_waits_for_nothing(tmp_path: Path, store_url: str, s3: S3) -> None:
    promote(store_url, {"clinic/sl": OLD}, {"clinic/sl": lost(7)})
    s3.client().delete_object(Bucket="bucket", Key=f"{store_url.rpartition('/')[2]}/winners/1.tar")
    same = lambda cells: dict.fromkeys(cells, "a" * 64)  # noqa: E731
    assert run_due(store_url, ["clinic/sl"], PARAMS, tmp_path / "due", same) == ["clinic/sl"]


def test_the_component_looks_at_the_data_of_today(tmp_path: Path, store_url: str) -> None:
    root = Path(__file__).parents[2]
    cluster = load_params(root / "params.yaml").cluster
    assert cluster is not None
    cluster = cluster.model_copy(update={"store": store_url})
    workspace = tmp_path / "workspace"
    shutil.copytree(root / "data/clinic/sl", workspace / "data/clinic/sl")
    shutil.copy(root / "data/clinic/task.yaml", workspace / "data/clinic")
    today = Lost(run="spring", at=YESTERDAY, data=cell_digest(workspace / "data", "clinic/sl"))
    promote(store_url, {"clinic/sl": OLD}, {"clinic/sl": today})
    folders = {name: dsl.Artifact(uri=str(tmp_path / name)) for name in ("due", "summary")}

    def found() -> str:
        return due_component.python_func(
            to_struct(cluster), ["clinic/sl"], **folders, repository=str(workspace), revision=""
        )

    assert found() == ""
    with (workspace / "data/clinic/sl/seeds.csv").open("a") as seeds:
        seeds.write("Kdaj imate prost termin?,appointment\n")
    assert found() == "clinic/sl"


def test_what_is_due_is_told_in_a_table(tmp_path: Path) -> None:
    run_due(None, ["clinic/sl"], PARAMS, tmp_path / "due")
    assert "| clinic/sl | it has no champion yet |" in (tmp_path / "due" / "due.md").read_text()
