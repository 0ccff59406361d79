"""When two texts count as the same."""

import unicodedata

# Case folding maps I to i and İ to i plus a dot, so dotless and dotted i must meet in both cases.
_ONE_I = str.maketrans({"ı": "i", "\u0307": None})


def fold_case(text: str) -> str:
    """Return the text in NFKC and case folded, with one i for the dotted and the dotless ones."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", folded).translate(_ONE_I)


def fold(text: str) -> str:
    """Return the text without what does not make it another text.

    NFKC, case folding, then only letters, marks, digits and symbols stay: punctuation, white space, zero-width and
    other format characters go. Marks stay, since in many scripts they carry the vowels. A text of punctuation alone
    folds to itself, so that "?" and "!" stay two texts.
    """
    folded = fold_case(text)
    kept = "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")
    return kept or folded.strip()


def words(text: str) -> list[str]:
    """Return the runs between white space, case folded; a script without spaces gives one run a sentence."""
    return text.casefold().split()
