"""Which texts are in another language than the one that was asked for."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Self

import numpy as np

from polydistill.checks._base import Context
from polydistill.language import Identifier, LanguageIdentifier, anchors, close_relatives, language_code, telltales
from polydistill.params import FilterParams

_WORD = re.compile(r"[^\W\d_]+")
# More words than these add nothing, so that most texts need not be searched for them.
_MOST_TELLTALES = 3
# What is in no language: addresses, names of accounts, tags.
# The name before an @ is looked for where it begins and taken whole: a long text must not take time by its square.
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+|[@#]\w+")
_SIGNS_OF_ADDRESS = ("@", "#", "://", "www.")
# No language is as unlikely as to make every other one infinitely likelier.
_LEAST = 1e-30


class ForeignRule:
    """Finds texts in another language: one that is some times likelier than the wanted one.

    A close relative must be more times likelier than other languages, since it is easily mistaken. What gives a
    relative away (`telltales`) makes it so many times likelier, and what gives the wanted language away as many times
    less likely; a text with more of the latter is never taken for the relative.

    Attributes:
        wanted: The code of the language that was asked for.
        identifier: Judges the texts among the languages of the task, the relatives of the wanted one and the anchors.
        known: Whether the identifier knows the wanted language; where it does not, nothing is found.
    """

    def __init__(
        self, wanted: str, identifier: Identifier, *, times_other: float, times_relative: float, telltale: float
    ) -> None:
        self.wanted = wanted
        self.identifier = identifier
        self.known = wanted in identifier.languages
        self._times_other = times_other
        self._times_relative = times_relative
        self._telltale = telltale
        relatives = [code for code in close_relatives(wanted) if code in identifier.languages]
        self._relatives = [identifier.languages.index(code) for code in relatives]
        self._others = [i for i, code in enumerate(identifier.languages) if code not in {wanted, *relatives}]
        self._theirs = list(filter(None, dict.fromkeys(telltales(code, against=wanted) for code in relatives)))
        self._ours = list(filter(None, dict.fromkeys(telltales(wanted, against=code) for code in relatives)))

    @classmethod
    def open(cls, params: FilterParams, context: Context, *, stricter: float = 1.0) -> Self:
        """Return the rule of `params.wrong_language` for one cell; `stricter` multiplies how likely it takes."""
        section = params.wrong_language
        wanted = language_code(context.language)
        codes = {wanted, *map(language_code, context.languages)}
        candidates = codes.union(*map(close_relatives, codes), anchors())
        identifier = _identifier(section.identifier, frozenset(candidates))
        return cls(
            wanted,
            identifier,
            times_other=section.times_other * stricter,
            times_relative=section.times_relative * stricter,
            telltale=section.telltale,
        )

    def judge(self, texts: Sequence[str]) -> list[str | None]:
        """Return for each text the likeliest language and why, if it is in another language, else None."""
        return [detail for detail, _ in self.assess(texts)]

    def assess(self, texts: Sequence[str]) -> list[tuple[str | None, bool]]:
        """Return for each text what `judge` does, and whether no language is likelier than the wanted one."""
        if not self.known or not texts:
            return [(None, True)] * len(texts)
        scores = self.identifier.score([_without_addresses(text) for text in texts])
        own = np.maximum(scores[:, self.identifier.languages.index(self.wanted)], _LEAST)
        relatives = scores[:, self._relatives].sum(axis=1) / own
        others = scores[:, self._others].max(axis=1, initial=0) / own
        right = own >= scores.max(axis=1)
        rows = zip(texts, relatives.tolist(), others.tolist(), scores, strict=True)
        return list(zip((self._judge(*row) for row in rows), right.tolist(), strict=True))

    def _judge(self, text: str, relatives: float, others: float, scores: np.ndarray) -> str | None:
        theirs: list[str] = []
        if others > relatives:
            if others <= self._times_other:
                return None
        else:
            most = _MOST_TELLTALES if self._theirs else 0
            if relatives * self._telltale**most <= self._times_relative:
                return None
            words = _WORD.findall(text)
            theirs = [word for tales in self._theirs for word in tales.found_in(words)]
            lead = len(theirs) - sum(len(tales.found_in(words)) for tales in self._ours)
            if lead < 0 or relatives * self._telltale ** min(lead, most) <= self._times_relative:
                return None
        return self._explain(scores, theirs)

    def _explain(self, scores: np.ndarray, theirs: Iterable[str]) -> str:
        probabilities = dict(zip(self.identifier.languages, scores.tolist(), strict=True))
        own = probabilities.pop(self.wanted)
        likeliest = max(probabilities, key=lambda code: probabilities[code])
        words = ", ".join(theirs)
        return f"{likeliest} {probabilities[likeliest]:.3f}, {self.wanted} {own:.3f}" + (f"; {words}" if words else "")


def count_letters(text: str) -> int:
    """Return how many letters there are to tell the language by."""
    return sum(map(str.isalpha, _without_addresses(text)))


def _without_addresses(text: str) -> str:
    return _ADDRESS.sub(" ", text) if any(sign in text for sign in _SIGNS_OF_ADDRESS) else text


@cache
def _identifier(kind: str, codes: frozenset[str]) -> Identifier:
    if kind == "py3langid":
        return LanguageIdentifier(codes)
    from polydistill.lingua import LinguaIdentifier  # noqa: PLC0415 - an extra that only this choice needs

    return LinguaIdentifier(codes)
