from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from polydistill.errors import DataError
from polydistill.files import digest, write_json
from polydistill.params import TrainParams, check
from polydistill.students import KINDS, Student, load_student, make_student
from polydistill.students.linear import LinearStudent
from spaces import GENERATED, SEEDS, settings

LABELLED = [(text, label) for label in GENERATED for part in GENERATED[label] for text in part]
TEXTS, LABELS = [text for text, _ in LABELLED], [label for _, label in LABELLED]
THREE = ([*TEXTS, "Potrebujem recept za zdravilo.", "Pošljite mi recept."], [*LABELS, "recipe", "recipe"])
NEW = [*SEEDS["book"], *SEEDS["hours"], "?", "👍", "something else entirely"]


@pytest.fixture(params=["linear"])
def student(request: pytest.FixtureRequest) -> Student:
    """An untrained student, of each kind in turn."""
    return make_student(request.param, check(TrainParams, settings()["train"], "test"), seed=7)


def saved(student: Student, folder: Path) -> Path:
    folder.mkdir()
    student.save(folder)
    return folder


def test_it_learns_what_it_was_taught(student: Student) -> None:
    assert student.fit(TEXTS, LABELS) is student
    assert student.classes_ == ["book", "hours"]
    assert student.predict(TEXTS) == LABELS


@pytest.mark.parametrize(("texts", "labels"), [(TEXTS, LABELS), THREE], ids=["two labels", "three labels"])
def test_probabilities_are_probabilities(student: Student, texts: list[str], labels: list[str]) -> None:
    probabilities = student.fit(texts, labels).predict_proba(NEW)
    assert probabilities.shape == (len(NEW), len(student.classes_))
    assert probabilities.dtype == np.float64
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(NEW)))
    likeliest = [student.classes_[column] for column in probabilities.argmax(axis=1)]
    assert student.predict(NEW) == likeliest


@pytest.mark.parametrize(("texts", "labels"), [(TEXTS, LABELS), THREE], ids=["two labels", "three labels"])
def test_it_comes_back_the_same(student: Student, tmp_path: Path, texts: list[str], labels: list[str]) -> None:
    student.fit(texts, labels)
    again = load_student(saved(student, tmp_path / "model"))
    assert type(again) is type(student)
    assert (again.classes_, again.get_params()) == (student.classes_, student.get_params())
    assert np.array_equal(again.predict_proba(NEW), student.predict_proba(NEW))
    assert digest(saved(again, tmp_path / "again")) == digest(tmp_path / "model")


def test_the_same_training_is_the_same_bytes(student: Student, tmp_path: Path) -> None:
    first = digest(saved(student.fit(TEXTS, LABELS), tmp_path / "a"))
    assert digest(saved(student.fit(TEXTS, LABELS), tmp_path / "b")) == first


def test_nothing_is_a_pickle(student: Student, tmp_path: Path) -> None:
    saved(student.fit(TEXTS, LABELS), tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        assert file.suffix in {".json", ".npy", ".safetensors", ".onnx"}
        if file.suffix == ".npy":
            assert np.load(file, allow_pickle=False).dtype != object


def test_another_fit_starts_afresh(student: Student) -> None:
    fresh = student.fit(TEXTS, LABELS).predict_proba(NEW)
    student.fit(*THREE)
    assert np.array_equal(student.fit(TEXTS, LABELS).predict_proba(NEW), fresh)


def test_one_label_is_nothing_to_learn(student: Student) -> None:
    with pytest.raises(DataError, match=r"two labels or more, got \['book'\]"):
        student.fit(["a", "b"], ["book", "book"])


def test_without_training_it_says_nothing(student: Student, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        student.predict(["a"])
    with pytest.raises(NotFittedError):
        student.save(tmp_path)


def test_a_damaged_student_is_said(student: Student, tmp_path: Path) -> None:
    """Each file of it in turn cut in half, emptied and taken away."""
    saved(student.fit(TEXTS, LABELS), tmp_path / "model")
    for file in sorted((tmp_path / "model").iterdir()):
        whole = file.read_bytes()
        for damage in (whole[: len(whole) // 2], b""):
            file.write_bytes(damage)
            with pytest.raises(DataError, match="model"):
                load_student(tmp_path / "model")
        file.unlink()
        with pytest.raises(DataError, match=f"{file.name} is missing"):
            load_student(tmp_path / "model")
        file.write_bytes(whole)
    load_student(tmp_path / "model")


def test_a_kind_of_tomorrow_is_said(tmp_path: Path) -> None:
    write_json(tmp_path / "student.json", {"kind": "quantum"})
    with pytest.raises(DataError, match=f"a student of kind 'quantum' is unknown here; known are {', '.join(KINDS)}"):
        load_student(tmp_path)


def test_every_kind_has_its_settings() -> None:
    for kind, student in KINDS.items():
        section = settings()["train"][kind]
        assert set(student().get_params()) == {*section, "seed"}


def test_a_linear_student_calls_a_text_that_tells_it_nothing_by_the_commoner_label() -> None:
    for common, rare in (("a", "b"), ("b", "a")):
        student = LinearStudent().fit(["ena", "dve", "tri", "štiri", "pet"], [common] * 4 + [rare])
        assert student.predict(["xyzzy"]) == [common]


def test_no_text_has_no_probabilities(student: Student) -> None:
    assert student.fit(TEXTS, LABELS).predict_proba([]).shape == (0, 2)


def test_texts_without_a_word_are_said(student: Student) -> None:
    with pytest.raises(DataError, match="none of 2 texts holds one"):
        student.fit(["👍", "👎"], ["good", "bad"])
