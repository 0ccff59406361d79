"""Which scripts a text is written in."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

import langcodes

# Unicode's names of the letters of scripts that CLDR calls by another name, or that are several together.
_NAMES = {
    "Beng": {"BENGALI"},
    "Hans": {"CJK"},
    "Hant": {"CJK"},
    "Jpan": {"CJK", "HIRAGANA", "KATAKANA"},
    "Kore": {"CJK", "HANGUL"},
    "Nkoo": {"NKO"},
    "Orya": {"ORIYA"},
}
_WIDTHS = {"FULLWIDTH", "HALFWIDTH"}


class _Scripts(dict[int, str | None]):
    """What `str.translate` makes of each code point: one character for each script, nothing of what is no letter."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __missing__(self, code: int) -> str | None:
        name = _script_of(chr(code))
        if name and name not in self.names:
            self.names.append(name)
        self[code] = chr(self.names.index(name)) if name else None
        return self[code]


def _script_of(character: str) -> str | None:
    # Modifier letters, such as the long-vowel mark of Japanese, belong to several scripts.
    if unicodedata.category(character) not in {"Lu", "Ll", "Lt", "Lo"}:
        return None
    letter = next(filter(str.isalpha, unicodedata.normalize("NFKC", character)), character)
    words = unicodedata.name(letter, "").split()
    return next((word for word in words if word not in _WIDTHS), None)


_SCRIPTS = _Scripts()


def scripts_of_letters(text: str) -> list[str]:
    """Return the script of each letter of the text by Unicode's name, such as LATIN; marks and digits have none."""
    return [_SCRIPTS.names[ord(script)] for script in text.translate(_SCRIPTS)]


def count_scripts(text: str) -> Counter[str]:
    """Return how many letters of each script the text has."""
    return Counter({_SCRIPTS.names[ord(key)]: count for key, count in Counter(text.translate(_SCRIPTS)).items()})


def scripts_of_language(tag: str) -> set[str]:
    """Return the scripts of a language: the one that its BCP 47 tag names, else the likeliest by CLDR."""
    code = langcodes.Language.get(tag).maximize().script
    if code is None:
        return set()
    return _NAMES.get(code) or {langcodes.Language.make(script=code).script_name("en").upper().split()[0]}


def scripts_in_use(texts: Iterable[str], min_share: float) -> set[str]:
    """Return the scripts that have at least `min_share` of the letters of all texts together."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts += count_scripts(text)
    return {script for script, count in counts.items() if count >= min_share * counts.total()}
