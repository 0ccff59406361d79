from pathlib import Path

import pytest

from build import records
from polydistill.errors import DataError
from polydistill.records import (
    QUESTION,
    RECORD,
    SAMPLE,
    Record,
    Source,
    read_records,
    read_rows,
    text_id,
    to_row,
    write_records,
    write_rows,
)

RECORDS = [
    Record("Dober dan, »svet«\n👍", "greet", "sl", "human", Source(file="human.csv", line=3)),
    Record(
        "habari", "greet", "sw", "synthetic", Source(teacher="t", prompt="p", request="generate/greet/0", position=1)
    ),
]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    write_records(tmp_path / "r.parquet", RECORDS)
    assert read_records(tmp_path / "r.parquet") == RECORDS


def test_no_records_are_a_table_too(tmp_path: Path) -> None:
    write_records(tmp_path / "r.parquet", [])
    assert read_records(tmp_path / "r.parquet") == []


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records(tmp_path / name, RECORDS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_id_is_of_text_and_language_alone() -> None:
    record = RECORDS[0]
    assert record.id == Record(record.text, "other", "sl", "seed", Source()).id
    assert len({text_id("da", "sl"), text_id("da", "ru"), text_id("Da", "sl")}) == 3


def test_an_id_is_the_same_in_every_version() -> None:
    assert text_id("dober dan", "sl") == "7ab2e734cb3181f2"


def test_another_table_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "q.parquet", [{"id": "1", "text": "a", "language": "sl"}], QUESTION)
    with pytest.raises(DataError, match=r"q\.parquet has the columns id, text, language, wanted id, text, label, "):
        read_rows(tmp_path / "q.parquet", RECORD)


def test_more_columns_come_back_too(tmp_path: Path) -> None:
    more = {"decision": "repair", "verdict_reason": "?", "original": "y"}
    rows = [to_row(record, **more) for record in records({"a": ["x"]})]
    write_rows(tmp_path / "s.parquet", rows, SAMPLE)
    assert read_rows(tmp_path / "s.parquet", SAMPLE) == rows


@pytest.mark.parametrize("keep", [0, 20, -8], ids=["empty", "beginning", "torn end"])
def test_a_damaged_table_is_said(tmp_path: Path, keep: int) -> None:
    write_records(tmp_path / "r.parquet", RECORDS)
    (tmp_path / "r.parquet").write_bytes((tmp_path / "r.parquet").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"r\.parquet is not a readable Parquet file .*run the step that writes it"):
        read_records(tmp_path / "r.parquet")


def test_a_missing_table_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"r\.parquet is missing"):
        read_records(tmp_path / "r.parquet")
