import inspect
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from build import Texts, build_prepared, records
from polydistill.errors import DataError
from polydistill.files import digest, read_json, write_json
from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.params import SelectParams
from polydistill.prepare import run_prepare
from polydistill.properties import PROPERTIES, REFERENCE
from polydistill.records import read_rows, write_records, write_rows
from polydistill.runs import FINAL, PREDICTIONS, VERSION
from polydistill.select import run_select
from polydistill.students import load_student
from polydistill.students.linear import LinearStudent
from polydistill.train import run_train
from polydistill.workspace import Workspace
from spaces import GENERATED, HUMAN, SEEDS, TEST, build_workspace

PARAMS = SelectParams(metric="accuracy", confidence=0.95)
ACCEPTED = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}


MANY = {label: [f"{label} {number}" for number in range(40)] for label in SEEDS}


def build_trained(folder: Path, seeds: Texts, wrong: int, seed: int, servable: bool = True) -> Path:
    """Write what `train` wrote: a student that answered so many of the validation texts wrong."""
    (folder / "model").mkdir(parents=True)
    LinearStudent(seed=seed).fit(*zip(*((t, label) for label in ACCEPTED for t in ACCEPTED[label]), strict=True)).save(
        folder / "model"
    )
    other = {"book": "hours", "hours": "book"}
    rows = [
        {"source": "synthetic", "size": 8, "run": run, "seed": 1, "id": record.id, "label": label}
        for run, mistakes in ((FINAL, wrong), (0, len(records(seeds))))
        for number, record in enumerate(records(seeds))
        for label in [other[record.label] if number < mistakes else record.label]
    ]
    write_rows(folder / "validation.parquet", rows, PREDICTIONS)
    write_json(folder / "train.json", {"schema_version": VERSION, "student": folder.name, "servable": servable})
    return folder


