from pathlib import Path

import pytest

from polydistill.errors import DataError
from polydistill.files import write_json
from polydistill.gather import gathered


def test_folders_stand_by_task_and_language_whatever_their_names(tmp_path: Path) -> None:
    write_json(tmp_path / "a/winner.json", {"task": "clinic", "language": "sw"})
    write_json(tmp_path / "b/winner.json", {"task": "clinic", "language": "sl"})
    (tmp_path / "b/model").mkdir()
    with gathered([tmp_path / "a", tmp_path / "b"], "winner.json") as folder:
        assert sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*/*")) == [
            "clinic/sl/model",
            "clinic/sl/winner.json",
            "clinic/sw/winner.json",
        ]
    assert not folder.exists()
    assert (tmp_path / "b/model").is_dir()


def test_cards_name_their_task_with_its_instruction(tmp_path: Path) -> None:
    write_json(tmp_path / "a/card.json", {"task": {"name": "clinic", "instruction": "Sort."}, "language": "sl"})
    with gathered([tmp_path / "a"], "card.json") as folder:
        assert (folder / "clinic/sl/card.json").exists()


def test_two_folders_of_one_cell_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_json(tmp_path / name / "winner.json", {"task": "clinic", "language": "sl"})
    with (
        pytest.raises(DataError, match=r"b and .*a are of one cell"),
        gathered([tmp_path / "a", tmp_path / "b"], "winner.json"),
    ):
        pass
