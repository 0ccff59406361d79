from pathlib import Path

import numpy as np
import pytest

from polydistill.errors import DataError, ParamsError
from polydistill.files import digest, read_json, write_json
from polydistill.params import LinearParams, check
from polydistill.students import bayes_ridge, linear, load_student
from polydistill.students.held_out import fold, sample, weigh
from polydistill.students.linear import LinearStudent
from polydistill.students.ngrams import count_ngrams, words

BOOK = [
    "Naročite me na pregled.",
    "Rad bi termin pri okulistu.",
    "Prosim za pregled v petek!",
    "Želim se naročiti pri zobarju.",
    "Potrebujem termin za torek.",
    "Naročila bi hčerko na pregled.",
]
HOURS = [
    "Kdaj odprete v soboto?",
    "Do kdaj dela lekarna?",
    "Ali delate med prazniki?",
    "Je ambulanta odprta ob nedeljah?",
    "Kdaj zapre laboratorij?",
    "Od kdaj ste danes odprti?",
]
TEXTS, LABELS = [*BOOK, *HOURS], ["book"] * len(BOOK) + ["hours"] * len(HOURS)
NEW = ["Kdaj ste odprti?", "Pregled prosim", "👍", "xyzzy"]


def saved(student: LinearStudent, folder: Path) -> Path:
    folder.mkdir()
    student.save(folder)
    return folder


