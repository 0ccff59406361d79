"""What every kind of student keeps to, whatever it is made of."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from kinds import Make, maker, reloaded
from polydistill.errors import DataError, ParamsError
from polydistill.files import digest, write_json
from polydistill.params import StudentKind, TrainParams, check
from polydistill.students import KINDS, Labelled, Student, load_student, make_student, student_class
from polydistill.students.linear import LinearStudent
from spaces import GENERATED, SEEDS, settings

LABELLED = [(text, label) for label in GENERATED for part in GENERATED[label] for text in part]
TEXTS, LABELS = [text for text, _ in LABELLED], [label for _, label in LABELLED]
THREE = ([*TEXTS, "Potrebujem recept za zdravilo.", "Pošljite mi recept."], [*LABELS, "recipe", "recipe"])
NEW = [*SEEDS["book"], *SEEDS["hours"], "?", "👍", "something else entirely"]
ANSWERS = dict(zip(*THREE, strict=True)) | {text: label for label in SEEDS for text in SEEDS[label]}
EVERY_KIND = [
    "linear",
    "icl",
    pytest.param("encoder", marks=pytest.mark.torch),
    pytest.param("lora", marks=pytest.mark.torch),
]


@pytest.fixture(scope="module", params=EVERY_KIND)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes an untrained student, of each kind in turn."""
    if request.param in ("encoder", "lora"):
        pytest.importorskip("peft", reason="polydistill[encoder,lora] is not installed")
        pytest.importorskip("torch").set_num_threads(1)  # what is so small goes faster so
    with maker(request.param, tmp_path_factory.mktemp("kind"), ANSWERS, ["book", "hours", "recipe"]) as of_kind:
        yield of_kind


@pytest.fixture(scope="module")
def learned(make: Make) -> Student:
    """A student that was taught; not to be changed."""
    return make().fit(TEXTS, LABELS)


def same(one: np.ndarray, other: np.ndarray, student: Student) -> bool:
    """Say whether probabilities are the same; for a saved encoder ONNX answers, alike but for the last digits."""
    return np.allclose(one, other, rtol=0, atol=1e-6 if student.kind == "encoder" else 0)


def test_every_kind_is_tested() -> None:
    assert {getattr(kind, "values", [kind])[0] for kind in EVERY_KIND} == set(KINDS) == set(get_args(StudentKind))


def test_it_learns_what_it_was_taught(learned: Student) -> None:
    assert learned.classes_ == ["book", "hours"]
    assert learned.predict(TEXTS) == LABELS
    assert all(isinstance(value, int | float | str) for value in learned.training_.values())


@pytest.mark.parametrize(("texts", "labels"), [(TEXTS, LABELS), THREE], ids=["two labels", "three labels"])
def test_probabilities_are_probabilities(make: Make, texts: list[str], labels: list[str]) -> None:
    student = make()
    assert student.fit(texts, labels) is student
    probabilities = student.predict_proba(NEW)
    assert probabilities.shape == (len(NEW), len(student.classes_))
    assert probabilities.dtype == np.float64
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(NEW)))
    likeliest = [student.classes_[column] for column in probabilities.argmax(axis=1)]
    said = student.predict(NEW)
    assert [label or likely for label, likely in zip(said, likeliest, strict=True)] == likeliest


def test_it_comes_back_the_same(learned: Student, tmp_path: Path) -> None:
    again = reloaded(learned, tmp_path / "model")
    assert type(again) is type(learned)
    assert (again.classes_, again.get_params()) == (learned.classes_, learned.get_params())
    assert same(again.predict_proba(NEW), learned.predict_proba(NEW), again)
    assert again.predict(TEXTS) == LABELS
    reloaded(again, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(tmp_path / "model")


def test_the_same_training_is_the_same_student(make: Make, learned: Student, tmp_path: Path) -> None:
    other = make().fit(TEXTS, LABELS)
    assert same(other.predict_proba(NEW), learned.predict_proba(NEW), other)
    for name, student in (("one", learned), ("other", other)):
        reloaded(student, tmp_path / name)
    assert digest(tmp_path / "one") == digest(tmp_path / "other")


def test_what_is_shared_changes_no_result(make: Make, learned: Student) -> None:
    student = make()
    student.shared = student.share([*TEXTS, *NEW])
    assert same(student.fit(TEXTS, LABELS).predict_proba(NEW), learned.predict_proba(NEW), student)


def test_texts_to_stop_by_are_not_learned_from(make: Make) -> None:
    student = make().fit(TEXTS, LABELS, Labelled(["Potrebujem recept.", "Recept, prosim."], ["recipe", "recipe"]))
    assert student.classes_ == ["book", "hours"]


def test_nothing_is_a_pickle(learned: Student, tmp_path: Path) -> None:
    reloaded(learned, tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        assert file.suffix in {".json", ".npy", ".safetensors", ".onnx"}
        if file.suffix == ".npy":
            assert np.load(file, allow_pickle=False).dtype != object


def test_another_fit_starts_afresh(make: Make, learned: Student) -> None:
    student = make().fit(*THREE)
    assert same(student.fit(TEXTS, LABELS).predict_proba(NEW), learned.predict_proba(NEW), student)


def test_one_label_is_nothing_to_learn(make: Make) -> None:
    with pytest.raises(DataError, match=r"two labels or more, got \['book'\]"):
        make().fit(["a", "b"], ["book", "book"])


def test_without_training_it_says_nothing(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make().predict(["a"])
    with pytest.raises(NotFittedError):
        make().save(tmp_path)


def test_a_damaged_student_is_said(learned: Student, tmp_path: Path) -> None:
    """Each file of it in turn cut in half, emptied and taken away."""
    reloaded(learned, tmp_path / "model")
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


def test_no_text_has_no_probabilities(learned: Student) -> None:
    assert learned.predict_proba([]).shape == (0, 2)
    assert list(learned.predict([])) == []


def test_a_kind_of_tomorrow_is_said(tmp_path: Path) -> None:
    write_json(tmp_path / "student.json", {"kind": "quantum"})
    with pytest.raises(DataError, match=f"a student of kind 'quantum' is unknown here; known are {', '.join(KINDS)}"):
        load_student(tmp_path)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_has_its_settings(kind: StudentKind) -> None:
    if kind in ("encoder", "lora"):
        pytest.importorskip("peft", reason="polydistill[encoder,lora] is not installed")
    assert set(student_class(kind)().get_params()) == {*settings()["train"][kind], "seed"}


def test_a_kind_without_its_section_is_said() -> None:
    params = check(TrainParams, settings()["train"] | {"lora": None}, "test")
    with pytest.raises(ParamsError, match=r"train\.lora is needed"):
        make_student("lora", params, 0)
    with pytest.raises(ParamsError, match=r"students names lora, so train\.lora is needed"):
        check(TrainParams, settings()["train"] | {"lora": None, "students": ["linear", "lora"]}, "test")


def test_a_linear_student_calls_a_text_that_tells_it_nothing_by_the_commoner_label() -> None:
    for common, rare in (("a", "b"), ("b", "a")):
        student = LinearStudent().fit(["ena", "dve", "tri", "štiri", "pet"], [common] * 4 + [rare])
        assert student.predict(["xyzzy"]) == [common]


def test_a_linear_student_needs_words() -> None:
    with pytest.raises(DataError, match="none of 2 texts holds one"):
        LinearStudent().fit(["👍", "👎"], ["good", "bad"])
