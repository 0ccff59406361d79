"""How surprising texts are to a small language model of characters: of their own side, and of the other."""

from collections.abc import Sequence

import numpy as np

from polydistill.text import fold_case

_ORDER = 5
_START, _END = "\x02", "\x03"


class CharacterModel:
    """An n-gram model of characters over a fixed set of texts, trained on some of them and asked about others.

    Orders 1 to 5, interpolated after Witten and Bell (1991, IEEE Transactions on Information Theory 37(4)): how far a
    longer context is trusted depends on how many different characters were seen after it. All n-grams of the texts are
    numbered once, so that training is counting.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        padded = [_START * (_ORDER - 1) + fold_case(text) + _END for text in texts]
        points = np.array([ord(c) for text in padded for c in text])
        alphabet, codes = np.unique(points, return_inverse=True)
        self._predictable = len(alphabet) - 1  # all but the mark of the start
        lengths = np.array([len(text) for text in padded])
        ends = np.cumsum(lengths)
        predicted = np.concatenate([np.arange(e - n + _ORDER - 1, e) for e, n in zip(ends, lengths, strict=True)])
        self.text = np.repeat(np.arange(len(padded)), lengths - _ORDER + 1)
        self._grams, self._contexts = [], []
        context = np.zeros(len(predicted), dtype=np.int64)
        for order in range(_ORDER):
            # The context is one character longer at its far end, and numbered anew to stay small.
            if order:
                context = np.unique(context * len(alphabet) + codes[predicted - order], return_inverse=True)[1]
            gram = np.unique(context * len(alphabet) + codes[predicted], return_inverse=True)[1]
            self._grams.append(gram)
            self._contexts.append(context)

    def log_probabilities(self, trained: np.ndarray) -> np.ndarray:
        """Return the natural log-probability of every character of every text, trained on some of the texts.

        Args:
            trained: Boolean of shape (n_texts,).

        Returns:
            Float of shape (n_characters,), in the order of `text`, which names the text of each.
        """
        seen = trained[self.text].astype(float)
        probability = np.full(len(self.text), 1 / self._predictable)
        for gram, context in zip(self._grams, self._contexts, strict=True):
            counts = np.bincount(gram, weights=seen)
            totals = np.bincount(context, weights=seen)
            first = np.zeros(len(counts), dtype=np.int64)
            first[gram] = context
            kinds = np.bincount(first, weights=counts > 0, minlength=len(totals))
            known = totals[context]
            mixed = (counts[gram] + kinds[context] * probability) / np.maximum(known + kinds[context], 1)
            probability = np.where(known > 0, mixed, probability)
        return np.asarray(np.log(probability))


def surprises(sides: tuple[Sequence[str], Sequence[str]], folds: Sequence[np.ndarray]) -> np.ndarray:
    """Return how surprising each text is to a model of its own side and to one of the other.

    A text is never among those that its model was trained on: each side is cut into folds, and a model knows all folds
    of its side but one. So both models know as many texts.

    Args:
        sides: The texts of both sides.
        folds: The number of the fold of each text, for both sides.

    Returns:
        Float of shape (2, n_texts of both sides, 2): by the side of the model and by text, the sum of the negative
        log-probabilities of its characters, and their number.
    """
    model = CharacterModel([*sides[0], *sides[1]])
    n = len(sides[0]), len(sides[1])
    side = np.repeat([0, 1], n)
    fold = np.concatenate(folds)
    sums = np.zeros((2, sum(n), 2))
    sums[:, :, 1] = np.bincount(model.text, minlength=sum(n))
    for of_model in (0, 1):
        for number in np.unique(fold):
            logs = model.log_probabilities((side == of_model) & (fold != number))
            of_text = -np.bincount(model.text, weights=logs, minlength=sum(n))
            sums[of_model, :, 0] = np.where(fold == number, of_text, sums[of_model, :, 0])
    return sums


def perplexity(sums: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the perplexity per character of each selection of texts, from `surprises` of one model."""
    totals = rows @ sums
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(totals[:, 0] / totals[:, 1]))