def noisy(right: float, n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Return numbered texts of a word that tells the label of the share `right` of them, and is wrong of the others."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=n)
    said = np.where(rng.random(n) < right, truth, 1 - truth)
    return [f"{('dobro', 'slabo')[word]} {number}" for number, word in enumerate(said)], [f"label {t}" for t in truth]


def test_punctuation_and_symbols_are_words_and_digits_are_alike() -> None:
    assert words("Ali DELATE ob 12:30?") == ["ali", "delate", "ob", "00", ":", "00", "?"]
    assert words("👍👍") == ["👍", "👍"]
    assert words("వైద్యుడు") == ["వైద్యుడు"]  # vowel signs are no border


def test_ngrams_stay_within_words_and_hold_their_borders() -> None:
    ngrams = count_ngrams(["da da, a", "a"], 3, 2)
    of_words = {"\tda", "\t,", "\ta", "\tda da", "\tda ,", "\t, a"}
    assert set(ngrams.terms) == {" d", "da", "a ", " da", "da ", " ,", ", ", " , ", " a", " a "} | of_words
    assert list(ngrams.terms) == sorted(ngrams.terms)
    counts = dict(zip(ngrams.terms, ngrams.counts.toarray()[0], strict=True))
    assert counts["da"] == pytest.approx(1 + np.log(2))
    assert counts["a "] == pytest.approx(1 + np.log(3))
    assert counts["\tda da"] == 1
    assert [term for term, found in zip(ngrams.terms, ngrams.counts.toarray()[1], strict=True) if found] == [
        "\ta",
        " a",
        " a ",
        "a ",
    ]


@pytest.mark.parametrize("chosen", [range(12), [0, 1, 6, 7, 8]], ids=["all", "some"])
def test_sharing_changes_nothing(tmp_path: Path, chosen: list[int]) -> None:
    texts, labels = [TEXTS[i] for i in chosen], [LABELS[i] for i in chosen]
    alone = LinearStudent(seed=3).fit(texts, labels)
    shared = LinearStudent(seed=3)
    shared.shared = shared.share([*TEXTS, *NEW[:2], "Povsem nekaj drugega."])
    shared.fit(texts, labels)
    assert np.array_equal(shared.predict_proba(NEW[:2]), alone.predict_proba(NEW[:2]))
    assert np.array_equal(shared.predict_proba(NEW), alone.predict_proba(NEW))  # with texts that are not shared
    assert digest(saved(shared, tmp_path / "shared")) == digest(saved(alone, tmp_path / "alone"))


def test_what_is_shared_is_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    student = LinearStudent()
    student.shared = student.share([*TEXTS, *NEW])
    for count in ("count_ngrams", "count_known"):
        monkeypatch.setattr(linear, count, lambda *_: pytest.fail("counted again"))
    assert student.fit(TEXTS, LABELS).predict(NEW[:2]) == ["hours", "book"]


def test_texts_that_are_not_shared_can_be_learned_from() -> None:
    student = LinearStudent()
    student.shared = student.share(NEW)
    assert student.fit(TEXTS, LABELS).predict(NEW[:2]) == ["hours", "book"]


def test_cross_validation_chooses_what_is_right_of_unseen_texts() -> None:
    """Only whole endings of five characters tell the labels apart: n-grams of two see the same in both."""
    texts = [f"{start}{end}" for start in "bcdfghjklm" for end in ("abcab", "cabca")]
    labels = ["left" if text.endswith("abcab") else "right" for text in texts]
    settings = {"max_word_ngram": 1, "regularization": [1000.0, 0.3]}
    student = LinearStudent(max_char_ngram=[2, 5], **settings).fit(texts, labels)
    assert student.training_["max_char_ngram"] == 5
    assert student.training_["held_out_accuracy"] == 1.0
    assert student.predict(["xabcab", "xcabca"]) == ["left", "right"]
    short = LinearStudent(max_char_ngram=[2], **settings).fit(texts, labels)
    assert short.training_["max_char_ngram"] == 2
    assert max(len(term) for term in short.terms_ if term[0] != "\t") == 2


def test_a_worse_regularization_is_not_chosen() -> None:
    texts, labels = noisy(0.75, 200)  # each text has a number of its own, to be learned by heart
    for candidates in ([0.001, 30.0], [30.0, 0.001]):
        assert LinearStudent(regularization=candidates).fit(texts, labels).training_["regularization"] == 30.0


def test_with_too_few_texts_to_choose_it_takes_the_first() -> None:
    student = LinearStudent(regularization=[3.0, 0.3]).fit([BOOK[0], HOURS[0]], ["book", "hours"])
    assert student.training_ == {"max_char_ngram": 6, "class_weight": "none", "regularization": 3.0}
    assert student.predict([BOOK[0], HOURS[0]]) == ["book", "hours"]


@pytest.mark.parametrize("right", [0.6, 0.75, 0.9])
def test_probabilities_are_calibrated(right: float) -> None:
    student = LinearStudent().fit(*noisy(right, 400))
    texts, labels = noisy(right, 2000, seed=1)
    assert np.mean(np.array(student.predict(texts)) == labels) == pytest.approx(right, abs=0.05)
    assert student.predict_proba(texts).max(axis=1).mean() == pytest.approx(right, abs=0.05)


def test_a_label_is_likelier_for_being_frequent_where_texts_tell_little() -> None:
    texts = [f"{word} {number}" for number, word in enumerate(["dobro", "slabo"] * 50)]
    labels = ["often" if number % 10 else "seldom" for number in range(100)]
    found = LinearStudent().fit(texts, labels).predict_proba(["nekaj"])[0]
    assert found == pytest.approx([0.9, 0.1], abs=0.05)


def test_balanced_labels_count_the_same() -> None:
    weights = weigh(np.array([0, 0, 0, 1]), "balanced")
    assert weights.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2])
    rare = LABELS[:6] + ["hours"] + [f"other {n % 2}" for n in range(5)]
    student = LinearStudent(class_weight=["balanced"]).fit(TEXTS, rare)
    assert student.predict(TEXTS) == rare
    assert student.training_["class_weight"] == "balanced"


def test_a_label_with_one_text_is_learned() -> None:
    student = LinearStudent().fit([*TEXTS, "Potrebujem recept."], [*LABELS, "recipe"])
    assert student.predict(["recept", "Kdaj odprete?"]) == ["recipe", "hours"]


def test_a_text_without_a_word_among_others_does_no_harm() -> None:
    student = LinearStudent().fit([*TEXTS, "👍", "…", ""], [*LABELS, "book", "hours", "hours"])
    assert np.isfinite(student.predict_proba([*NEW, ""])).all()
    assert student.predict(["Kdaj ste odprti?"]) == ["hours"]


def test_a_text_twice_is_a_text_twice() -> None:
    student = LinearStudent().fit([*TEXTS, *TEXTS], [*LABELS, *LABELS])
    assert student.predict(TEXTS) == LABELS


