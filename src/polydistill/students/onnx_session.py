"""Answers of an encoder that stands in an ONNX file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

# Builds for Windows would report their use.
onnxruntime.disable_telemetry_events()

_ERRORS_ALONE = 3


class OnnxSession:
    """A model read from an ONNX file.

    Each text is answered by itself. In int8 the numbers of a whole batch share one scale, so that otherwise an answer
    would depend on what else is asked.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ALONE
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @property
    def n_labels(self) -> int:
        """Labels that the model tells apart."""
        return int(self._session.get_outputs()[0].shape[1])

    def logits(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
        """Return the logits of texts, float64 of shape (n_texts, n_labels)."""
        return np.concatenate([self._logits(some) for some in tokens])

    def _logits(self, tokens: Sequence[int]) -> np.ndarray:
        ids = np.array([tokens], dtype=np.int64)
        (logits,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        return np.asarray(logits, dtype=np.float64)
