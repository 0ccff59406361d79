"""Finds texts in another language than the one that was asked for."""

import logging
from collections.abc import Sequence
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.foreign import ForeignRule, count_letters
from polydistill.params import FilterParams
from polydistill.records import Sample

log = logging.getLogger(__name__)


class WrongLanguage(TextCheck):
    """The whole text is in another language."""

    meaning = "another language is likelier"

    def __init__(self, rule: ForeignRule, min_letters: int) -> None:
        self.rule = rule
        self._min_letters = min_letters

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for one cell; texts that `unclear_language` finds too short are not judged."""
        rule = ForeignRule.open(params, context)
        if not rule.known:
            identifier = params.wrong_language.identifier
            log.warning("%s does not know %s, so no text is found to be foreign", identifier, rule.wanted)
        return cls(rule, params.unclear_language.min_letters)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look at all texts at once, which is many times faster than one by one and says the same."""
        texts = {i: s.record.text for i, s in enumerate(samples) if count_letters(s.record.text) >= self._min_letters}
        details = zip(texts, self.rule.judge(list(texts.values())), strict=True)
        return {i: detail for i, detail in details if detail is not None}

    def fault(self, text: str) -> str | None:
        """Return the likeliest languages with their probabilities, and the words that give the other one away."""
        return self.rule.judge([text])[0] if count_letters(text) >= self._min_letters else None
