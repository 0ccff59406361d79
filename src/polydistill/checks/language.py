"""Whether a text is in the language that was asked for."""

from collections.abc import Iterable
from dataclasses import dataclass

from polydistill.language import LanguageIdentifier, close_relatives, language_code
from polydistill.params import FilterParams


@dataclass(frozen=True)
class LanguageRule:
    """Finds texts in another language, where one of the candidates is likelier and the wanted one is unlikely.

    Source: of the rules tried on human texts in the paper's eleven languages this one rejected the fewest right texts.
    """

    wanted: str
    identifier: LanguageIdentifier
    min_probability: float
    min_letters: int

    @property
    def known(self) -> bool:
        """Whether the identifier knows the wanted language; where it does not, nothing is found."""
        return self.wanted in self.identifier.languages

    def too_short_to_tell(self, text: str) -> bool:
        """Say whether the text has so few letters that it is not judged."""
        return sum(map(str.isalpha, text)) < self.min_letters

    def __call__(self, text: str) -> str | None:
        """Return the likeliest languages with their probabilities if the text is in another one, else None."""
        if not self.known or self.too_short_to_tell(text):
            return None
        probabilities = self.identifier.probabilities(text)
        likeliest, *_ = probabilities
        if likeliest == self.wanted or probabilities[self.wanted] >= self.min_probability:
            return None
        return f"{likeliest} {probabilities[likeliest]:.3f}, {self.wanted} {probabilities[self.wanted]:.3f}"


def language_rule(wanted: str, of_task: Iterable[str], params: FilterParams) -> LanguageRule:
    """Return the rule for texts in `wanted`: the candidates are the task's languages, their relatives and English.

    Args:
        wanted: The BCP 47 tag of the language that was asked for.
        of_task: The tags of every language of the task.
        params: Section `filter` of params.yaml: from which probability on the wanted language passes though another one
            is likelier, and how many letters it takes to judge.
    """
    codes = {language_code(tag) for tag in of_task} | {language_code(wanted)}
    relatives = {relative for code in codes for relative in close_relatives(code)}
    identifier = LanguageIdentifier(codes | relatives | {"en"})
    return LanguageRule(language_code(wanted), identifier, params.min_language_prob, params.min_language_chars)
