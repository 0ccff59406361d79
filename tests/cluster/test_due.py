import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from polydistill.cluster.due import VERDICT, run_due
from polydistill.cluster.store import open_store
from polydistill.errors import DataError
from polydistill.files import read_json, write_json
from polydistill.params import RetrainParams
from promotions import champion, write_champions

PARAMS = RetrainParams(max_age_days=90, confidence=0.95)
NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)


def write_verdict(store_url: str, at: datetime, retrain: Mapping[str, bool | None]) -> None:
    cells = {cell: {"retrain": again, "reasons": ["labels moved"] if again else []} for cell, again in retrain.items()}
    verdict = {"schema_version": 1, "time": at.isoformat(), "days": 7, "cells": cells}
    open_store(store_url).write(VERDICT, json.dumps(verdict).encode())


def test_a_cell_without_a_champion_is_due(tmp_path: Path) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/sl": champion(YESTERDAY)})
    assert run_due(champions, None, ["clinic/sl", "clinic/sw"], PARAMS, tmp_path / "due") == ["clinic/sw"]
    told = read_json(tmp_path / "due" / "due.json")
    assert told["due"] == {"clinic/sw": "it has no champion yet"}
    assert told["not_due"] == ["clinic/sl"]


def test_where_nothing_is_promoted_every_cell_is_due(tmp_path: Path) -> None:
    (tmp_path / "champions").mkdir()
    assert run_due(tmp_path / "champions", None, ["clinic/sw", "clinic/sl"], PARAMS, tmp_path / "due") == [
        "clinic/sw",
        "clinic/sl",
    ]


def test_an_old_champion_is_due_unless_age_does_not_matter(tmp_path: Path) -> None:
    promoted = {"clinic/sl": champion(NOW - timedelta(days=91)), "clinic/sw": champion(NOW - timedelta(days=89))}
    champions = write_champions(tmp_path / "champions", promoted)
    assert run_due(champions, None, list(promoted), PARAMS, tmp_path / "due") == ["clinic/sl"]
    reason = read_json(tmp_path / "due" / "due.json")["due"]["clinic/sl"]
    assert reason == "its champion is 91 days old, more than max_age_days 90"
    ageless = RetrainParams(max_age_days=None, confidence=0.95)
    assert run_due(champions, None, list(promoted), ageless, tmp_path / "due") == []


def test_a_cell_that_drifted_is_due(tmp_path: Path, store_url: str) -> None:
    promoted = {cell: champion(YESTERDAY) for cell in ("clinic/az", "clinic/sl", "clinic/sw")}
    champions = write_champions(tmp_path / "champions", promoted)
    write_verdict(store_url, NOW, {"clinic/az": None, "clinic/sl": True, "clinic/sw": False})
    assert run_due(champions, store_url, list(promoted), PARAMS, tmp_path / "due") == ["clinic/sl"]
    assert read_json(tmp_path / "due" / "due.json")["due"] == {"clinic/sl": "drift in production: labels moved"}


def test_drift_of_an_earlier_champion_does_not_count(tmp_path: Path, store_url: str) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/sl": champion(NOW)})
    write_verdict(store_url, YESTERDAY, {"clinic/sl": True})
    assert run_due(champions, store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == []


def test_where_the_monitor_has_not_run_yet_nothing_drifted(tmp_path: Path, store_url: str) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/sl": champion(YESTERDAY)})
    assert run_due(champions, store_url, ["clinic/sl"], PARAMS, tmp_path / "due") == []
    assert (tmp_path / "due" / "due.md").read_text().startswith("# Nothing is due")


def test_a_verdict_that_cannot_be_read_is_said(tmp_path: Path, store_url: str) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/sl": champion(YESTERDAY)})
    open_store(store_url).write(VERDICT, b'{"cells": {}}')
    with pytest.raises(DataError, match=r"verdict.json is no verdict of the drift monitor \(time: Field required\)"):
        run_due(champions, store_url, ["clinic/sl"], PARAMS, tmp_path / "due")


def test_a_champion_that_is_damaged_is_due(tmp_path: Path) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/sl": champion(YESTERDAY)})
    write_json(champions / "clinic/sl/damaged.json", {"schema_version": 1, "reason": "winners/1.tar is missing"})
    run_due(champions, None, ["clinic/sl"], PARAMS, tmp_path / "due")
    assert read_json(tmp_path / "due" / "due.json")["due"] == {
        "clinic/sl": "its champion cannot be used: winners/1.tar is missing"
    }


def test_champions_of_cells_that_are_no_longer_run_are_not_due(tmp_path: Path) -> None:
    champions = write_champions(tmp_path / "champions", {"clinic/az": champion(NOW - timedelta(days=500))})
    assert run_due(champions, None, ["clinic/sl"], PARAMS, tmp_path / "due") == ["clinic/sl"]


def test_what_is_due_is_told_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "champions").mkdir()
    run_due(tmp_path / "champions", None, ["clinic/sl"], PARAMS, tmp_path / "due")
    assert "| clinic/sl | it has no champion yet |" in (tmp_path / "due" / "due.md").read_text()
