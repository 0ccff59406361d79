"""Which language a text is in, judged by lingua among a few candidates: slower than py3langid, another opinion."""

from collections.abc import Iterable, Sequence

import numpy as np

from polydistill.errors import MissingExtraError
from polydistill.language import language_code

try:
    import lingua
except ImportError as exc:
    raise MissingExtraError("lingua is not installed; run `pip install 'polydistill[lingua]'`") from exc

# Where lingua and py3langid have two codes for one language.
_CODES = {"nb": "no"}


class LinguaIdentifier:
    """The `polydistill.language.Identifier` that lingua is; a language that it lacks is no candidate."""

    def __init__(self, tags: Iterable[str]) -> None:
        codes = {tag: language_code(tag) for tag in tags}
        known = {_code(language): language for language in lingua.Language.all()}
        self.languages = sorted(set(known).intersection(codes.values()))
        self.unknown = sorted(tag for tag, code in codes.items() if code not in known)
        candidates = [known[code] for code in self.languages]
        self._detector = lingua.LanguageDetectorBuilder.from_languages(*candidates).build() if candidates else None

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Return how likely each text is in each language: rows of sum 1, columns in the order of `languages`."""
        scores = np.zeros((len(texts), len(self.languages)), dtype=np.float32)
        if self._detector is None:
            return scores
        columns = {code: i for i, code in enumerate(self.languages)}
        for row, values in enumerate(self._detector.compute_language_confidence_values_in_parallel(list(texts))):
            for value in values:
                scores[row, columns[_code(value.language)]] = value.value
        # Of a text without a letter lingua says 0 throughout.
        scores[scores.sum(axis=1) == 0] = 1
        scores /= scores.sum(axis=1, keepdims=True)
        return scores


def _code(language: lingua.Language) -> str:
    code = language.iso_code_639_1.name.lower()
    return _CODES.get(code, code)
