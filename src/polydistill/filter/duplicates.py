"""Which texts say the same as others: after folding, or nearly, by the character 4-grams that they share."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from polydistill.text import fold

_BLOCK_CELLS = 4_000_000  # pairs that are looked at in one go; bounds the memory


def conflicts(texts: Sequence[str], labels: Sequence[str]) -> dict[int, str]:
    """Find the texts that stand, folded, under several labels: index -> the other labels."""
    groups = _groups(texts)
    found = {}
    for group in groups.values():
        of_group = {labels[i] for i in group}
        found.update({i: ", ".join(sorted(of_group - {labels[i]})) for i in group if len(of_group) > 1})
    return found


def repeats(texts: Sequence[str]) -> dict[int, str]:
    """Find the texts that repeat, folded, an earlier one: index -> that one."""
    return {i: texts[first] for first, *others in _groups(texts).values() for i in others}


def copies(texts: Sequence[str], of: Sequence[str], threshold: float) -> dict[int, str]:
    """Find the texts that are, or nearly are, one of the texts `of`: index -> the most similar one."""
    return {
        i: _likeness(of[int(columns[best])], float(similarities[best]))
        for i, columns, similarities in similar(texts, of, threshold)
        for best in [similarities.argmax()]
    }


def near_repeats(texts: Sequence[str], labels: Sequence[str], threshold: float) -> dict[int, str]:
    """Find the texts that are nearly an earlier one of their label that stays: index -> that one.

    One word can make a text one of another label, so texts of different labels are not compared.
    """
    found = {}
    for label in sorted(set(labels)):
        members = [i for i, of_member in enumerate(labels) if of_member == label]
        of_label = [texts[i] for i in members]
        stays = np.ones(len(members), dtype=bool)
        for i, columns, similarities in similar(of_label, of_label, threshold):
            earlier = (columns < i) & stays[columns]
            if earlier.any():
                stays[i] = False
                best = similarities[earlier].argmax()
                found[members[i]] = _likeness(of_label[int(columns[earlier][best])], float(similarities[earlier][best]))
    return found


def similar(
    texts: Sequence[str], others: Sequence[str], threshold: float
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Compare each text with all others, exactly, by the Jaccard similarity of their folded texts' character 4-grams.

    Yields:
        For each text that has any, in order: its index, the rising indexes of the others that reach `threshold`, and
        their similarities, both of shape (n_found,).
    """
    if not texts or not others:
        return
    columns: dict[str, int] = {}
    right = _matrix(others, columns)
    left = _matrix(texts, columns)
    right.resize(len(others), len(columns))
    n_left, n_right = left.getnnz(axis=1), right.getnnz(axis=1)
    flipped = right.T.tocsc()
    step = max(1, _BLOCK_CELLS // len(others))
    for start in range(0, len(texts), step):
        shared = (left[start : start + step] @ flipped).tocsr()
        shared.sort_indices()
        for i in range(shared.shape[0]):
            row = slice(shared.indptr[i], shared.indptr[i + 1])
            found, common = shared.indices[row], shared.data[row]
            similarities = common / (n_left[start + i] + n_right[found] - common)
            enough = similarities >= threshold
            if enough.any():
                yield start + i, found[enough], similarities[enough]


def _matrix(texts: Sequence[str], columns: dict[str, int]) -> sparse.csr_matrix:
    """Return a row a text with a 1 for each of its 4-grams; `columns` gains the 4-grams that it does not have yet."""
    ends, indices = [0], []
    for text in texts:
        indices += sorted(columns.setdefault(gram, len(columns)) for gram in _grams(text))
        ends.append(len(indices))
    return sparse.csr_matrix((np.ones(len(indices), dtype=np.int32), indices, ends), shape=(len(texts), len(columns)))


def _grams(text: str) -> set[str]:
    folded = fold(text)
    return {folded[i : i + 4] for i in range(len(folded) - 3)} or {folded}


def _groups(texts: Sequence[str]) -> dict[str, list[int]]:
    groups = defaultdict(list)
    for i, text in enumerate(texts):
        groups[fold(text)].append(i)
    return groups


def _likeness(text: str, similarity: float) -> str:
    return f"{similarity:.2f} like: {text}"