def test_the_many_texts_that_have_no_kernel_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ngrams = count_ngrams(TEXTS, 5, 2)
    classes = np.searchsorted(["book", "hours"], LABELS)
    ones = np.ones(len(TEXTS), np.float32)
    one = bayes_ridge.learn(ngrams.counts, classes, ones, [0.3])
    monkeypatch.setattr(bayes_ridge, "MOST_FOR_KERNEL", 5)
    other = bayes_ridge.learn(ngrams.counts, classes, ones, [0.3])
    assert np.abs(one.ridge[0]).max() > 0.01
    assert other.ridge[0] == pytest.approx(one.ridge[0], abs=1e-3)


def test_of_many_texts_cross_validation_looks_at_some(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    choose = linear.held_out_scores
    monkeypatch.setattr(
        linear, "held_out_scores", lambda counts, *more: looked_at.append(counts) or choose(counts, *more)
    )
    monkeypatch.setattr(linear, "MOST_HELD_OUT", 8)
    assert LinearStudent().fit(TEXTS, LABELS).predict(TEXTS) == LABELS
    assert [counts.shape[0] for counts in looked_at] == [8]


def test_each_fold_leaves_some_of_each_label_to_learn_from() -> None:
    classes = np.array([0] * 7 + [1] * 5 + [2] * 2 + [3])
    fold_of = fold(classes, 3, np.random.default_rng(0))
    assert set(fold_of[:-1]) == {0, 1}  # no more folds than label 2 has texts
    assert fold_of[-1] == -1  # the only text of its label
    for number in (0, 1):
        assert set(classes[fold_of != number]) == {0, 1, 2, 3}
    assert fold(np.array([0, 1]), 3, np.random.default_rng(0)).tolist() == [-1, -1]


def test_a_sample_has_each_label_in_its_share() -> None:
    classes = np.array([0] * 60 + [1] * 39 + [2])
    chosen = classes[sample(classes, 10, np.random.default_rng(0))]
    assert np.bincount(chosen).tolist() == [6, 4, 1]
    assert sample(classes, 100, np.random.default_rng(0)).tolist() == list(range(100))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        pytest.param("weights", np.zeros((3, 2), np.float32), id="shape"),
        pytest.param("bias", np.zeros(2), id="type"),
        pytest.param("telling", None, id="not a number"),
    ],
)
def test_arrays_that_do_not_fit_are_said(tmp_path: Path, name: str, array: np.ndarray | None) -> None:
    folder = saved(LinearStudent().fit(TEXTS, LABELS), tmp_path / "model")
    file = folder / f"{name}.npy"
    np.save(file, np.load(file) * np.float32("nan") if array is None else array)
    with pytest.raises(DataError, match=f"{name}.npy: .* does not fit; train the student again"):
        load_student(folder)


def test_settings_that_do_not_fit_are_said(tmp_path: Path) -> None:
    folder = saved(LinearStudent().fit(TEXTS, LABELS), tmp_path / "model")
    facts = read_json(folder / "student.json")
    write_json(folder / "student.json", facts | {"settings": {"depth": 3}})
    with pytest.raises(DataError, match="damaged .*depth.*; train the student again"):
        load_student(folder)


def test_what_there_is_to_tell_of_the_training_is_kept(tmp_path: Path) -> None:
    student = LinearStudent().fit(TEXTS, LABELS)
    assert load_student(saved(student, tmp_path / "model")).training_ == student.training_
    assert 0 <= float(student.training_["held_out_accuracy"]) <= 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("max_char_ngram", [], "max_char_ngram: \\[\\] is not allowed"),
        ("max_char_ngram", [5, 5], "max_char_ngram names one more than once: 5, 5"),
        ("class_weight", ["heavy"], "class_weight.0: 'heavy' is not allowed"),
        ("regularization", [0.0], "regularization.0: 0.0 is not allowed"),
        ("folds", 1, "folds: 1 is not allowed"),
    ],
)
def test_wrong_settings_are_said(key: str, value: object, message: str) -> None:
    right = {"max_char_ngram": [5], "max_word_ngram": 2, "class_weight": ["none"], "regularization": [0.3], "folds": 3}
    assert check(LinearParams, right, "test").folds == 3
    with pytest.raises(ParamsError, match=message):
        check(LinearParams, right | {key: value}, "test")
