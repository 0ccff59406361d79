"""When two texts count as the same, and how one is shown."""

import re
import unicodedata

# Case folding maps I to i and İ to i plus a dot, so dotless and dotted i must meet in both cases.
_ONE_I = str.maketrans({"ı": "i", "\u0307": None})

# Marks and letters that a text may have or not: nobody sees them, or most people leave them out.
_OPTIONAL = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0640\u064b-\u0652\u0670"  # Arabic stretching and vowel marks
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"  # invisible
)


class _Folded(dict[int, int | None]):
    """What `str.translate` makes of each code point: a space of white space, nothing of what makes no other text."""

    def __missing__(self, code: int) -> int | None:
        self[code] = self._look_up(chr(code).translate(_ONE_I))
        return self[code]

    def _look_up(self, character: str) -> int | None:
        kind = unicodedata.category(character)[0] if character else "C"
        if kind == "Z" or character.isspace():
            return ord(" ")
        return None if kind in "PC" or _OPTIONAL.match(character) else ord(character)


_FOLDED = _Folded()
SURROGATE = re.compile("[\ud800-\udfff]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fold_case(text: str) -> str:
    """Return the text in NFKC and case folded, with one i for the dotted and the dotless ones."""
    return _without_case(text).translate(_ONE_I)


def _without_case(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def fold(text: str) -> str:
    """Return the text without what does not make it another text.

    NFKC, case folding, then only letters, marks, digits and symbols stay: punctuation, white space, zero-width and
    other format characters go. Marks stay, since in many scripts they carry the vowels; those of Hebrew and Arabic go,
    since most texts there do without. A text of punctuation alone folds to itself, so that "?" and "!" stay two texts.
    """
    return "".join(folded_words(text))


def folded_words(text: str) -> list[str]:
    """Return the words of the folded text, as white space parts them; a text of punctuation alone is one."""
    folded = _without_case(text)
    # A mark may now stand right behind its letter.
    return unicodedata.normalize("NFC", folded.translate(_FOLDED)).split() or [folded.strip()]


def grams(text: str) -> set[str]:
    """Return the character 4-grams of the folded text; the whole of a shorter one."""
    folded = fold(text)
    return {folded[i : i + 4] for i in range(len(folded) - 3)} or {folded}


def words(text: str) -> list[str]:
    """Return the runs between white space, case folded; a script without spaces gives one run a sentence."""
    return text.casefold().split()


def tidy(text: str, max_chars: int) -> str:
    """Return a text to be shown, whatever it holds: on one line, encodable, not longer than `max_chars`."""
    return " ".join(CONTROL.sub(" ", SURROGATE.sub("\ufffd", text[:max_chars])).split())
