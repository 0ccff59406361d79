"""Texts that say the same in other words, by a sentence-embedding model."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from polydistill.checks._base import Check, Context
from polydistill.embedding import embed
from polydistill.params import FilterParams
from polydistill.records import Sample


class SimilarMeaning(Check):
    """Finds texts whose embedding is close to that of an earlier text of their label that stays.

    Each text is compared with all that stay, so it takes time by the square of their number.
    """

    meaning = "it says the same as another text of the label, in other words"
    compares = True

    def __init__(self, model: str, similarity: float) -> None:
        self.model, self.similarity = model, similarity

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check with the model of `params`, which names one where it lists the check."""
        section = params.similar_meaning
        assert section.model is not None
        return cls(section.model, section.similarity)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Compare the texts of each label; the detail is the one that stays."""
        texts = [sample.record.text for sample in samples]
        vectors = embed(texts, self.model) if texts else np.empty((0, 0))
        labels = np.array([sample.record.label for sample in samples])
        found: dict[int, str] = {}
        for label in np.unique(labels):
            stays: list[int] = []
            for i in np.flatnonzero(labels == label).tolist():
                likeness = vectors[stays] @ vectors[i]
                if likeness.max(initial=-1) >= self.similarity:
                    found[i] = f"{likeness.max():.2f} like: {texts[stays[likeness.argmax()]]}"
                else:
                    stays.append(i)
        return dict(sorted(found.items()))
