import inspect
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from build import build_prepared, records
from polydistill.errors import DataError
from polydistill.files import digest, read_json, write_json
from polydistill.filter import run_filter
from polydistill.generate import run_generate
from polydistill.params import SelectParams
from polydistill.prepare import run_prepare
from polydistill.properties import PROPERTIES, REFERENCE
from polydistill.records import read_rows, write_records, write_rows
from polydistill.runs import FINAL, SCORES
from polydistill.select import choose, run_select
from polydistill.students import LinearStudent, load_student
from polydistill.train import run_train
from polydistill.workspace import Workspace
from spaces import GENERATED, HUMAN, SEEDS, TEST, build_workspace

ACCEPTED = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}


def scores(accuracy: float, macro_f1: float, size: int) -> dict[str, float]:
    return {"accuracy": accuracy, "macro_f1": macro_f1, "n": 4, "bytes": size}


@pytest.mark.parametrize(
    ("validation", "metric", "winner", "reason"),
    [
        pytest.param(
            {"big": scores(0.9, 0.8, 900), "small": scores(0.85, 0.84, 10)},
            "accuracy",
            "big",
            "validation accuracy 0.900 against 0.850 of small",
            id="better wins",
        ),
        pytest.param(
            {"big": scores(0.9, 0.8, 900), "small": scores(0.85, 0.84, 10)},
            "macro_f1",
            "small",
            "validation macro_f1 0.840 against 0.800 of big",
            id="by the metric asked for",
        ),
        pytest.param(
            {"big": scores(0.9, 0.9, 900), "small": scores(0.9, 0.8, 10)},
            "accuracy",
            "small",
            "validation accuracy 0.900, as big, and smaller",
            id="the smaller of equals",
        ),
        pytest.param({"only": scores(0.1, 0.1, 5)}, "accuracy", "only", "the only student that was trained", id="one"),
    ],
)
def test_the_choice(validation: dict[str, dict[str, float]], metric: str, winner: str, reason: str) -> None:
    assert choose(validation, metric) == (winner, reason)
    assert choose(dict(reversed(validation.items())), metric) == (winner, reason)


def build_trained(folder: Path, accuracy: float, seed: int) -> Path:
    """Write what `train` wrote: a student that scored so on the validation texts."""
    (folder / "model").mkdir(parents=True)
    LinearStudent(seed=seed).fit(*zip(*((t, label) for label in ACCEPTED for t in ACCEPTED[label]), strict=True)).save(
        folder / "model"
    )
    row = {"source": "synthetic", "seed": 1, "split": "validation", "n": 4}
    runs = [
        {**row, "size": 2, "run": 0, "accuracy": 1.0, "macro_f1": 1.0},
        {**row, "size": 8, "run": FINAL, "accuracy": accuracy, "macro_f1": accuracy},
    ]
    write_rows(folder / "scores.parquet", runs, SCORES)
    write_json(folder / "train.json", {"student": folder.name})
    return folder


def select(root: Path, students: dict[str, float], human: Any = HUMAN) -> tuple[Path, Path]:
    """Return the folders `selected` and `winner`."""
    build_prepared(root / "prepared", SEEDS, human=human)
    write_records(root / "filtered" / "accepted.parquet", records(ACCEPTED))
    trained = [build_trained(root / "trained" / name, score, n) for n, (name, score) in enumerate(students.items())]
    out = root / "selected", root / "winner"
    run_select(root / "prepared", root / "filtered", trained, *out, SelectParams(metric="accuracy"))
    return out


def test_the_winner_is_recorded_with_its_reason(tmp_path: Path) -> None:
    selected, winner = select(tmp_path, {"poor": 0.5, "good": 0.75})
    record = read_json(selected / "winner.json")
    assert (record["student"], record["task"], record["language"]) == ("good", "demo", "sl")
    assert (record["metric"], record["reason"]) == ("accuracy", "validation accuracy 0.750 against 0.500 of poor")
    assert {name: of["accuracy"] for name, of in record["validation"].items()} == {"poor": 0.5, "good": 0.75}
    assert record["labels"] == ["book", "hours"]
    assert record["digests"] == {
        "model": digest(tmp_path / "trained" / "good" / "model"),
        "accepted": digest(tmp_path / "filtered" / "accepted.parquet"),
    }
    assert read_json(winner / "winner.json") == record


def test_the_winner_stands_alone(tmp_path: Path) -> None:
    _, winner = select(tmp_path, {"poor": 0.5, "good": 0.75})
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
    _, winner = select(tmp_path, {"only": 0.5}, human)
    assert pq.read_schema(winner / "reference.parquet").names == ["label", *PROPERTIES]
    rows = read_rows(winner / "reference.parquet", REFERENCE)
    texts = [text for of_label in (human or SEEDS).values() for text in of_label]
    assert [row["characters"] for row in rows] == [len(text) for text in texts]
    assert {row["label"] for row in rows} <= {"book", "hours"}


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = [select(tmp_path / name, {"poor": 0.5, "good": 0.75}) for name in "ab"]
    assert [digest(folder) for folder in outputs[0]] == [digest(folder) for folder in outputs[1]]


def test_the_test_set_is_out_of_reach(tmp_path: Path) -> None:
    assert set(inspect.signature(run_select).parameters).isdisjoint({"heldout", "evaluated"})
    select(tmp_path, {"only": 0.5})
    (tmp_path / "prepared" / "questions.parquet").unlink()
    run_select(
        tmp_path / "prepared",
        tmp_path / "filtered",
        [tmp_path / "trained" / "only"],
        tmp_path / "s",
        tmp_path / "w",
        SelectParams(metric="accuracy"),
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
    run_train(room("prepared"), room("filtered"), cell.trained("linear"), "linear", params.train)
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
            SelectParams(metric="accuracy"),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
