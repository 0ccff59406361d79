"""What counts as a word when texts are compared, in scripts with spaces and in those without."""

import re
import unicodedata

from polydistill.text import fold_case

# Scripts that set no spaces between words, by their blocks. No dictionary of words is at hand for most of their
# languages, so each character with the marks upon it counts as a word.
_SPACELESS = re.compile(
    "["
    "\u0e00-\u0e7f"  # Thai
    "\u0e80-\u0eff"  # Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana and Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "]"
)
_JOINERS = "\u200c\u200d"
# Letters by their category, but written as part of the character before them: the vowels -a and -am of Thai and Lao.
_WRITTEN_AFTER = "\u0e30\u0e32\u0e33\u0eb0\u0eb2\u0eb3"


def tokens(text: str) -> list[str]:
    """Return the words of a text, case folded and without punctuation; a symbol is a word of its own."""
    found: list[str] = []
    inside = False
    for char in fold_case(text):
        kind = unicodedata.category(char)[0]
        if kind == "M" or char in _JOINERS or char in _WRITTEN_AFTER:
            if found:
                found[-1] += char
        elif kind in "LN" and not _SPACELESS.match(char):
            if inside:
                found[-1] += char
            else:
                found.append(char)
            inside = True
        else:
            if kind in "LNS":
                found.append(char)
            inside = False
    return found
