"""Which teacher is best without human test texts."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from build import records
from polydistill.errors import DataError
from polydistill.files import digest, read_json
from polydistill.measure.teachers import Ranked, adjusted, conclusion, rose, run_compare_teachers, unshared
from polydistill.records import write_records

OPENINGS = ["danes", "jutri", "včeraj", "morda", "gotovo", "prosim", "menda", "pozno", "zgodaj", "spet"]
THINGS = {
    "sport": ["tekma", "gol", "trener", "žoga", "liga", "sodnik", "zmaga", "stadion"],
    "food": ["juha", "kruh", "sir", "kosilo", "jabolko", "testo", "sladica", "krožnik"],
    "travel": ["vlak", "letalo", "karta", "hotel", "pot", "morje", "kovček", "postaja"],
}


def generation(folder: Path, seed: int, wrong: float, *, things: int = 8, count: int = 60) -> Path:
    """Write so many texts a label that name two things of it, a share of them under a wrong label."""
    rng = random.Random(seed)
    texts: dict[str, list[str]] = {label: [] for label in THINGS}
    for label, named in THINGS.items():
        for _ in range(count):
            text = f"{rng.choice(OPENINGS)} {' '.join(rng.sample(named[:things], 2))} {rng.choice(OPENINGS)}"
            given = rng.choice([other for other in THINGS if other != label]) if rng.random() < wrong else label
            texts[given].append(text)
    write_records(folder / "accepted.parquet", records(texts))
    return folder


def compare(root: Path, teachers: dict[str, Path]) -> Sequence[Ranked]:
    return run_compare_teachers(teachers, "demo/sl", root / "compared", seed=1)


def test_wrong_labels_cost_a_teacher_its_rank(tmp_path: Path) -> None:
    wrong = {"none": 0.0, "some": 0.25, "many": 0.5}
    # Of more texts as easy as these a student learns as much with a quarter of the labels wrong.
    teachers = {
        name: generation(tmp_path / name, i, share, count=20) for i, (name, share) in enumerate(wrong.items(), 1)
    }
    ranked = compare(tmp_path, teachers)
    assert [of.name for of in ranked] == ["none", "some", "many"]
    assert ranked[0].best_in > 0.5
    assert ranked[2].behind is not None and ranked[2].behind[1] > 0
    told = read_json(tmp_path / "compared" / "teachers.json")
    assert told["ranked_by"] == "adjusted"
    assert [of["name"] for of in told["teachers"]] == ["none", "some", "many"]


def test_less_varied_texts_cost_a_teacher_its_rank(tmp_path: Path) -> None:
    things = {"eight": 8, "four": 4, "two": 2}
    teachers = {name: generation(tmp_path / name, i, 0, things=n) for i, (name, n) in enumerate(things.items())}
    ranked = compare(tmp_path, teachers)
    assert max(ranked, key=lambda of: of.rose).name == "eight"
    assert ranked[-1].name == "two"


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    teachers = {name: generation(tmp_path / name, seed, 0.2) for name, seed in (("a", 1), ("b", 2))}
    compare(tmp_path, teachers)
    first = digest(tmp_path / "compared")
    compare(tmp_path, teachers)
    assert digest(tmp_path / "compared") == first


def test_rose_is_the_mean_over_the_other_generations() -> None:
    scores = np.array([[np.nan, 0.8, 0.6], [0.9, np.nan, 0.7], [0.5, 0.7, np.nan]])
    assert rose(scores) == pytest.approx([0.7, 0.8, 0.6])


def test_adjusted_scores_are_freed_of_how_easy_the_tests_are() -> None:
    good, easy = np.array([0.8, 0.7, 0.5, 0.6]), np.array([-0.3, 0.0, 0.1, 0.0])
    scores = good[:, None] + easy
    np.fill_diagonal(scores, np.nan)
    assert rose(scores).argmax() == 0 and rose(scores)[1] < rose(scores)[3] + 0.2
    assert adjusted(scores) == pytest.approx(good + easy.mean())


def test_a_conclusion_says_who_may_be_as_good() -> None:
    best = Ranked("llama", 0.8, 0.8, [0.7, 0.9], None, 0.6)
    near = Ranked("gpt", 0.79, 0.79, [0.7, 0.9], [0.01, -0.02, 0.03], 0.4)
    far = Ranked("tiny", 0.5, 0.5, [0.4, 0.6], [0.3, 0.2, 0.4], 0.0)
    spared = Ranked("noisy", 0.9, 0.5, [0.4, 0.6], [0.3, 0.2, 0.4], 0.0)
    assert conclusion([best, near, far]) == "llama comes first, but may not be better than gpt."
    assert conclusion([best, far]) == "llama comes first."
    assert "By RoSE alone noisy would" in conclusion([best, spared])


def shared_and_own(folder: Path, n_own: int) -> Path:
    """Write 100 texts a label, the same for all but case and punctuation; as many as given name the folder instead."""
    texts = {}
    for label, named in THINGS.items():
        shared = [f"{opening} {thing} {label}" for opening in OPENINGS for thing in (*named, "kaj", "nič")]
        own = [f"{folder.name} {label} {named[i % 8]} {i}" for i in range(n_own)]
        texts[label] = [*own, *(text.title() + "!" if folder.name == "b" else text for text in shared[n_own:])]
    write_records(folder / "accepted.parquet", records(texts))
    return folder


def test_generations_that_share_nearly_all_texts_are_refused_with_what_to_do(tmp_path: Path) -> None:
    teachers = {name: shared_and_own(tmp_path / name, 1) for name in ("a", "b")}
    with pytest.raises(DataError) as refused:
        compare(tmp_path, teachers)
    assert str(refused.value) == (
        "teacher a has 3 of 300 texts to test the others on, those that no other teacher wrote too; it takes 20, "
        "some of each label, and each teacher gives as many texts of a label as the one with the fewest: "
        "leave out a or b, which share 297, or generate more texts"
    )
    assert not (tmp_path / "compared").exists()


def test_a_label_without_a_test_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        texts = {"sport": [f"tekma {i}" for i in range(10)], "food": [f"{name} juha {i}" for i in range(30)]}
        write_records(tmp_path / name / "accepted.parquet", records(texts))
    with pytest.raises(DataError, match="teacher a has 30 of 40 texts to test the others on"):
        compare(tmp_path, {name: tmp_path / name for name in ("a", "b")})


def test_generations_that_share_most_texts_are_compared_by_the_others(tmp_path: Path) -> None:
    ranked = compare(tmp_path, {name: shared_and_own(tmp_path / name, 8) for name in ("a", "b")})
    for of in ranked:
        assert of.interval[0] <= of.rose <= of.interval[1]


def test_only_texts_that_no_other_teacher_wrote_are_tests() -> None:
    texts = [["Prva.", "druga", "tretja"], ["prva", "četrta"], ["DRUGA!", "peta"]]
    found = unshared([records({"a": of_teacher}) for of_teacher in texts])
    assert [of_teacher.tolist() for of_teacher in found] == [[False, False, True], [False, True], [False, True]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["full"], "two or more; give --compare-teachers NAME=FOLDER", id="one teacher"),
        pytest.param(["full", "nowhere"], "holds neither accepted.parquet nor work/demo/sl/filtered", id="no folder"),
        pytest.param(["full", "empty"], "teacher empty has no accepted text in demo/sl", id="no texts"),
        pytest.param(["full", "other"], "fewer than two labels have two texts in each", id="no labels in common"),
        pytest.param(["full", "same"], "has 0 of 180 texts to test the others on", id="the same texts"),
        pytest.param(["full", "german"], "teacher german has texts in de, and demo/sl is in sl", id="another language"),
        pytest.param(
            ["few", "fewer"], "has 12 of 12 texts .* it takes 20, some of each label, .* the fewest: generate", id="few"
        ),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, names: list[str], message: str) -> None:
    generation(tmp_path / "full", 1, 0)
    generation(tmp_path / "same", 1, 0)
    write_records(tmp_path / "empty" / "accepted.parquet", [])
    german = {label: [f"{label} {i}" for i in range(40)] for label in THINGS}
    write_records(tmp_path / "german" / "accepted.parquet", records(german, language="de"))
    for name in ("few", "fewer"):
        few = {label: [f"{name} {label} {i}" for i in range(6)] for label in ("sport", "food")}
        write_records(tmp_path / name / "accepted.parquet", records(few))
    write_records(tmp_path / "other" / "accepted.parquet", records({"else": ["nekaj", "drugega"]}))
    with pytest.raises(DataError, match=message):
        compare(tmp_path, {name: tmp_path / name for name in names})
