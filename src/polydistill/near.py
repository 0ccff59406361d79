"""Finds texts that are nearly the same, in time that grows with their number and not with its square.

Two texts are near where their folded forms share enough character 3-grams, or where they are the same but for one word.
Candidates come from hashes that near texts share; each is then compared exactly, so that none is found by chance.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Self

import numpy as np

from polydistill.params import NearParams
from polydistill.text import fold, folded_words

_HASHES = (64, 128)  # of a signature: the fewer where they do with bands of `_LEAST_ROWS` or more
_LEAST_ROWS = 4  # shorter bands let many texts be candidates of each other that need not be
_CHUNK = 4_000  # texts hashed at once: their 3-grams stay in the processor's cache
_BLOCK = 25 * _CHUNK  # texts of which the words stand in memory at once
_WINDOW = 64  # texts with the same hash that each is compared with; where there are more, only those that stay
_REMEMBERED = 10_000  # texts of crowds whose 3-grams and words stand in memory
_LEAST_CERTAIN = 0.99  # chance at least that a pair just similar enough becomes a candidate
_DOUBT = 4.5  # standard errors of the estimated similarity by which a candidate may fall short
_PAIRS = 200_000  # compared at once
_MOST_WORDS = 40  # of a longer text one word is so small a part that the 3-grams tell
_LEAST_WORDS = 2  # that must be left beside the one word: "thank you" is not near to "thank him"
_CELLS = 1_000_000  # 3-grams compared at once
_FILLER = np.uint64(2**63)  # more than any 3-gram
_MULTIPLIERS, _OFFSETS = np.random.default_rng(0).integers(0, 2**32, (2, max(_HASHES)), dtype=np.uint32)
_MULTIPLIERS |= np.uint32(1)
_PLACE = np.uint64(0x9E3779B97F4A7C15)
_PLACE_BACK = np.uint64(pow(int(_PLACE), -1, 2**64))


@dataclass(frozen=True)
class Nearness:
    """When two texts count as near.

    Attributes:
        similarity: Jaccard similarity of their character 3-grams, in (0, 1], from which they do.
        one_word: Whether they do too where they are the same but for one word: another one, one more, or one moved.
    """

    similarity: float
    one_word: bool

    @classmethod
    def of(cls, params: NearParams) -> Self:
        """Return what the settings of a check say."""
        return cls(params.similarity, params.one_word)


@dataclass(frozen=True)
class Match:
    """The text that another one is near to: its index, and their Jaccard similarity."""

    index: int
    similarity: float

    def how(self, nearness: Nearness) -> str:
        """Return for a person to read what made the texts near."""
        return f"{self.similarity:.2f} like" if self.similarity >= nearness.similarity else "one word apart from"

    def told(self, texts: Sequence[str], nearness: Nearness) -> str:
        """Return the match for a person to read; `texts` are those that its index counts."""
        return f"{self.how(nearness)}: {texts[self.index]}"


def near_repeats(texts: Sequence[str], groups: Sequence[str], nearness: Nearness) -> dict[int, Match]:
    """Find the texts that are near to an earlier one of their group that stays.

    Args:
        texts: The texts; of near ones the first stays.
        groups: A name for each text; texts of different groups are not compared.
        nearness: When two texts count as near.

    Returns:
        The texts that go, by index, each with the most similar of the earlier ones that stay.
    """
    hashed.cache_clear()  # it takes as much memory as what follows
    of_texts = _hash(texts, groups, nearness)
    everyone = np.arange(len(texts))
    by_grams, crowds = _within([(band, everyone) for band in of_texts.bands], len(texts))
    by_words, word_crowds = _within([(of_texts.word_keys, of_texts.word_owners)], len(texts))
    pairs = _near_pairs(of_texts, of_texts, by_grams, by_words, nearness)
    return _first_stays(pairs, _Crowd(of_texts, nearness, crowds, word_crowds))


def near_copies(texts: Sequence[str], of: Sequence[str], nearness: Nearness) -> dict[int, Match]:
    """Find the texts that are near to one of the texts `of`: by index, each with the most similar one.

    Where more than `_WINDOW` of the texts `of` have the same hash, each is compared with so many of them only.
    """
    if not texts or not of:
        return {}
    asked, known = hashed(tuple(texts), nearness), _hash(of, None, nearness)
    left, right, similarity = _near_pairs(asked, known, *_between(asked, known), nearness)
    found: dict[int, Match] = {}
    order = np.lexsort((right, -similarity, left))
    for one, other, value in zip(left[order].tolist(), right[order].tolist(), similarity[order].tolist(), strict=True):
        found.setdefault(one, Match(other, value))
    return found


class NearIndex:
    """The texts added so far, one by one, among which those near to another text can be looked for."""

    def __init__(self, nearness: Nearness) -> None:
        self.nearness = nearness
        self._texts: list[str] = []
        self._bands = np.empty((64, _bands(nearness.similarity)[0]), np.uint64)
        self._by_words: dict[int, list[int]] = defaultdict(list)  # the first of the texts with the same words but one

    def __len__(self) -> int:
        """Return how many texts were added."""
        return len(self._texts)

    def add(self, text: str) -> int:
        """Add a text and return its index: how many were added before it."""
        index, of_text = len(self), hashed((text,), self.nearness)
        if index == len(self._bands):
            self._bands = np.concatenate([self._bands, np.empty_like(self._bands)])
        self._bands[index] = of_text.bands[:, 0]
        self._texts.append(text)
        for key in of_text.word_keys.tolist():
            if len(self._by_words[key]) < _WINDOW:
                self._by_words[key].append(index)
        return index

    def most_similar(self, text: str) -> Match | None:
        """Return the most similar of the near texts, the first of equals; None where none is near."""
        of_text = hashed((text,), self.nearness)
        by_grams = np.flatnonzero((self._bands[: len(self)] == of_text.bands[:, 0]).any(axis=1)).tolist()
        by_words = {*chain.from_iterable(self._by_words.get(key, ()) for key in of_text.word_keys.tolist())}
        near = [
            Match(other, similarity)
            for other in sorted({*by_grams, *by_words})
            if (similarity := jaccard(text, self._texts[other])) >= self.nearness.similarity
            or (other in by_words and one_word_apart(text, self._texts[other]))
        ]
        return max(near, key=lambda match: match.similarity, default=None)


def jaccard(one: str, other: str) -> float:
    """Return the Jaccard similarity of the character 3-grams of two texts, folded; a shorter one is one 3-gram."""
    return _jaccard(_grams(fold(one)), _grams(fold(other)))


def _grams(folded: str) -> set[str]:
    return {folded[i : i + 3] for i in range(len(folded) - 2)} or {folded}


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def one_word_apart(one: str, other: str) -> bool:
    """Say whether two texts are the same, folded, but for one word: another one, one more, or one moved."""
    return _one_word_apart(folded_words(one), folded_words(other))


def _one_word_apart(left: list[str], right: list[str]) -> bool:
    if not _LEAST_WORDS < max(len(left), len(right)) <= _MOST_WORDS:
        return left == right
    while left and right and left[0] == right[0]:
        left, right = left[1:], right[1:]
    while left and right and left[-1] == right[-1]:
        left, right = left[:-1], right[:-1]
    moved = left[1:] + left[:1] == right or left == right[1:] + right[:1]
    return max(len(left), len(right)) <= 1 or moved


@dataclass(frozen=True)
class Hashed:
    """Texts and the hashes by which near ones are found.

    Attributes:
        texts: The texts.
        folded: The folded texts.
        signatures: The least hash of a text's 3-grams by each hash function, uint32 of shape (n_texts, n_hashes).
        bands: A hash of each band of the signature, uint64 of shape (n_bands, n_texts).
        word_keys: Hashes of the words without one, int64 of shape (n_keys,).
        word_owners: The text that each of `word_keys` is of.
    """

    texts: Sequence[str]
    folded: Sequence[str]
    signatures: np.ndarray
    bands: np.ndarray
    word_keys: np.ndarray
    word_owners: np.ndarray


@lru_cache(maxsize=1)
def hashed(texts: tuple[str, ...], nearness: Nearness) -> Hashed:
    """Return the texts hashed; the last ones are kept, since one check after the other looks at the same."""
    return _hash(texts, None, nearness)


def _hash(texts: Sequence[str], groups: Sequence[str] | None, nearness: Nearness) -> Hashed:
    """Hash the texts; those of different groups have no hash in common."""
    n_bands, rows = _bands(nearness.similarity)
    signatures = np.empty((len(texts), n_bands * rows), np.uint32)
    bands = np.empty((n_bands, len(texts)), np.uint64)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups or ()))}
    of_group = np.array([numbers[name] for name in groups] if groups else [0] * len(texts), dtype=np.uint64)
    folded: list[str] = []
    word_keys, word_owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]

    def fill(chunk: slice) -> None:
        signatures[chunk] = signature = _signatures(folded[chunk], n_bands * rows)
        key = np.repeat(of_group[chunk, None], n_bands, axis=1)
        for row in range(rows):
            key = mixed(key ^ signature[:, row::rows])
        bands[:, chunk] = key.T

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(texts), _BLOCK):
            words = [folded_words(text) for text in texts[start : start + _BLOCK]]
            folded += ["".join(of_text) for of_text in words]
            if nearness.one_word:
                keys, owners = _word_keys(words)
                word_keys.append(mixed(keys ^ of_group[start + owners]))
                word_owners.append(start + owners)
            chunks = [slice(i, i + _CHUNK) for i in range(start, len(folded), _CHUNK)]
            # Numpy lets threads run side by side, but not beside the folding above; one text is not worth a thread.
            list(pool.map(fill, chunks) if len(chunks) > 1 else map(fill, chunks))
    return Hashed(texts, folded, signatures, bands, np.concatenate(word_keys), np.concatenate(word_owners))


def _bands(similarity: float) -> tuple[int, int]:
    """Return into how many bands of how many hashes a signature is cut.

    Two texts are candidates where all hashes of one band are the same. The longer the bands, the fewer texts are that
    need not be; those that are just similar enough shall be with a chance of `_LEAST_CERTAIN`.
    """
    for hashes, least in zip(_HASHES, (_LEAST_ROWS, 1), strict=True):
        for rows in range(8, least - 1, -1):
            bands = hashes // rows
            if 1 - (1 - similarity**rows) ** bands >= _LEAST_CERTAIN:
                return bands, rows
    return max(_HASHES), 1


def _word_keys(words: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return hashes of the words of each text whole, and without each one of them where few enough are left.

    Returns:
        The hashes, uint64 of shape (n_keys,), and the text that each is of, int64 of the same shape.
    """
    counts = np.fromiter(map(len, words), np.int64, len(words))
    hashes = np.array([*map(hash, chain.from_iterable(words))], dtype=np.int64).astype(np.uint64)
    owners = np.repeat(np.arange(len(words)), counts)
    starts = np.cumsum(counts) - counts
    place = np.arange(len(owners)) - starts[owners]
    # A text's hash is the sum of its words', each times a power of its place. Without a word, those behind it move up.
    powers = np.cumprod(np.full(place.max(initial=0) + 1, _PLACE, np.uint64))
    terms = mixed(hashes) * powers[place]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    start, end = sums[starts], sums[starts + counts]
    before, behind = sums[:-1] - start[owners], end[owners] - sums[1:]
    without = before + behind * _PLACE_BACK
    used = (counts[owners] > _LEAST_WORDS) & (counts[owners] <= _MOST_WORDS)
    return np.concatenate([end - start, without[used]]), np.concatenate([np.arange(len(words)), owners[used]])


