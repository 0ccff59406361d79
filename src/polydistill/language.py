"""Which language a text is in, judged by py3langid among a few candidates."""

import copy
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import langcodes
import py3langid.langid
import yaml


class LanguageIdentifier:
    """Judges texts among the languages that it was made for; the large model behind it is loaded once per process.

    Attributes:
        languages: ISO 639 codes of the candidates, sorted.
        unknown: The tags asked for that py3langid does not know; they are no candidates.
    """

    def __init__(self, tags: Iterable[str]) -> None:
        codes = {tag: language_code(tag) for tag in tags}
        known = set(_model().labels)
        self.languages = sorted(known.intersection(codes.values()))
        self.unknown = sorted(tag for tag, code in codes.items() if code not in known)
        self._model = copy.copy(_model())  # shares the tables; only the choice of columns is its own
        if self.languages:
            self._model.set_languages(self.languages)

    def probabilities(self, text: str) -> dict[str, float]:
        """Return for each of `languages` how likely the text is in it, likeliest first; together they make 1."""
        return dict(self._model.rank(text)) if self.languages else {}


@cache
def language_code(tag: str) -> str:
    """Return the code that py3langid has for the language of a BCP 47 tag, or the language's own where it has none."""
    language = langcodes.Language.get(tag).language or tag
    return langcodes.closest_supported_match(language, _model().labels, max_distance=1) or language


def close_relatives(code: str) -> list[str]:
    """Return the codes of the languages that a text meant to be in `code` may have slipped into, without English."""
    return _relatives().get(code, [])


@cache
def _model() -> py3langid.langid.LanguageIdentifier:
    return py3langid.langid.LanguageIdentifier.from_model_file(py3langid.langid.MODEL_FILE, norm_probs=True)


@cache
def _relatives() -> dict[str, list[str]]:
    content: dict[str, list[str]] = yaml.safe_load(files("polydistill").joinpath("relatives.yaml").read_text("utf-8"))
    return content
