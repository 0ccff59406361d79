"""How the trainings of a student are written down: a row a run with its score, and its answers to the test texts."""

import pyarrow as pa

FINAL = -1
"""The number of the run that trains on all accepted synthetic texts; runs of the curves count from 0."""

_RUN = [("source", pa.string()), ("size", pa.int32()), ("run", pa.int32()), ("seed", pa.int64())]
SCORES = pa.schema(
    [*_RUN, ("split", pa.string()), ("n", pa.int32()), ("accuracy", pa.float64()), ("macro_f1", pa.float64())]
)
# A row a run and test text, in the order of questions.parquet; train never sees the labels of these texts.
PREDICTIONS = pa.schema([*_RUN, ("id", pa.string()), ("label", pa.string())])
