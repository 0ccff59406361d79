import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from cards import NOT_COUNTED, asked, make_card
from polydistill.errors import DataError, MissingExtraError
from polydistill.files import digest, write_json
from polydistill.package import model_card, pinned_requirements, run_package
from polydistill.params import PackageParams
from winners import SLOVENIAN, SWAHILI, build_winner

PARAMS = PackageParams(name="polydistill")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with winners/, cards/ and the bento/ made of them."""
    work = tmp_path_factory.mktemp("work")
    build_winner(work, "clinic/sl", SLOVENIAN)
    build_winner(work, "clinic/sw", SWAHILI)
    run_package(work / "winners", work / "cards", work / "bento", PARAMS)
    return work


def test_the_same_winners_give_the_same_bytes_and_nothing_goes_to_the_users_store(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "store"))
    run_package(work / "winners", work / "cards", tmp_path / "bento", PARAMS)
    assert digest(tmp_path / "bento") == digest(work / "bento")
    assert not (tmp_path / "store").exists()


def test_another_winner_gives_another_version(work: Path, tmp_path: Path) -> None:
    build_winner(tmp_path, "clinic/sl", SLOVENIAN)
    run_package(tmp_path / "winners", tmp_path / "cards", tmp_path / "bento", PARAMS)
    first, second = (yaml.safe_load((folder / "bento" / "bento.yaml").read_text()) for folder in (work, tmp_path))
    assert first["name"] == second["name"] == "polydistill"
    assert first["version"] != second["version"]


def test_the_bento_answers_where_polydistill_is_not_installed_and_reports_no_usage(work: Path, tmp_path: Path) -> None:
    bento = shutil.copytree(work / "bento", tmp_path / "moved")
    program = """
