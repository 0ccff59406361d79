"""The command `polydistill measure`: gates through it and through DVC, and the comparison of teachers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from build import build_prepared, records
from commands import run
from polydistill.files import read_json, write_json
from polydistill.records import REJECTED, to_row, write_records, write_rows
from spaces import GENERATED, HUMAN, REPOSITORY, SEEDS, build_workspace

TEXTS = {label: [text for part in parts for text in part] for label, parts in GENERATED.items()}
STOP = {"measure__gates__language_purity": {"action": "stop", "limit": 0.9}}


def fill(workspace: Path) -> Path:
    """Write what prepare and filter leave in the cell demo/sl, and return the folder of the cell."""
    cell = workspace / "work/demo/sl"
    build_prepared(cell / "prepared", SEEDS, human=HUMAN)
    write_filtered(cell / "filtered", TEXTS)
    return cell


def write_filtered(folder: Path, texts: Mapping[str, Sequence[str]]) -> None:
    write_records(folder / "accepted.parquet", records(texts))
    foreign = {"reason": "wrong_language", "detail": "likelier English"}
    rows = [to_row(record, **foreign) for record in records({"book": ["I would like an appointment."]})]
    write_rows(folder / "rejected.parquet", rows, REJECTED)
    write_rows(folder / "marked.parquet", [], REJECTED)
    content = {"generated": 9, "reasons": {"wrong_language": "another language"}, "language": {"checked": True}}
    write_json(folder / "filter.json", content)


def test_a_gate_stops_the_command_with_all_its_results_written(tmp_path: Path) -> None:
    cell = fill(build_workspace(tmp_path, **STOP))
    code, said = run(tmp_path, "measure")
    assert code == 1
    assert "error: demo/sl: stopped by params.yaml:measure.gates" in said
    assert "error: gate language_purity: 0.889, at least 0.9 wanted" in said
    assert "error:   'I would like an appointment.' (book): likelier English" in said
    assert "Traceback" not in said
    assert not read_json(cell / "measured/gates.json")["gates"]["language_purity"]["passed"]
    assert read_json(cell / "measured/diversity.json")["n"] == 6


def test_a_gate_that_is_passed_lets_the_command_end_well(tmp_path: Path) -> None:
    fill(build_workspace(tmp_path, measure__gates__language_purity={"action": "stop", "limit": 0.85}))
    code, said = run(tmp_path, "measure")
    assert code == 0
    assert "6 texts a side, distinct-2 " in said


def test_an_impossible_gate_is_said(tmp_path: Path) -> None:
    build_workspace(tmp_path, measure__gates__auc={"action": "halt", "limit": 0.9})
    code, said = run(tmp_path, "measure")
    assert code == 2
    assert "measure.gates.auc.action: 'halt' is not allowed" in said


@pytest.mark.slow
def test_what_a_stopped_stage_of_dvc_measured_stays_to_be_read(tmp_path: Path) -> None:
    cell = fill(build_workspace(tmp_path, **STOP))
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert dvc("init", "--no-scm", "--quiet").returncode == 0
    stopped = dvc("repro", "--single-item", "measure@demo/sl")
    assert stopped.returncode != 0
    assert "gate language_purity: 0.889, at least 0.9 wanted" in stopped.stderr + stopped.stdout
    assert read_json(cell / "measured/gates.json")["gates"]["language_purity"]["value"] == pytest.approx(
        8 / 9, abs=1e-5
    )
    assert (cell / "measured/drift.html").stat().st_size > 1_000_000
    assert dvc("repro", "--single-item", "measure@demo/sl").returncode != 0  # and it is not taken for done


def test_teachers_are_ranked_on_the_terminal_and_in_a_file(tmp_path: Path) -> None:
    cell = fill(build_workspace(tmp_path))
    texts = {"llama": TEXTS, "gpt": HUMAN, "tiny": {**HUMAN, "hours": HUMAN["book"], "book": HUMAN["hours"]}}
    for name, of_teacher in texts.items():
        prefixed = {
            label: [f"{name} {number}: {text}" for text in of_label for number in range(4)]
            for label, of_label in of_teacher.items()
        }
        write_filtered(tmp_path / name / "work/demo/sl/filtered", prefixed)
    arguments = [part for name in texts for part in ("--compare-teachers", f"{name}={tmp_path / name}")]
    code = "import sys; sys.stdout = sys.stderr\nfrom polydistill.cli import main; main()"
    done, said = run(tmp_path, "measure", *arguments, code=code)
    assert done == 0, said
    assert "teachers of demo/sl, best first" in said
    assert all(name in said for name in texts)
    told = json.loads((cell / "compared/teachers.json").read_text("utf-8"))
    assert {of["name"] for of in told["teachers"]} == set(texts)
    assert (told["texts"], told["labels"]) == (24, ["book", "hours"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["a"], "--compare-teachers a: wanted NAME=FOLDER", id="no folder"),
        pytest.param(["a=x", "a=y"], "names a twice", id="twice"),
        pytest.param(["a=x"], "takes two or more", id="one teacher"),
        pytest.param(["a=nowhere", "b=nowhere"], "nowhere holds neither accepted.parquet nor", id="nothing there"),
    ],
)
def test_what_is_wrong_with_teachers_to_compare_is_said(tmp_path: Path, arguments: list[str], message: str) -> None:
    build_workspace(tmp_path)
    code, said = run(tmp_path, "measure", *(part for given in arguments for part in ("--compare-teachers", given)))
    assert code == 2
    assert message in said


def test_teachers_are_compared_in_one_cell(tmp_path: Path) -> None:
    build_workspace(tmp_path, cells=["demo/sl", "demo/az"])
    code, said = run(tmp_path, "measure", "--compare-teachers", "a=x", "--compare-teachers", "b=y")
    assert code == 2
    assert "ranks teachers of one cell, and there are 2; name one with --cell" in said
