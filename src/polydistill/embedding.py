"""Embeddings of texts by a sentence-embedding model, where params.yaml names one."""

from collections.abc import Sequence

import numpy as np

from polydistill.errors import DataError


def embed(texts: Sequence[str], model: str) -> np.ndarray:
    """Return an embedding of length 1 for each text, float64 of shape (n_texts, n_dimensions).

    Args:
        texts: The texts.
        model: A folder, or a name at the Hugging Face hub.

    Raises:
        DataError: If the model cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    try:
        loaded = SentenceTransformer(model, device="cpu")
    except (OSError, ValueError) as exc:
        raise DataError(f"{model}: no sentence-embedding model loads from there ({exc})") from exc
    found = loaded.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float64)
