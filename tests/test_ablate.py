import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from polydistill.ablate import compare_variants, markdown_table, run_ablate
from polydistill.ablate.experiments import run_experiments
from polydistill.ablate.variants import QUESTIONS, Variant, combinations, read_vary, variants_of, with_changes
from polydistill.errors import DataError, ParamsError
from polydistill.files import digest, read_json, write_json
from polydistill.params import Params, check
from polydistill.workspace import Workspace
from spaces import build_workspace, settings


def evaluation(language: str, curve: dict[tuple[str, int], float], final: float, half: float = 0.03) -> dict[str, Any]:
    """Return evaluation.json of a cell, whose intervals go this far to both sides."""
    rows = [
        {"source": source, "size": size, "mean": mean, "interval": [mean - half, mean + half]}
        for (source, size), mean in curve.items()
    ]
    student = {"curve": rows, "final": {"accuracy": final, "interval": {"accuracy": [final - half, final + half]}}}
    return {"task": "demo", "language": language, "students": {"linear": student}}


def test_scores_are_means_over_cells_and_their_intervals_shrink_as_those_of_chance_do() -> None:
    (line,) = compare_variants(
        [
            ("plain", evaluation("sl", {("synthetic", 10): 0.5}, final=0.8, half=0.03)),
            ("plain", evaluation("sw", {("synthetic", 10): 0.6}, final=0.9, half=0.04)),
        ]
    )
    assert (line.variant, line.student, line.source) == ("plain", "linear", "synthetic")
    assert line.scores[10].mean == pytest.approx(0.55)
    assert (line.scores[10].low, line.scores[10].high) == (pytest.approx(0.525), pytest.approx(0.575))  # 0.05 / 2
    assert (line.scores["all"].mean, line.scores["all"].cells) == (pytest.approx(0.85), 2)


def test_the_table_has_a_row_a_variant_and_source_and_a_column_a_size() -> None:
    curve = {("synthetic", 10): 0.5, ("human", 10): 0.6, ("human", 20): 0.7}
    lines = compare_variants([("on", evaluation("sl", curve, 0.8)), ("off", evaluation("sl", curve, 0.75))])
    assert markdown_table(lines).splitlines() == [
        "| variant | student | trained on | 10 | 20 | all |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        "| on | linear | synthetic | 50.0 (47.0–53.0) | – | 80.0 (77.0–83.0) |",
        "| on | linear | human | 60.0 (57.0–63.0) | 70.0 (67.0–73.0) | – |",
        "| off | linear | synthetic | 50.0 (47.0–53.0) | – | 75.0 (72.0–78.0) |",
        "| off | linear | human | 60.0 (57.0–63.0) | 70.0 (67.0–73.0) | – |",
        "",
        "Accuracy in per cent, the mean over cells; in brackets its interval. `all`: the final student.",
    ]


def test_a_score_over_fewer_cells_is_marked() -> None:
    small = evaluation("sl", {("synthetic", 10): 0.5}, 0.8)
    large = evaluation("sw", {("synthetic", 10): 0.5, ("synthetic", 20): 0.7}, 0.8)
    assert "| 70.0 (67.0–73.0), 1 of 2 cells |" in markdown_table(compare_variants([("on", small), ("on", large)]))


def test_variants_of_other_cells_are_not_compared() -> None:
    both = [("on", evaluation("sl", {}, 0.8)), ("off", evaluation("sw", {}, 0.8))]
    with pytest.raises(DataError, match="not evaluated in the same cells: on: demo/sl; off: demo/sw"):
        compare_variants(both)
    with pytest.raises(DataError, match="nothing to compare"):
        compare_variants([])


def test_the_table_the_figure_and_the_numbers_are_written(tmp_path: Path) -> None:
    for variant, final in (("on", 0.8), ("off", 0.7)):
        curve = {("synthetic", 10): 0.5, ("synthetic", 20): final - 0.1}
        write_json(tmp_path / variant / "evaluation.json", evaluation("sl", curve, final))
    folders = [(variant, tmp_path / variant) for variant in ("on", "off")]
    run_ablate(folders, tmp_path / "a")
    run_ablate(folders, tmp_path / "b")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    said = " ".join(ET.parse(tmp_path / "a" / "figure.svg").getroot().itertext())
    assert all(name in said for name in ("on", "off", "mean accuracy over 1 cells", "training texts"))
    lines = read_json(tmp_path / "a" / "ablation.json")["lines"]
    assert [(line["variant"], line["scores"]["all"]["mean"]) for line in lines] == [("on", 0.8), ("off", 0.7)]
    with pytest.raises(DataError, match=r"evaluation\.json is missing; run `polydistill evaluate` first"):
        run_ablate([("on", tmp_path / "nowhere")], tmp_path / "c")