def select(
    root: Path, students: dict[str, int], *, seeds: Texts = SEEDS, human: Any = HUMAN, unservable: str = ""
) -> tuple[Path, Path]:
    """Return the folders `selected` and `winner`; the students made so many mistakes on the validation texts."""
    build_prepared(root / "prepared", seeds, human=human)
    write_records(root / "filtered" / "accepted.parquet", records(ACCEPTED))
    trained = [
        build_trained(root / "trained" / name, seeds, wrong, n, name != unservable)
        for n, (name, wrong) in enumerate(students.items())
    ]
    out = root / "selected", root / "winner"
    run_select(root / "prepared", root / "filtered", trained, *out, PARAMS)
    return out


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the student called `slow` take ten times as long as any other."""
    monkeypatch.setattr("polydistill.select.milliseconds_a_text", lambda student, _: 10.0 if student.seed == 0 else 1.0)


def test_a_clearly_better_student_wins_whatever_it_costs(tmp_path: Path, costs: None) -> None:
    selected, winner = select(tmp_path, {"slow": 4, "quick": 40}, seeds=MANY)
    record = read_json(selected / "winner.json")
    assert (record["student"], record["task"], record["language"]) == ("slow", "demo", "sl")
    assert {name: of["accuracy"] for name, of in record["validation"].items()} == {"slow": 0.95, "quick": 0.5}
    assert {name: of["separable"] for name, of in record["validation"].items()} == {"slow": False, "quick": True}
    assert record["labels"] == ["book", "hours"]
    assert record["digests"] == {
        "model": digest(tmp_path / "trained" / "slow" / "model"),
        "accepted": digest(tmp_path / "filtered" / "accepted.parquet"),
    }
    assert read_json(winner / "winner.json") == record


def test_of_students_that_chance_may_have_ranked_the_cheaper_one_wins(tmp_path: Path, costs: None) -> None:
    selected, _ = select(tmp_path, {"slow": 4, "quick": 6}, seeds=MANY)
    record = read_json(selected / "winner.json")
    assert record["student"] == "quick"
    assert {name: of["ms_a_text"] for name, of in record["validation"].items()} == {"slow": 10.0, "quick": 1.0}
    assert "cheaper" in record["reason"] and "slow" in record["reason"]


def test_what_needs_an_llm_at_hand_is_no_candidate(tmp_path: Path) -> None:
    selected, _ = select(tmp_path, {"asking": 0, "alone": 40}, seeds=MANY, unservable="asking")
    record = read_json(selected / "winner.json")
    assert (record["student"], record["no_candidates"]) == ("alone", ["asking"])
    with pytest.raises(DataError, match="no service can answer with asking alone; add another kind to params"):
        select(tmp_path / "other", {"asking": 0}, unservable="asking")


def test_the_time_a_text_takes_is_measured(tmp_path: Path) -> None:
    selected, _ = select(tmp_path, {"one": 1, "two": 1})
    assert all(of["ms_a_text"] > 0 for of in read_json(selected / "winner.json")["validation"].values())


def test_without_validation_texts_there_is_no_choice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no validation texts; add some to seeds\.csv"):
        select(tmp_path, {"only": 0}, seeds={"book": [], "hours": []})


def test_the_winner_stands_alone(tmp_path: Path) -> None:
    _, winner = select(tmp_path, {"good": 0})
    assert sorted(file.name for file in winner.iterdir()) == [
        "known_answers.json",
        "model",
        "reference.parquet",
        "winner.json",
    ]
    assert digest(winner / "model") == digest(tmp_path / "trained" / "good" / "model")
    student = load_student(winner / "model")
    known = read_json(winner / "known_answers.json")
    assert [answer["text"] for answer in known] == [text for label in SEEDS for text in SEEDS[label]]
    assert [answer["label"] for answer in known] == student.predict([answer["text"] for answer in known])
    probabilities = student.predict_proba([answer["text"] for answer in known]).max(axis=1)
    assert [answer["probability"] for answer in known] == pytest.approx(probabilities.tolist())


@pytest.mark.parametrize("human", [HUMAN, None], ids=["human texts", "seeds alone"])
def test_the_reference_holds_properties_and_no_text(tmp_path: Path, human: Any) -> None:
    _, winner = select(tmp_path, {"only": 1}, human=human)
    assert pq.read_schema(winner / "reference.parquet").names == ["label", *PROPERTIES]
    rows = read_rows(winner / "reference.parquet", REFERENCE)
    texts = [text for of_label in (human or SEEDS).values() for text in of_label]
    assert [row["characters"] for row in rows] == [len(text) for text in texts]
    assert {row["label"] for row in rows} <= {"book", "hours"}


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = [select(tmp_path / name, {"only": 1}) for name in "ab"]
    assert [digest(folder) for folder in outputs[0]] == [digest(folder) for folder in outputs[1]]


def test_the_test_set_is_out_of_reach(tmp_path: Path) -> None:
    assert set(inspect.signature(run_select).parameters).isdisjoint({"heldout", "evaluated"})
    select(tmp_path, {"only": 1})
    (tmp_path / "prepared" / "questions.parquet").unlink()
    run_select(
        tmp_path / "prepared",
        tmp_path / "filtered",
        [tmp_path / "trained" / "only"],
        tmp_path / "s",
        tmp_path / "w",
        PARAMS,
    )
    assert digest(tmp_path / "w") == digest(tmp_path / "winner")


def run_chain(root: Path, test: dict[str, list[str]]) -> Path:
    """Run the chain up to `select` with this test set; return the winner's folder."""
    build_workspace(root, test=test)
    workspace = Workspace.open(root)
    (cell,), params = workspace.cells(), workspace.params
    room = cell.room
    run_prepare(cell.task_folder, cell.language, room("prepared"), room("heldout"), params.prepare)
    sections = (params.generate, params.filter, params.teacher, params.budget)
    run_generate(room("prepared"), cell.recording, room("generated"), *sections)
    run_filter(room("prepared"), room("generated"), room("filtered"), params.filter, self_revision=True)
    run_train(
        *map(room, ("prepared", "filtered")), cell.trained("linear"), cell.finished("linear"), "linear", params.train
    )
    run_select(
        room("prepared"),
        room("filtered"),
        [cell.trained("linear")],
        room("selected"),
        cell.gathered("winners"),
        params.select,
    )
    return cell.gathered("winners")


def test_other_labels_in_the_test_set_change_nothing_in_the_winner(tmp_path: Path) -> None:
    wrong = {"hours": TEST["book"], "book": TEST["hours"]}
    assert digest(run_chain(tmp_path / "a", TEST)) == digest(run_chain(tmp_path / "b", wrong))


def test_a_student_that_is_not_trained_is_said_and_nothing_written(tmp_path: Path) -> None:
    build_prepared(tmp_path / "prepared", SEEDS)
    with pytest.raises(DataError, match=r"train\.json is missing; run `polydistill train` first"):
        run_select(
            tmp_path / "prepared",
            tmp_path / "filtered",
            [tmp_path / "trained" / "linear"],
            tmp_path / "selected",
            tmp_path / "winner",
            PARAMS,
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
