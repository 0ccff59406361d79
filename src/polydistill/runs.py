"""How the trainings of a student are written down: a row a run with its score, its texts, and its answers."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from polydistill.errors import DataError
from polydistill.files import read_json, require_input

VERSION = 3
"""The `schema_version` of train.json."""

FINAL = -1
"""The number of the run that trains on all accepted synthetic texts; runs of the curves count from 0."""

_RUN = [("source", pa.string()), ("size", pa.int32()), ("run", pa.int32()), ("seed", pa.int64())]
# `training` is JSON: what the student tells of its training, such as its epochs.
SCORES = pa.schema(
    [
        *_RUN,
        ("split", pa.string()),
        ("n", pa.int32()),
        ("accuracy", pa.float64()),
        ("macro_f1", pa.float64()),
        ("training", pa.string()),
    ]
)
# A row a run: the ids of the texts that it learned from.
SUBSAMPLES = pa.schema([*_RUN, ("ids", pa.list_(pa.string()))])
# A row a run and text: validation.parquet has the validation texts, predictions.parquet the test texts in the order of
# questions.parquet; train never sees the labels of these.
PREDICTIONS = pa.schema([*_RUN, ("id", pa.string()), ("label", pa.string())])


def read_training(trained: Path) -> dict[str, Any]:
    """Return train.json of a student.

    Raises:
        DataError: If it is missing, or of another version.
    """
    path = require_input(trained / "train.json", "train")
    facts: dict[str, Any] = read_json(path)
    if facts.get("schema_version") != VERSION:
        raise DataError(
            f"{path} is of another version of polydistill; run `polydistill train` (`dvc repro -f train`) again"
        )
    return facts
