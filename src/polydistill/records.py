"""Records, the labelled texts that pass from step to step, and the Parquet tables that hold them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from polydistill.errors import DataError
from polydistill.files import explained, new_file

_ROWS_PER_GROUP = 50_000  # so many rows stand in memory at once

Origin = Literal["seed", "human", "synthetic"]


@dataclass(frozen=True)
class Source:
    """How a record came to be: a line of a file, or a position in a teacher's reply; what does not apply is None.

    `prompt` is the hash of the prompt templates, `request` the id of the request within the cell, `position` the place
    of the text in the reply, from 0; `repair` is the hash of the prompt by which the teacher repaired the text.
    """

    file: str | None = None
    line: int | None = None
    teacher: str | None = None
    prompt: str | None = None
    request: str | None = None
    position: int | None = None
    repair: str | None = None


@dataclass(frozen=True)
class Record:
    """One labelled text; `language` is a BCP 47 tag."""

    text: str
    label: str
    language: str
    origin: Origin
    source: Source

    @cached_property
    def id(self) -> str:
        """The content hash of the record."""
        return text_id(self.text, self.language)


@dataclass(frozen=True)
class Sample:
    """A generated text and what the judge decided, accept, repair or reject; None where nothing could be read."""

    record: Record
    decision: str | None = None
    verdict_reason: str = ""


def text_id(text: str, language: str) -> str:
    """Return 16 hex digits that are the same for the same text in the same language, wherever it stands.

    The label is left out on purpose, so that the id of a test text tells nothing about its label.
    """
    return hashlib.sha256(f"{language}\0{text}".encode()).hexdigest()[:16]


SOURCE = pa.struct(
    [
        ("file", pa.string()),
        ("line", pa.int32()),
        ("teacher", pa.string()),
        ("prompt", pa.string()),
        ("request", pa.string()),
        ("position", pa.int32()),
        ("repair", pa.string()),
    ]
)
RECORD = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("language", pa.string()),
        ("origin", pa.string()),
        ("source", SOURCE),
    ]
)
# Test texts without their labels: what every step but evaluate may see of the test set.
QUESTION = pa.schema([("id", pa.string()), ("text", pa.string()), ("language", pa.string())])
# Generated texts with the teacher's own verdict: `decision` is accept, repair or reject, null where none could be read;
# `original` is the text as it was before a repair, otherwise null.
SAMPLE = (
    RECORD.append(pa.field("decision", pa.string()))
    .append(pa.field("verdict_reason", pa.string()))
    .append(pa.field("original", pa.string()))
)
REJECTED = RECORD.append(pa.field("reason", pa.string())).append(pa.field("detail", pa.string()))


def to_row(record: Record, **more: Any) -> dict[str, Any]:
    """Return the record as a row of `RECORD`, with the columns of `more` added."""
    return {"id": record.id, **asdict(record), **more}


def to_record(row: Mapping[str, Any]) -> Record:
    """Return the record that a row holds; further columns are ignored."""
    return Record(row["text"], row["label"], row["language"], row["origin"], Source(**row["source"]))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet; the same rows give the same bytes."""
    rest = iter(rows)
    with new_file(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        while batch := [dict(row) for row in islice(rest, _ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def read_rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read a Parquet table as rows.

    Raises:
        DataError: If the file is missing, damaged, or of another schema.
    """
    with explained(path, "read"):
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as exc:
            raise DataError(
                f"{path} is not a readable Parquet file ({exc}); run the step that writes it again"
            ) from exc
    if not table.schema.equals(schema):
        wanted, found = ", ".join(schema.names), ", ".join(table.schema.names)
        raise DataError(f"{path} has the columns {found}, wanted {wanted}; run the step that writes it again")
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def write_records(path: Path, records: Sequence[Record]) -> None:
    """Write records as Parquet with the schema `RECORD`."""
    write_rows(path, map(to_row, records), RECORD)


def read_records(path: Path) -> list[Record]:
    """Read a Parquet table of records."""
    return [to_record(row) for row in read_rows(path, RECORD)]


def read_samples(path: Path) -> list[Sample]:
    """Read a Parquet table of generated texts."""
    rows = read_rows(path, SAMPLE)
    return [Sample(to_record(row), row["decision"], row["verdict_reason"] or "") for row in rows]


def read_validation(prepared: Path) -> tuple[list[Record], list[Record]]:
    """Return the human texts by which students are compared, and those by which one may stop its training.

    The seeds that guide the teacher are for comparing, the spare ones for stopping; where no seed guides it, the spare
    ones are for comparing.
    """
    seeds, spare = read_records(prepared / "seeds.parquet"), read_records(prepared / "spare.parquet")
    return (seeds, spare) if seeds else (spare, [])
