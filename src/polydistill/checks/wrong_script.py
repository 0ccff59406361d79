"""Finds texts in a script that the language is not written in."""

from collections.abc import Set
from typing import Self

from polydistill.checks._base import Context, TextCheck
from polydistill.params import FilterParams
from polydistill.scripts import count_scripts, scripts_in_use, scripts_of_language

# A script that has this share of the seeds' letters is one of the language's: people write it so.
_SHARE_OF_SEEDS = 0.1


class WrongScript(TextCheck):
    """Too many letters are of a script that is neither the language's nor the seeds'.

    Latin may have a larger share than other scripts: names and borrowed words are written in it everywhere.
    """

    meaning = "written in another script"

    def __init__(self, scripts: Set[str], *, max_latin: float, max_other: float, min_letters: int) -> None:
        self._scripts = scripts
        self._max_latin = max_latin
        self._max_other = max_other
        self._min_letters = min_letters

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check for one cell: the scripts of its language are those of CLDR and those of the seeds."""
        section = params.wrong_script
        scripts = scripts_of_language(context.language) | scripts_in_use(context.seeds, _SHARE_OF_SEEDS)
        return cls(scripts, max_latin=section.max_latin, max_other=section.max_other, min_letters=section.min_letters)

    def fault(self, text: str) -> str | None:
        """Return the share of the letters outside, and the scripts that they are of."""
        counts = count_scripts(text)
        letters = counts.total()
        if letters < self._min_letters or counts.keys() <= self._scripts or not self._scripts:
            return None
        outside = {script: count / letters for script, count in counts.items() if script not in self._scripts}
        if (
            sum(outside.values()) <= self._max_latin
            and sum(outside.values()) - outside.get("LATIN", 0) <= self._max_other
        ):
            return None
        return ", ".join(f"{script.capitalize()} {share:.0%}" for script, share in sorted(outside.items()))