def code_grams(folded: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 3-grams of all texts one after the other, each as one number, and where each text begins and ends.

    Returns:
        uint64 of shape (n_grams,), repeats among them, and int64 of shape (n_texts + 1,).
    """
    # A code point takes 21 bits. A text of fewer than three has one 3-gram, filled up with the zeros that follow it.
    codes = np.frombuffer("".join(f"{text}\0\0\0" for text in folded).encode("utf-32-le"), np.uint32).astype(np.uint64)
    windows = codes[:-2] << np.uint64(42) | codes[1:-1] << np.uint64(21) | codes[2:]
    lengths = np.fromiter(map(len, folded), np.int64, len(folded))
    counts = np.maximum(lengths - 2, 1)
    ends = np.concatenate([[0], np.cumsum(counts)])
    text_starts = np.concatenate([[0], np.cumsum(lengths + 3)[:-1]])
    return windows[np.arange(ends[-1]) + np.repeat(text_starts - ends[:-1], counts)], ends


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Return 64-bit numbers in which each bit depends on all bits of the given ones, after splitmix64."""
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = numbers ^ numbers >> np.uint64(31)
    return mixed


def _signatures(folded: Sequence[str], n_hashes: int) -> np.ndarray:
    """Return the MinHash signatures, uint32 of shape (n_texts, n_hashes).

    Source: Broder 1997, "On the resemblance and containment of documents".
    """
    grams, ends = code_grams(folded)
    hashes = (mixed(grams) >> np.uint64(32)).astype(np.uint32)
    if len(folded) == 1:  # one text as it comes: not as many calls as there are hash functions
        least_of_one: np.ndarray = (hashes * _MULTIPLIERS[:n_hashes, None] + _OFFSETS[:n_hashes, None]).min(axis=1)
        return least_of_one[None]
    least = np.empty((n_hashes, len(folded)), np.uint32)
    scratch = np.empty_like(hashes)
    for i in range(n_hashes):
        np.multiply(hashes, _MULTIPLIERS[i], out=scratch)
        np.add(scratch, _OFFSETS[i], out=scratch)
        np.minimum.reduceat(scratch, ends[:-1], out=least[i])
    return least.T


Column = tuple[np.ndarray, np.ndarray]
"""Hashes, and the text that each is of."""


def _within(columns: Sequence[Column], n: int) -> tuple[np.ndarray, list[Column]]:
    """Return the pairs of the `n` texts with a hash in common, in any of the columns.

    Returns:
        The pairs, of shape (n_pairs, 2) with the smaller index first; and of the columns what more than `_WINDOW` texts
        have in common, which is left out of the pairs.
    """
    codes, crowds = [np.empty(0, np.int64)], []
    for keys, owners in columns:
        order = np.lexsort((owners, keys))
        keys, owners = keys[order], owners[order]
        sizes = np.diff(np.flatnonzero(keys[1:] != keys[:-1]) + 1, prepend=0, append=len(keys))
        crowded = np.repeat(sizes > _WINDOW, sizes)
        crowds.append((keys[crowded], owners[crowded]))
        codes.append(_neighbours(keys[~crowded], owners[~crowded], n))
    return _pairs(codes, n), crowds


def _neighbours(keys: np.ndarray, owners: np.ndarray, n: int) -> np.ndarray:
    """Return a number for each pair of owners, of whom there are `n`, with a key in common; both are sorted by key."""
    found = [np.empty(0, np.int64)]
    firsts = np.arange(len(keys))
    for step in range(1, _WINDOW):
        firsts = firsts[firsts < len(keys) - step]
        firsts = firsts[keys[firsts] == keys[firsts + step]]
        pairs = np.sort([owners[firsts], owners[firsts + step]], axis=0)
        one, other = pairs[:, pairs[0] != pairs[1]]
        found.append(one * n + other)
    return np.concatenate(found)


def _between(asked: Hashed, known: Hashed) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of a text asked about and a known one with a hash in common, by 3-grams and by words."""
    n = len(known.texts)
    asked_owners, known_owners = np.arange(len(asked.texts)), np.arange(n)
    by_grams = [
        _matches(band, asked_owners, known_band, known_owners, n)
        for band, known_band in zip(asked.bands, known.bands, strict=True)
    ]
    by_words = _matches(asked.word_keys, asked.word_owners, known.word_keys, known.word_owners, n)
    return _pairs(by_grams, n), _pairs([by_words], n)


def _matches(
    keys: np.ndarray, owners: np.ndarray, known_keys: np.ndarray, known_owners: np.ndarray, n: int
) -> np.ndarray:
    """Return a number for each pair of an owner and a known one, of whom there are `n`, with a key in common."""
    order = np.argsort(known_keys, kind="stable")
    known_keys, known_owners = known_keys[order], known_owners[order]
    first = np.searchsorted(known_keys, keys, side="left")
    count = np.minimum(np.searchsorted(known_keys, keys, side="right") - first, _WINDOW)
    found = [np.empty(0, np.int64)]
    for step in range(int(count.max(initial=0))):
        has = count > step
        found.append(owners[has] * n + known_owners[first[has] + step])
    return np.concatenate(found)


def _pairs(codes: Sequence[np.ndarray], n: int) -> np.ndarray:
    return np.stack(np.divmod(np.unique(np.concatenate(codes)), n), axis=1)


def _near_pairs(
    left: Hashed, right: Hashed, by_grams: np.ndarray, by_words: np.ndarray, nearness: Nearness
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return those of the candidates that are near: left indices, right indices and Jaccard similarities."""
    least = nearness.similarity - _doubt(left, nearness)
    pairs, similarities = [np.empty((0, 2), np.int64)], [np.empty(0)]
    for start in range(0, len(by_grams), _PAIRS):
        some = by_grams[start : start + _PAIRS]
        estimate = (left.signatures[some[:, 0]] == right.signatures[some[:, 1]]).mean(axis=1)
        some = some[estimate >= least]
        similarity = _similarities(left, right, some)
        pairs.append(some[similarity >= nearness.similarity])
        similarities.append(similarity[similarity >= nearness.similarity])
    n = len(right.texts)
    by_words = by_words[~np.isin(by_words @ (n, 1), np.concatenate(pairs) @ (n, 1))]
    words = [
        {i: folded_words(of.texts[i]) for i in np.unique(ids)}
        for of, ids in zip((left, right), by_words.T, strict=True)
    ]
    apart = [_one_word_apart(words[0][i], words[1][j]) for i, j in by_words.tolist()]
    by_words = by_words[np.array(apart, dtype=bool)]
    for start in range(0, len(by_words), _PAIRS):
        pairs.append(by_words[start : start + _PAIRS])
        similarities.append(_similarities(left, right, pairs[-1]))
    near = np.concatenate(pairs)
    return near[:, 0], near[:, 1], np.concatenate(similarities)


def _doubt(of_texts: Hashed, nearness: Nearness) -> float:
    """Return by how much the similarity that two signatures estimate may fall short of the wanted one."""
    variance = nearness.similarity * (1 - nearness.similarity) / of_texts.signatures.shape[1]
    return float(_DOUBT * np.sqrt(variance))


def _similarities(left: Hashed, right: Hashed, pairs: np.ndarray) -> np.ndarray:
    """Return the Jaccard similarities of the 3-grams of the pairs, float64 of shape (n_pairs,)."""
    lengths = np.array([max(len(left.folded[i]), len(right.folded[j])) for i, j in pairs.tolist()], dtype=np.int64)
    similarity = np.empty(len(pairs))
    order = np.argsort(lengths)
    ordered = lengths[order]
    start = 0
    while start < len(order):
        # Texts of like length together leave little of a table empty.
        longest = 2 * int(ordered[start]) + 1
        like = int(np.searchsorted(ordered, longest, side="right")) - start
        some = order[start : start + min(like, max(_CELLS // longest, 1))]
        similarity[some] = _jaccards(
            _gram_table([left.folded[i] for i in pairs[some, 0]], 0),
            _gram_table([right.folded[j] for j in pairs[some, 1]], 1),
        )
        start += len(some)
    return similarity


def _gram_table(folded: Sequence[str], side: int) -> np.ndarray:
    """Return a row a text, with each of its 3-grams once and fillers that no other place of either side has."""
    grams, ends = code_grams(folded)
    counts = np.diff(ends)
    table = np.full((len(folded), counts.max()), _FILLER, np.uint64)
    table[np.arange(table.shape[1]) < counts[:, None]] = grams
    table.sort(axis=1)
    again = np.zeros(table.shape, bool)
    again[:, 1:] = table[:, 1:] == table[:, :-1]
    again |= table == _FILLER
    fillers = _FILLER + np.uint64(side) + np.uint64(2) * np.arange(table.shape[1], dtype=np.uint64)
    table[again] = np.broadcast_to(fillers, table.shape)[again]
    return table


def _jaccards(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    both = np.concatenate([left, right], axis=1)
    both.sort(axis=1)
    shared = (both[:, 1:] == both[:, :-1]).sum(axis=1)
    similarity: np.ndarray = shared / ((both < _FILLER).sum(axis=1) - shared)
    return similarity


class _Crowd:
    """The texts that have a hash in common with so many that only those that stay are compared.

    They come one by one, in their order.
    """

    def __init__(self, of_texts: Hashed, nearness: Nearness, bands: Sequence[Column], words: Sequence[Column]) -> None:
        self._signatures = of_texts.signatures
        self._nearness = nearness
        self._least = nearness.similarity - _doubt(of_texts, nearness)
        # Of each hash of a text the last ones that stay: a list that all texts with that hash share.
        self._by_grams = _shared_lists(bands)
        self._by_words = _shared_lists(words)
        # The last that stay are compared again and again.
        self._grams = lru_cache(_REMEMBERED)(lambda text: _grams(of_texts.folded[text]))
        self._words = lru_cache(_REMEMBERED)(lambda text: folded_words(of_texts.texts[text]))

    @property
    def texts(self) -> set[int]:
        """All of them, by index."""
        return {*self._by_grams, *self._by_words}

    def add(self, text: int) -> None:
        """Let the text stay."""
        for stayed in (*self._by_grams.get(text, ()), *self._by_words.get(text, ())):
            stayed.append(text)

    def near_to(self, text: int) -> list[Match]:
        """Return those that stay and that the text is near to, among the `_WINDOW` that look most like it."""
        by_words = {*chain.from_iterable(self._by_words.get(text, ()))}
        likely = self._likely(text, sorted({*chain.from_iterable(self._by_grams.get(text, ()))} - by_words))
        found = []
        for other in (*sorted(by_words), *likely):
            similarity = _jaccard(self._grams(text), self._grams(other))
            apart = other in by_words and _one_word_apart(self._words(text), self._words(other))
            if apart or similarity >= self._nearness.similarity:
                found.append(Match(other, similarity))
        return found

    def _likely(self, text: int, others: list[int]) -> list[int]:
        if not others:
            return []
        estimate = (self._signatures[others] == self._signatures[text]).mean(axis=1)
        order = np.argsort(-estimate, kind="stable")[:_WINDOW]
        return [others[i] for i in order.tolist() if estimate[i] >= self._least]


def _shared_lists(columns: Sequence[Column]) -> dict[int, list[deque[int]]]:
    lists: dict[int, list[deque[int]]] = defaultdict(list)
    for keys, owners in columns:
        of_key: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=_WINDOW))
        for key, owner in zip(keys.tolist(), owners.tolist(), strict=True):
            lists[owner].append(of_key[key])
    return dict(lists)


def _first_stays(pairs: tuple[np.ndarray, np.ndarray, np.ndarray], crowd: _Crowd) -> dict[int, Match]:
    """Let each text go that is near to an earlier one that stays."""
    near: dict[int, list[Match]] = defaultdict(list)
    for earlier, later, similarity in zip(*(column.tolist() for column in pairs), strict=True):
        near[later].append(Match(earlier, similarity))
    gone: dict[int, Match] = {}
    for text in sorted({*near, *crowd.texts}):
        stay = [match for match in near[text] if match.index not in gone] + crowd.near_to(text)
        if stay:
            gone[text] = min(stay, key=lambda match: (-match.similarity, match.index))
        else:
            crowd.add(text)
    return gone
