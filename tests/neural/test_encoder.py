import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

pytest.importorskip("onnxruntime", reason="polydistill[encoder] is not installed")
torch = pytest.importorskip("torch", reason="polydistill[encoder] is not installed")
pytest.importorskip("transformers", reason="polydistill[encoder] is not installed")

import httpx  # noqa: E402
from huggingface_hub.errors import (  # noqa: E402
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tiny import LONGEST, XLMR, make_other, texts_of  # noqa: E402
from transformers import (  # noqa: E402
    BertForMaskedLM,
    DistilBertForMaskedLM,
    PreTrainedModel,
    XLMRobertaForSequenceClassification,
)

from polydistill.errors import DataError, ParamsError, PolydistillError  # noqa: E402
from polydistill.files import digest  # noqa: E402
from polydistill.students import Labelled, exporting, hub, load_student  # noqa: E402
from polydistill.students.encoder import EncoderStudent  # noqa: E402
from polydistill.students.finetune import steady  # noqa: E402
from polydistill.students.pretrained import CompactEmbedding  # noqa: E402

pytestmark = pytest.mark.torch

TEXTS, LABELS = texts_of("sl", "human")  # 20 of each of 5 labels
SEEDS = Labelled(*texts_of("sl", "seeds"))  # 10 of each
NEW, RIGHT = texts_of("sl", "test")
FEW, FEW_LABELS = TEXTS[:24], LABELS[:24]

PLAIN: dict[str, Any] = {
    "revision": None,
    "max_tokens": LONGEST,
    "learning_rate": 3e-3,
    "layer_decay": None,
    "label_smoothing": 0.0,
    "r_drop": 0.0,
    "held_out": 0.0,
    "patience": None,
    "weight_decay": 0.0,
    "seed": 3,
}
LEARNS = {"epochs": 10, "min_steps": 150}
QUICK = {"epochs": 2, "min_steps": 0, "batch_size": 8, "restarts": 0}
"""Six steps, which teach next to nothing."""


def make(xlmr: Path, **settings: Any) -> EncoderStudent:
    return EncoderStudent(**PLAIN | {"model": str(xlmr)} | settings)


def quick(xlmr: Path, **settings: Any) -> EncoderStudent:
    return make(xlmr, **QUICK | settings).fit(FEW, FEW_LABELS)


def saved(student: EncoderStudent, folder: Path) -> Path:
    folder.mkdir()
    student.save(folder)
    return folder


def accuracy(student: EncoderStudent, texts: list[str], labels: list[str]) -> float:
    return float(np.mean(np.array(student.predict(texts)) == labels))


@pytest.fixture(scope="module")
def learned(xlmr: Path) -> EncoderStudent:
    """A student that has learned the demo's task, with all that steadies a training switched on.

    The settings are the best of six by cross-validation on the texts that it learns from.
    """
    switches = {"layer_decay": 0.9, "label_smoothing": 0.1, "r_drop": 0.5, "weight_decay": 0.1}
    student = make(xlmr, epochs=10, min_steps=200, learning_rate=2e-3, **switches)
    return student.fit([*TEXTS, *SEEDS.texts], [*LABELS, *SEEDS.labels])


@pytest.fixture(scope="module")
def model(learned: EncoderStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that student, with the answers that PyTorch gave before it was saved."""
    folder = tmp_path_factory.mktemp("saved")
    np.save(folder / "before.npy", learned.predict_proba(NEW))
    return saved(learned, folder / "model")


def test_it_learns_the_task_of_the_demo(learned: EncoderStudent) -> None:
    assert accuracy(learned, TEXTS, LABELS) >= 0.8
    # By chance it would be 0.2 of 100 texts, with a standard error of 0.04.
    assert accuracy(learned, NEW, RIGHT) >= 0.2 + 3 * 0.04


def test_it_says_how_it_was_trained(learned: EncoderStudent) -> None:
    known = {
        name: learned.training_[name] for name in ("steps", "restarts", "collapsed", "held_out_texts", "precision")
    }
    assert known == {"steps": 200, "restarts": 0, "collapsed": "", "held_out_texts": 0, "precision": "fp32"}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertForMaskedLM, XLMR),
        (DistilBertForMaskedLM, {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128, "initializer_range": 0.05}),
    ],
    ids=["bert", "distilbert"],
)
def test_other_architectures_learn_too(kind: type[PreTrainedModel], config: dict[str, Any], tmp_path: Path) -> None:
    student = make(make_other(tmp_path, kind, config), **LEARNS).fit(FEW, FEW_LABELS)
    assert accuracy(student, FEW, FEW_LABELS) >= 0.8


def test_it_comes_back_the_same_and_without_pytorch(model: Path, learned: EncoderStudent, tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from pathlib import Path
from polydistill.students import load_student
student = load_student(Path(sys.argv[1]))
np.save(sys.argv[2], student.predict_proba(sys.argv[3:]))
assert not {"torch", "transformers", "onnx"}.intersection(sys.modules), "PyTorch is imported"
"""
    subprocess.run([sys.executable, "-c", program, model, tmp_path / "answers.npy", *NEW], check=True, timeout=60)
    assert np.array_equal(np.load(tmp_path / "answers.npy"), learned.predict_proba(NEW))
    assert np.abs(learned.predict_proba(NEW) - np.load(model.parent / "before.npy")).max() < 0.1


def test_saving_what_was_loaded_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    assert digest(saved(load_student(model), tmp_path / "again")) == digest(model)


def test_an_answer_does_not_depend_on_what_else_is_asked(model: Path) -> None:
    student = load_student(model)
    alone = np.concatenate([student.predict_proba([text]) for text in NEW[:5]])
    assert np.array_equal(student.predict_proba(NEW)[:5], alone)


def test_int8_is_smaller_and_answers_alike(model: Path) -> None:
    parity = json.loads((model / "student.json").read_text(encoding="utf-8"))["parity"]
    assert parity["served"] == "int8"
    assert parity["int8_agreement"] >= exporting.MIN_AGREEMENT
    assert parity["max_difference"] <= exporting.MAX_DIFFERENCE
    assert sorted(file.name for file in model.iterdir()) == ["model.onnx", "student.json", "tokenizer.json"]


def test_int8_that_answers_otherwise_gives_way(
    xlmr: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporting, "MIN_AGREEMENT", 1.01)
    student = quick(xlmr)
    before = student.predict_proba(NEW)
    folder = saved(student, tmp_path / "model")
    assert json.loads((folder / "student.json").read_text(encoding="utf-8"))["parity"]["served"] == "fp32"
    assert "it is served in fp32" in caplog.text
    assert (folder / "model.onnx").stat().st_size > 2 * (model / "model.onnx").stat().st_size
    assert load_student(folder).predict_proba(NEW) == pytest.approx(before, abs=1e-5)


def test_onnx_that_answers_otherwise_is_no_student(xlmr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(PolydistillError, match="as ONNX the student answers otherwise than as trained"):
        saved(quick(xlmr), tmp_path / "model")


def test_a_damaged_student_is_said(model: Path, tmp_path: Path) -> None:
    """Each file of it in turn cut in half, emptied and taken away."""
    folder = shutil.copytree(model, tmp_path / "model")
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for damage in (whole[: len(whole) // 2], b""):
            file.write_bytes(damage)
            with pytest.raises(DataError, match="model"):
                load_student(folder)
        file.unlink()
        with pytest.raises(DataError, match=f"{file.name} is missing"):
            load_student(folder)
        file.write_bytes(whole)
    load_student(folder)


def test_without_training_it_says_nothing(xlmr: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make(xlmr).predict(["a"])
    with pytest.raises(NotFittedError):
        make(xlmr).save(tmp_path)


def test_the_same_seed_is_the_same_student(xlmr: Path) -> None:
    first = quick(xlmr, r_drop=0.5).predict_proba(NEW)
    assert np.array_equal(quick(xlmr, r_drop=0.5).predict_proba(NEW), first)
    assert not np.array_equal(quick(xlmr, r_drop=0.5, seed=4).predict_proba(NEW), first)


def test_random_numbers_and_switches_of_the_caller_are_left_alone(xlmr: Path) -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(1)
    torch.manual_seed(1)
    before = torch.are_deterministic_algorithms_enabled(), np.random.get_state()[1].tolist()  # noqa: NPY002
    quick(xlmr)
    assert torch.equal(torch.rand(1), expected)
    assert (torch.are_deterministic_algorithms_enabled(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_what_is_shared_changes_no_result(xlmr: Path) -> None:
    alone = quick(xlmr).predict_proba(NEW)
    shared = make(xlmr).share([*TEXTS, *NEW])
    for _ in range(2):  # what the first training did must not be there in the second
        student = make(xlmr, **QUICK)
        student.shared = shared
        assert np.array_equal(student.fit(FEW, FEW_LABELS).predict_proba(NEW), alone)


def test_two_students_of_one_base_do_not_mix(xlmr: Path) -> None:
    shared = make(xlmr).share(TEXTS)
    first, second = make(xlmr, **QUICK), make(xlmr, **QUICK | {"seed": 9})
    first.shared = second.shared = shared
    answers = first.fit(FEW, FEW_LABELS).predict_proba(NEW)
    second.fit(TEXTS, LABELS)
    assert np.array_equal(first.predict_proba(NEW), answers)


@pytest.mark.parametrize(
    "setting",
    [
        {"label_smoothing": 0.2},
        {"r_drop": 1.0},
        {"layer_decay": 0.5},
        {"warmup": 0.0},
        {"weight_decay": 0.5},
        {"accumulate": 2},
        {"min_steps": 12},
        {"length_buckets": False},
        {"precision": "bf16"},
        {"held_out": 0.3},
        {"max_tokens": 8},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_switch_does_something(xlmr: Path, setting: dict[str, Any]) -> None:
    assert not np.array_equal(quick(xlmr, **setting).predict_proba(NEW), quick(xlmr).predict_proba(NEW))


def test_the_weight_of_r_drop_counts(xlmr: Path) -> None:
    assert not np.array_equal(quick(xlmr, r_drop=1.0).predict_proba(NEW), quick(xlmr, r_drop=3.0).predict_proba(NEW))


def test_few_texts_are_passed_through_more_often(xlmr: Path) -> None:
    assert quick(xlmr, epochs=2, min_steps=0).training_["steps"] == 6  # 24 texts in eights, twice
    assert quick(xlmr, epochs=2, min_steps=20).training_["steps"] == 20
    assert quick(xlmr, epochs=2, accumulate=3).training_["steps"] == 2


def test_texts_are_held_out_where_every_label_has_enough(xlmr: Path) -> None:
    student = make(xlmr, **QUICK | {"held_out": 0.1}).fit(TEXTS, LABELS)
    assert (student.training_["held_out_texts"], student.training_["training_texts"]) == (10, 90)  # 2 of 20, 5 times
    uneven = make(xlmr, **QUICK | {"held_out": 0.1}).fit(FEW, ["book"] * 15 + ["hours"] * 9)
    assert uneven.training_["held_out_texts"] == 0  # 9 are too few


def test_unused_seeds_are_stopped_by(xlmr: Path) -> None:
    strange = Labelled([*SEEDS.texts, "?"], [*SEEDS.labels, "a label that no training text has"])
    student = make(xlmr, **QUICK).fit(FEW, FEW_LABELS, strange)
    assert (student.training_["held_out_texts"], student.training_["training_texts"]) == (50, 24)


def test_the_training_stops_where_it_brings_nothing_more(xlmr: Path) -> None:
    settings = LEARNS | {"epochs": 15}
    patient = make(xlmr, **settings).fit(TEXTS, LABELS, SEEDS)
    hasty = make(xlmr, **settings | {"patience": 1}).fit(TEXTS, LABELS, SEEDS)
    assert patient.training_["steps"] == 150
    assert hasty.training_["steps"] < 150
    for student in (patient, hasty):  # the best of all states it was in, not the last
        assert accuracy(student, list(SEEDS.texts), list(SEEDS.labels)) == student.training_["held_out_accuracy"]
    assert patient.training_["held_out_accuracy"] >= hasty.training_["held_out_accuracy"]


def test_a_collapsed_training_starts_again(xlmr: Path, caplog: pytest.LogCaptureFixture) -> None:
    student = make(xlmr, **QUICK | {"restarts": 2, "learning_rate": 1000.0}).fit(FEW, FEW_LABELS)
    assert student.training_["restarts"] == 2
    assert student.training_["collapsed"] != ""
    assert "attempt 3 of 3 collapsed: the loss did not fall" in caplog.text


def test_who_always_says_the_commonest_label_has_learned_nothing(xlmr: Path) -> None:
    rare = ["book"] * 22 + ["hours"] * 2
    student = make(xlmr, **QUICK | {"epochs": 4}).fit(FEW, rare)
    assert student.predict(FEW) == ["book"] * 24
    assert (
        student.training_["collapsed"]
        == "it gets 92% of its own texts right, no more than who always says the commonest label"
    )


def test_who_gets_no_more_of_the_held_out_texts_right_has_learned_nothing(xlmr: Path) -> None:
    others = [text for text, label in zip(TEXTS, LABELS, strict=True) if label != "prescription"]
    wrong = ["prescription"] * (len(others) - 1) + ["opening_hours"]
    student = make(xlmr, **LEARNS | {"restarts": 0}).fit(TEXTS, LABELS, Labelled(others, wrong))
    assert "of the held-out texts right, no more than" in str(student.training_["collapsed"])


def test_held_out_texts_of_one_label_tell_nothing_of_a_collapse(xlmr: Path) -> None:
    of_one = [text for text, label in zip(TEXTS, LABELS, strict=True) if label == "prescription"]
    student = make(xlmr, **LEARNS | {"restarts": 0}).fit(TEXTS, LABELS, Labelled(of_one, ["prescription"] * 20))
    assert student.training_["collapsed"] == ""


def through(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, int, Any], Any]) -> None:
    """Put `change` between the model and its caller; it gets the number of the call, that of the texts, the logits."""
    calls, forward = iter(range(1_000_000)), XLMRobertaForSequenceClassification.forward

    def changed(self: Any, input_ids: Any, **rest: Any) -> Any:
        output = forward(self, input_ids=input_ids, **rest)
        output.logits = change(next(calls), len(input_ids), output.logits)
        return output

    monkeypatch.setattr(XLMRobertaForSequenceClassification, "forward", changed)


def test_a_loss_that_is_no_number_starts_again(xlmr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, lambda call, _, logits: logits * float("nan") if call == 1 else logits)
    student = make(xlmr, **PLAIN | LEARNS | {"restarts": 1}).fit(TEXTS, LABELS)
    assert student.training_["restarts"] == 1
    assert student.training_["learning_rate"] == 1.5e-3  # half of it
    assert accuracy(student, TEXTS, LABELS) >= 0.8


def test_a_loss_that_never_is_a_number_is_said(xlmr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, lambda _, __, logits: logits * float("nan"))
    with pytest.raises(PolydistillError, match="in all 2 attempts: the loss is no number; set train.encoder.learn"):
        quick(xlmr, restarts=1)


def room_for(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    def full(_: int, texts: int, logits: Any) -> Any:
        if texts > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits

    through(monkeypatch, full)


def test_out_of_memory_makes_smaller_batches_of_the_same_steps(
    xlmr: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = quick(xlmr, batch_size=2, accumulate=4).predict_proba(NEW)
    room_for(monkeypatch, 3)
    student = quick(xlmr, batch_size=8)
    assert (student.training_["batch_size"], student.training_["steps"]) == (2, 6)
    assert "out of memory; starting again with 2 texts at once, and still 8 a step" in caplog.text
    assert student.predict_proba(NEW) == pytest.approx(wanted, abs=1e-6)


def test_a_step_is_the_same_in_small_batches(xlmr: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    whole = quick(folder, batch_size=8).predict_proba(NEW)
    assert quick(folder, batch_size=3, accumulate=3).predict_proba(NEW) != pytest.approx(whole, abs=1e-3)
    assert quick(folder, batch_size=2, accumulate=4).predict_proba(NEW) == pytest.approx(whole, abs=1e-3)


def test_no_memory_for_a_single_text_is_said(xlmr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room_for(monkeypatch, 0)
    with pytest.raises(PolydistillError, match="out of memory with a single text at once; lower"):
        quick(xlmr)


def test_one_label_is_nothing_to_learn(xlmr: Path) -> None:
    with pytest.raises(DataError, match=r"two labels or more, got \['book'\]"):
        make(xlmr).fit(["a", "b"], ["book", "book"])


def test_a_processor_does_one_training_at_a_time(xlmr: Path) -> None:
    assert make(xlmr).at_once() == 1 or torch.cuda.is_available()


def test_no_text_has_no_probabilities(learned: EncoderStudent) -> None:
    assert learned.predict_proba([]).shape == (0, 5)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("config.json", "has no config.json, so it is no model of Transformers"),
        ("model.safetensors", r"has no weights \(model.safetensors\)$"),
        ("tokenizer.json", r"has no tokenizer \(tokenizer.json\)"),
    ],
)
def test_a_folder_that_lacks_something_is_said(xlmr: Path, tmp_path: Path, gone: str, said: str) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    (folder / gone).unlink()
    with pytest.raises(DataError, match=f"train.encoder.model: {folder} {said}"):
        quick(folder)


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_said(xlmr: Path, tmp_path: Path, damaged: str) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    (folder / damaged).write_bytes((folder / damaged).read_bytes()[:100])
    with pytest.raises(DataError, match=f"{folder}: no (model|tokenizer) loads from there"):
        quick(folder)


def test_weights_that_may_hold_code_are_not_read(xlmr: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="pytorch_model.bin is not read, since such a file may hold code"):
        quick(folder)


def test_code_beside_a_model_is_not_run(xlmr: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    with pytest.raises(DataError, match="loads from there"):
        quick(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_said(xlmr: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(xlmr, tmp_path / "xlmr")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "distilbert"}), encoding="utf-8")
    with pytest.raises(DataError, match="they are of another model|loads from there"):
        quick(folder)


def test_texts_longer_than_the_model_reads_are_said(xlmr: Path) -> None:
    with pytest.raises(ParamsError, match=f"max_tokens 65 is more than .* can read; set it to {LONGEST} or less"):
        quick(xlmr, max_tokens=65)


def test_a_name_needs_a_revision(xlmr: Path) -> None:
    with pytest.raises(ParamsError, match="a name at the Hugging Face hub needs a revision too"):
        EncoderStudent(model="some/model", revision=None).fit(FEW, FEW_LABELS)
    with pytest.raises(ParamsError, match="is a folder, which has no revision; set revision: null"):
        EncoderStudent(model=str(xlmr), revision="a" * 40).fit(FEW, FEW_LABELS)
    with pytest.raises(DataError, match="there is no folder ./models/xlmr"):
        EncoderStudent(model="./models/xlmr", revision=None).fit(FEW, FEW_LABELS)


def test_a_hub_out_of_reach_is_said_with_the_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as error:
        hub.model_folder("some/model", "a" * 40, "train.encoder")
    assert f"hf download some/model --revision {'a' * 40} --local-dir DIR" in str(error.value)
    assert "set train.encoder.model: DIR and train.encoder.revision: null" in str(error.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            GatedRepoError,
            "open only to those who accept its licence; do so on its page at the Hugging Face hub, then set",
        ),
        (RepositoryNotFoundError, "the Hugging Face hub has no model some/model, and there is no folder of that name"),
        (RevisionNotFoundError, f"train.encoder.revision: some/model has no commit {'a' * 40}"),
    ],
)
def test_what_the_hub_refuses_is_said(error: type[HfHubHTTPError], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise error("no", response=httpx.Response(403, request=httpx.Request("GET", "https://hub.invalid")))

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(DataError, match=said):
        hub.model_folder("some/model", "a" * 40, "train.encoder")


def test_the_rows_that_are_used_learn_as_in_the_whole_table() -> None:
    whole = torch.nn.Embedding(50, 4, padding_idx=1)
    compact = CompactEmbedding(whole, [7, 30, 2])
    ids, target = torch.tensor([[2, 30, 30, 1], [7, 2, 1, 1]]), torch.rand(2, 4, 4)
    for table in (whole, compact):
        optimizer = torch.optim.AdamW(table.parameters(), lr=0.1, weight_decay=0.0)
        for _ in range(3):
            optimizer.zero_grad()
            ((table(ids) - target) ** 2).sum().backward()
            optimizer.step()
    assert len(compact.weight) == 4
    assert torch.equal(compact.put_into(torch.nn.Embedding.from_pretrained(whole.weight.detach())).weight, whole.weight)
    assert torch.equal(compact(ids), whole(ids))


def test_a_block_that_fails_leaves_the_switches_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), steady(torch.device("cpu")):
        assert torch.are_deterministic_algorithms_enabled()
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()