def params() -> Params:
    return check(Params, settings(), "test")


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_variant_of_a_question_can_be_set(question: str) -> None:
    changed = [with_changes(params(), variant.changes) for variant in variants_of(question, {})]
    assert len({repr(of_variant) for of_variant in changed}) == len(changed)


def test_questions_vary_what_they_say() -> None:
    seeds = [with_changes(params(), v.changes).prepare.seeds_per_label for v in QUESTIONS["seeds"]]
    assert seeds == [20, 10, 5, 0]
    on, off = (with_changes(params(), variant.changes).filter for variant in QUESTIONS["filter"])
    assert on == params().filter
    assert (off.checks, off.mark) == (["test_leak"], [])


def test_all_combinations_of_what_is_varied_are_run() -> None:
    vary = read_vary(["teacher.model=big,small", "prepare.seeds_per_label=5,10"])
    assert vary == {"teacher.model": ["big", "small"], "prepare.seeds_per_label": [5, 10]}
    assert [variant.name for variant in combinations(vary)] == [
        "model big, seeds_per_label 5",
        "model big, seeds_per_label 10",
        "model small, seeds_per_label 5",
        "model small, seeds_per_label 10",
    ]
    assert variants_of("alignment", vary) == combinations(vary)


def test_settings_that_belong_together_change_together() -> None:
    vary = read_vary(["teacher.model=big,small", "train.lora.model,train.lora.revision=[C,abc],[D,null]"])
    variants = combinations(vary)
    assert [variant.name for variant in variants[:2]] == [
        "teacher.model big, lora.model C, revision abc",
        "teacher.model big, lora.model D, revision None",
    ]
    assert variants[3].changes == {"teacher.model": "small", "train.lora.model": "D", "train.lora.revision": None}
    with pytest.raises(ParamsError, match="C is no list of 2 values, one for each key"):
        combinations(read_vary(["train.lora.model,train.lora.revision=C,D"]))


def test_small_numbers_can_be_varied() -> None:
    assert read_vary(["train.encoder.learning_rate=2e-5,1e-4"]) == {"train.encoder.learning_rate": [2e-5, 1e-4]}


@pytest.mark.parametrize("question", ["../elsewhere", "a/b", "", "-x", "seeds-variants"])
def test_a_question_is_a_name(tmp_path: Path, question: str) -> None:
    build_workspace(tmp_path)
    with pytest.raises(ParamsError, match="a name is of small letters"):
        run_experiments(Workspace.open(tmp_path), question, QUESTIONS["seeds"], tmp_path / "ablated")


def test_variants_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    build_workspace(tmp_path)
    twins = [Variant("rate 0.5", {}), Variant("rate 0,5", {})]
    with pytest.raises(ParamsError, match="two variants have one name: rate 0.5; rate 0,5"):
        run_experiments(Workspace.open(tmp_path), "rate", twins, tmp_path / "ablated")


def test_lists_can_be_varied() -> None:
    assert read_vary(["filter.checks=[],[empty]"]) == {"filter.checks": [[], ["empty"]]}


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        pytest.param(["train.runs"], "wanted KEY=VALUE,VALUE", id="no value"),
        pytest.param(["=3"], "wanted KEY=VALUE,VALUE", id="no key"),
        pytest.param(["train.runs=[1"], "the values are not YAML", id="no YAML"),
    ],
)
def test_what_cannot_be_varied_is_said(vary: list[str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        read_vary(vary)


def test_an_unknown_question_is_said() -> None:
    with pytest.raises(ParamsError, match="ablate alignment: say what varies, .* only seeds, strategy, filter, source"):
        variants_of("alignment", {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"train.rnus": 3}, "train.rnus is no setting", id="unknown key"),
        pytest.param({"train.runs.more": 3}, "train.runs.more is no setting", id="too deep"),
        pytest.param({"train.runs": 0}, "train.runs: 0 is not allowed", id="impossible value"),
    ],
)
def test_changes_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        with_changes(params(), changes)