import sys
sys.path.append(sys.argv[2])
import importlib.util
found = importlib.util.find_spec("polydistill")
assert found is None or found.origin is None  # an editable install leaves a folder without code
import bentoml
from bentoml._internal.utils.analytics import usage_stats
assert not usage_stats.do_not_track()  # as `bentoml serve` asks before it loads the service
service = bentoml.load(sys.argv[1])()
assert usage_stats.do_not_track()
request = type(service).classify.input_spec(texts=["Siwezi kufika, ondoeni jina langu."])
import polydistill
print(polydistill.__file__, service.classify(request).predictions[0].label)
"""
    # -S leaves out the path files of site-packages, by which an editable install is found, -I leaves out PYTHONPATH.
    command = [sys.executable, "-I", "-S", "-c", program, str(bento), sysconfig.get_path("purelib")]
    environment = {name: value for name, value in os.environ.items() if name != "BENTOML_DO_NOT_TRACK"}
    environment["BENTOML_HOME"] = str(tmp_path / "store")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(bento / "src" / "polydistill" / "__init__.py"), "cancel"]


def test_the_bento_holds_no_text_of_a_person(work: Path) -> None:
    texts = [text for of_cell in (SLOVENIAN, SWAHILI) for of_label in of_cell.values() for text in of_label]
    files = [file for file in (work / "bento").rglob("*") if file.is_file()]
    assert [f for f in files if f.suffix == ".parquet" or f.name == "known_answers.json"] == []
    assert [f for f in files for text in texts if text.encode() in f.read_bytes()] == []


def test_requirements_are_pinned_to_what_is_installed_and_name_what_serving_needs(work: Path) -> None:
    lines = (work / "bento" / "env" / "python" / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines)
    assert {"bentoml", "scikit-learn", "py3langid", "uvicorn"} <= pins.keys()  # uvicorn: BentoML needs it
    assert pins.keys().isdisjoint({"polydistill", "dvc", "kfp", "evidently", "matplotlib", "pytest"})
    assert pins["scikit-learn"] == metadata.version("scikit-learn")


def test_something_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.distribution

    def without_uvicorn(name: str) -> metadata.Distribution:
        if name == "uvicorn":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "distribution", without_uvicorn)
    with pytest.raises(MissingExtraError, match=r"uvicorn is not installed.*pip install 'polydistill\[serve\]'"):
        pinned_requirements("serve")


def test_an_extra_that_the_installed_version_does_not_know_is_said() -> None:
    with pytest.raises(MissingExtraError, match=r"before it had the extra serve-quantum, .*\[serve-quantum\]'"):
        pinned_requirements("serve-quantum")


def test_the_container_reports_no_usage(work: Path) -> None:
    assert "BENTOML_DO_NOT_TRACK=True" in (work / "bento" / "env" / "docker" / "Dockerfile").read_text()


def test_the_model_card_tells_of_each_language_and_of_a_student_behind_its_teacher() -> None:
    card = model_card("polydistill", [make_card("sl", final=0.85), make_card("az", final=0.7, teacher=0.8)])
    assert "for Slovenian and Azerbaijani," in card
    assert "| Slovenian (`sl`) | linear | 100 | 85.0\u00a0% (78.0–92.0) |" in card
    assert "- In Azerbaijani (clinic) the student is less accurate than its teacher." in card
    assert "- In Slovenian" not in card


def test_the_model_card_of_several_tasks_without_a_teachers_scores() -> None:
    labels = [{"name": "a|b", "description": "either\nor", "accepted": 1, "rejected": 0}]
    card = model_card("polydistill", [make_card("sl"), make_card("sl", "news", teacher=None, labels=labels)])
    assert "for Slovenian, in one" in card
    assert "| `a\\|b` | either or |" in card
    assert '"task": "clinic"' in card
    assert "- Slovenian (news), on the teacher's scores: zero-shot was switched off" in card


def test_the_model_card_tells_what_was_asked_of_the_teacher() -> None:
    shown = model_card("polydistill", [make_card("sl")]).replace("\N{NO-BREAK SPACE}", " ")
    assert "| Slovenian | generate | 32 | 0 | 0 | 16,000 | 6,400 | 0.0352 | 1 min 4 s |" in shown
    assert "| Slovenian | **sum** | 62 | 0 | 0 | 31,000 | 12,400 | 0.0682 | 2 min 4 s |" in shown
    assert "| Slovenian | plain | structured | 250 | 4 | 2 |" in shown
    assert "- Slovenian, `prescription`: 4 missing: 3 × nearly the same as another text of the label; 2 × the" in shown
    assert "| Slovenian | 300 | 90.0 % | 3.0 % | 5.0 % | 2.0 % | 27 (wrong language 27) | 3 |" in shown


def test_the_model_card_of_a_recording_that_counts_nothing_and_no_judge() -> None:
    generation = make_card("sl").generation.model_copy(update={"judge": None, "shortfall": [], "unreadable": []})
    rows = [asked("generate", 30, **NOT_COUNTED)]
    shown = model_card("polydistill", [make_card("sl", asked=rows).model_copy(update={"generation": generation})])
    assert "| Slovenian | **sum** | 30 | 0 | 0 | – | – | – | – |" in shown
    assert "as judge" not in shown


def test_what_a_server_says_is_no_markup_in_the_model_card() -> None:
    hostile = "<script>alert(1)</script> | [a](http://b) `c` *d* _e_ snake_case"
    teacher = make_card("sl").teacher.model_copy(update={"model": hostile, "note": hostile})
    rows = [asked("generate", 30, failed=1, failures=[{"reason": hostile, "count": 1}])]
    shown = model_card("polydistill", [make_card("sl", asked=rows).model_copy(update={"teacher": teacher})])
    escaped = r"\<script\>alert(1)\</script\> \| \[a\](http://b) \`c\` \*d\* \_e\_ snake_case"
    assert shown.count(escaped) == 3
    assert "<script>" not in shown.replace(escaped, "")


@pytest.fixture
def changed(work: Path, tmp_path: Path) -> Path:
    """Return a copy of winners/ and cards/ to break."""
    for name in ("winners", "cards"):
        shutil.copytree(work / name, tmp_path / name)
    return tmp_path


def refusal(work: Path) -> str:
    with pytest.raises(DataError) as refused:
        run_package(work / "winners", work / "cards", work / "bento", PARAMS)
    assert not (work / "bento").exists()
    return str(refused.value)


def test_no_winner_says_what_to_run(tmp_path: Path) -> None:
    assert "holds no winner; run `polydistill select` first" in refusal(tmp_path)


def test_a_model_that_was_changed_is_found_out(changed: Path) -> None:
    student = changed / "winners" / "clinic" / "sl" / "model" / "student.json"
    student.write_text(student.read_text().replace("book", "cook"))
    assert "clinic/sl/model is not the model that winner.json tells of; run `polydistill select` again" in refusal(
        changed
    )


def test_a_missing_card_says_what_to_run(changed: Path) -> None:
    (changed / "cards" / "clinic" / "sw" / "card.json").unlink()
    assert "clinic/sw/card.json is missing; run `polydistill card` first" in refusal(changed)


def test_a_card_of_another_winner_is_found_out(changed: Path) -> None:
    file = changed / "cards" / "clinic" / "sw" / "card.json"
    card = json.loads(file.read_text())
    card["winner"]["digests"]["model"] = "0" * 64
    write_json(file, card)
    assert "clinic/sw/card.json tells of another winner than" in refusal(changed)
