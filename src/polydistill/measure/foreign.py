"""What texts hold that is not their own: another language, or a seed."""

from collections.abc import Sequence

import numpy as np

from polydistill.language import LanguageIdentifier, close_relatives, language_code
from polydistill.text import grams

MIN_LETTERS = 10
"""Texts with fewer letters are too short to tell their language."""

_MIN_PROBABILITY = 0.1  # of short texts in the right language many are likelier in a close relative, few by so much


def in_language(texts: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """Return 1 for a text that may well be in the wanted language, 0 for one that is in another.

    Not a number where the text is too short to tell, or the language is one that nobody here knows.

    Args:
        texts: The texts.
        languages: The tag of the wanted language, then those of all languages of the task. The wanted one's relatives
            and English are candidates too.
    """
    wanted = language_code(languages[0])
    identifier = LanguageIdentifier(dict.fromkeys([*languages, "en", *close_relatives(wanted)]))
    if wanted not in identifier.languages:
        return np.full(len(texts), np.nan)
    likely = identifier.score(texts)[:, identifier.languages.index(wanted)] >= _MIN_PROBABILITY
    letters = np.array([sum(c.isalpha() for c in text) for text in texts])
    return np.where(letters >= MIN_LETTERS, likely, np.nan)


def holds_seed(texts: Sequence[str], seeds: Sequence[str]) -> np.ndarray:
    """Return 1 for a text of which one seed holds at least half (its character 4-grams), else 0."""
    of_seeds = [grams(seed) for seed in seeds]
    found = []
    for text in texts:
        own = grams(text)
        found.append(float(any(2 * len(own & of_seed) >= len(own) for of_seed in of_seeds)))
    return np.array(found)
