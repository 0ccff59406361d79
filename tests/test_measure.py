"""What `measure` says of a cell, in its files and on the terminal; its parts have tests of their own."""

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from build import build_prepared, records
from polydistill.checks import Context, open_checks
from polydistill.errors import DataError
from polydistill.files import digest, read_json, read_yaml, write_json
from polydistill.filter import filter_samples
from polydistill.measure import GateError, require_gates, run_measure
from polydistill.measure.gates import OTHER_LANGUAGE, REPEATS, found_examples, found_share
from polydistill.measure.page import number_ids
from polydistill.measure.sampling import matched
from polydistill.params import FilterParams, GatesParams, MeasureParams
from polydistill.records import REJECTED, Sample, to_row, write_records, write_rows

HUMAN = {
    "book": [
        "rabim termin čimprej",
        "A lahko pridem jutri?",
        "Naročila bi se k zobarju, 3 dni me že boli!",
        "imate kaj prostega v petek popoldne",
        "Sina bi rad prijavil na sistematski pregled.",
    ],
    "hours": [
        "do kdaj ste odprti",
        "A v soboto delate?",
        "Kdaj se odpre lekarna v 1. nadstropju?",
        "ste med prazniki zaprti, prosim za info",
        "Ob kateri uri začne z delom laboratorij?",
    ],
}
SYNTHETIC = {
    "book": [f"Prosim za termin pri {who}." for who in ("zdravniku", "zobarju", "okulistu", "kirurgu", "pediatru")],
    "hours": [f"Kdaj je odprta {what}?" for what in ("lekarna", "ambulanta", "recepcija", "pisarna", "blagajna")],
}
REPEATED = {"book": ["Prosim za termin pri zdravniku"]}
GATES = tuple(GatesParams.model_fields)
REPOSITORY = Path(__file__).parents[1]
DEFAULTS = read_yaml(REPOSITORY / "params.yaml")["measure"]


def gates(**changes: dict[str, Any]) -> GatesParams:
    """Return gates that are off, but for these."""
    return GatesParams.model_validate({name: {"action": "off", "limit": 0.5} | changes.get(name, {}) for name in GATES})


def build(root: Path, human: dict[str, list[str]] | None, synthetic: dict[str, list[str]]) -> None:
    build_prepared(root / "prepared", {label: texts[:2] for label, texts in HUMAN.items()}, human=human)
    write_records(root / "filtered" / "accepted.parquet", records(synthetic))
    repeated = [to_row(r, reason="near_duplicate", detail="0.97 like: another") for r in records(REPEATED)]
    write_rows(root / "filtered" / "rejected.parquet", repeated, REJECTED)
    accepted = len(records(synthetic))
    write_rows(root / "filtered" / "marked.parquet", [], REJECTED)
    reasons = {"copied_seed": "", "near_duplicate": "", "wrong_language": ""}
    content = {"generated": accepted + 1, "reasons": reasons, "language": {"checked": True}}
    write_json(root / "filtered" / "filter.json", content)


def run(
    root: Path,
    *,
    human: dict[str, list[str]] | None = None,
    synthetic: dict[str, list[str]] = SYNTHETIC,
    gates: GatesParams = gates(),  # noqa: B008
    max_texts: int = 100,
) -> Path:
    build(root, human, synthetic)
    measure(root, gates, max_texts)
    return root / "measured"


def measure(root: Path, gates: GatesParams, max_texts: int = 100) -> dict[str, dict[str, Any]]:
    """Measure what was built, and return what became of the gates."""
    params = MeasureParams(max_texts=max_texts, seed=1, embedding_model=None, gates=gates)
    run_measure(root / "prepared", root / "filtered", root / "measured", params)
    told: dict[str, dict[str, Any]] = read_json(root / "measured" / "gates.json")["gates"]
    return told


def test_both_sides_get_equal_numbers_of_each_label() -> None:
    synthetic = records({"a": [f"a {i}" for i in range(9)], "b": [f"b {i}" for i in range(9)], "c": ["c"]})
    human = records({"a": [f"A {i}" for i in range(20)], "b": ["B 1", "B 2"]}, "human")
    for side in matched(synthetic, human, max_texts=100, seed=1):
        assert Counter(r.label for r in side) == {"a": 9, "b": 2}
    for side in matched(synthetic, human, max_texts=6, seed=1):
        assert Counter(r.label for r in side) == {"a": 4, "b": 2}
    assert matched(synthetic[::-1], human[::-1], max_texts=6, seed=1) == matched(synthetic, human, max_texts=6, seed=1)


def test_more_varied_human_text_scores_as_more_varied(tmp_path: Path) -> None:
    facts = read_json(run(tmp_path, human=HUMAN) / "diversity.json")
    assert (facts["compared_with"], facts["n"]) == ("human", 10)
    signs = {"larger = more varied": -1, "more varied in": -1, "less predictable": -1, "larger = more alike": 1}
    judged = set()
    for name, measure in facts["measures"].items():
        for words, sign in signs.items():
            if words in measure["meaning"] or (name == "compression_ratio" and sign == 1):
                assert sign * measure["difference"] > 0, name
                assert measure["difference"] == pytest.approx(measure["synthetic"] - measure["human"], abs=1e-3)
                judged.add(name)
                break
    assert len(judged) == 8


def test_every_number_says_what_it_means_and_how_sure_it_is(tmp_path: Path) -> None:
    facts = read_json(run(tmp_path, human=HUMAN) / "diversity.json")
    for name, measure in facts["measures"].items():
        assert re.search("larger|smaller", measure["meaning"]), name
        low, high = measure["intervals"]["synthetic"]
        assert low <= measure["synthetic"] <= high, name
    for name, distance in facts["apart"].items():
        assert re.search("0(.5)? = .+1 = ", distance["meaning"]), name


def test_labels_have_tables_of_their_own(tmp_path: Path) -> None:
    labels = read_json(run(tmp_path, human=HUMAN) / "labels.json")["labels"]
    assert {name: label["n"] for name, label in labels.items()} == {"book": 5, "hours": 5}
    assert labels["hours"]["measures"]["mean_words"]["synthetic"] == 4
    assert labels["hours"]["measures"]["mean_words"]["intervals"]["synthetic"] is None  # too few texts for one


def test_without_human_texts_the_seeds_are_compared(tmp_path: Path) -> None:
    facts = read_json(run(tmp_path) / "diversity.json")
    assert (facts["compared_with"], facts["n"]) == ("seed", 4)
    assert facts["measures"]["copied_from_seeds"]["human"] is None


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = digest(run(tmp_path, human=HUMAN))
    assert digest(run(tmp_path, human=HUMAN)) == first


@pytest.mark.parametrize(
    ("synthetic", "human"),
    [
        pytest.param({"book": ["da"], "hours": ["ne"]}, {"book": ["A"], "hours": ["B"]}, id="a text a label"),
        pytest.param({"book": ["da"], "hours": []}, {"book": ["ja"], "hours": ["ne"]}, id="one text"),
        pytest.param({"book": ["a", "b"], "hours": []}, {"book": ["x", "y"], "hours": []}, id="single characters"),
        pytest.param({"book": ["da"] * 12, "hours": []}, {"book": ["da"] * 12, "hours": []}, id="all texts equal"),
        pytest.param({"book": ["?!", "..."], "hours": []}, {"book": ["👍", "-"], "hours": []}, id="no word at all"),
        pytest.param(
            {"book": ["ฉันต้องการนัดหมอ", "我想预约"] * 6, "hours": []},
            {"book": ["ร้านเปิดกี่โมง", "几点开门"] * 6, "hours": []},
            id="scripts without spaces",
        ),
    ],
)
def test_unusual_texts_are_measured_as_far_as_they_can_be(
    tmp_path: Path, synthetic: dict[str, list[str]], human: dict[str, list[str]]
) -> None:
    measured = run(tmp_path, human=human, synthetic=synthetic)
    for name in ("diversity.json", "metrics.json", "labels.json", "gates.json"):
        assert "NaN" not in (measured / name).read_text("utf-8")  # no JSON


def test_no_label_in_common_stops_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="demo/sl: no label has both accepted and human texts"):
        run(tmp_path, human={"other": ["Nekaj drugega."]})
    assert not (tmp_path / "measured").exists()


def test_no_accepted_text_stops_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        run(tmp_path, human=HUMAN, synthetic={"book": []})


def test_a_gate_that_stops_does_so_when_all_is_written(tmp_path: Path) -> None:
    strict = gates(
        near_duplicates={"action": "stop", "limit": 0.05}, distinct_2_ratio={"action": "stop", "limit": 0.99}
    )
    with pytest.raises(GateError) as stopped:
        run(tmp_path, human=HUMAN, gates=strict)
    assert stopped.value.exit_code == 1
    said = str(stopped.value)
    assert said.startswith("demo/sl: stopped by params.yaml:measure.gates; all that was measured is in ")
    assert "gate near_duplicates: 0.0909, at most 0.05 wanted (share of the generated texts that repeat" in said
    assert "  'Prosim za termin pri zdravniku' (book): 0.97 like: another" in said
    assert "gate distinct_2_ratio: 0.429, at least 0.99 wanted" in said
    assert "(book): `prosim za` is in 5 of 10 texts" in said
    assert {p.name for p in (tmp_path / "measured").iterdir()} == {
        "diversity.json",
        "metrics.json",
        "labels.json",
        "gates.json",
        "drift.html",
    }
    told = read_json(tmp_path / "measured" / "gates.json")["gates"]
    assert [name for name, gate in told.items() if gate["passed"] is False and gate["action"] == "stop"] == [
        "distinct_2_ratio",
        "near_duplicates",
    ]
    with pytest.raises(GateError) as again:
        require_gates(tmp_path / "prepared", tmp_path / "measured", "s3://bucket/measured")
    assert set(str(again.value).splitlines()[1:]) == set(said.splitlines()[1:])
    assert str(again.value).startswith("demo/sl: stopped by params.yaml:measure.gates; ")
    assert "all that was measured is in s3://bucket/measured\n" in str(again.value)


def test_a_gate_that_warns_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, human=HUMAN, gates=gates(near_duplicates={"action": "warn", "limit": 0.05}))
    (warning,) = caplog.messages
    assert warning.startswith("gate near_duplicates: 0.0909, at most 0.05 wanted")
    require_gates(tmp_path / "prepared", tmp_path / "measured", "")


def test_a_gate_that_is_off_is_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, human=HUMAN, gates=gates(near_duplicates={"action": "off", "limit": 0.0}))
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        pytest.param("near_duplicates", ["copied_seed", "wrong_language"], id="no duplicates looked for"),
        pytest.param("copied_seeds", ["near_duplicate", "wrong_language"], id="no seeds looked for"),
        pytest.param("language_purity", ["near_duplicate", "copied_seed"], id="no language looked at"),
    ],
)
def test_a_gate_whose_checks_did_not_run_is_not_measured_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, listed: list[str]
) -> None:
    build(tmp_path, HUMAN, SYNTHETIC)
    filtering = read_json(tmp_path / "filtered" / "filter.json")
    language = {"checked": "wrong_language" in listed}
    write_json(
        tmp_path / "filtered" / "filter.json",
        filtering | {"reasons": dict.fromkeys(listed, ""), "language": language},
    )
    with caplog.at_level(logging.WARNING):
        told = measure(tmp_path, gates(**{name: {"action": "stop", "limit": 1.0}}))
    assert {of for of, gate in told.items() if gate["value"] is None} == {name}
    assert told[name]["passed"] is None
    (warning,) = caplog.messages
    assert warning.startswith(f"gate {name} stops nothing, since it could not be measured: it takes ")
    assert "in filter.checks" in warning


@pytest.mark.parametrize(
    ("name", "reason", "value"),
    [
        pytest.param("near_duplicates", "near_duplicate", 3 / 11, id="repeats"),  # with the one that was rejected
        pytest.param("copied_seeds", "copied_seed", 2 / 11, id="copies"),
        pytest.param("language_purity", "wrong_language", 9 / 11, id="language"),
    ],
)
def test_texts_that_filter_only_marked_count_at_the_gates(tmp_path: Path, name: str, reason: str, value: float) -> None:
    build(tmp_path, HUMAN, SYNTHETIC)
    marked = [to_row(r, reason=reason, detail="") for r in records(SYNTHETIC)[:2]]
    write_rows(tmp_path / "filtered" / "marked.parquet", marked, REJECTED)
    assert measure(tmp_path, gates())[name]["value"] == pytest.approx(value, abs=1e-5)


def test_a_text_marked_for_two_reasons_counts_once() -> None:
    (record, *_) = records(SYNTHETIC)
    found = [to_row(record, reason=reason, detail="") for reason in ("exact_duplicate", "near_duplicate")]
    filtering = {"generated": 10, "reasons": {"exact_duplicate": "", "near_duplicate": ""}}
    assert found_share(filtering, found, REPEATS) == 0.1


@pytest.mark.parametrize(
    ("reasons", "found", "shown"),
    [
        pytest.param(
            REPEATS,
            [
                ("dva", "near_duplicate", "0.85 like: dve"),
                ("ali pet", "near_duplicate", "one word apart from: ali tudi pet"),
                ("ena", "near_duplicate", "0.97 like: eno"),
                ("Tri!", "exact_duplicate", "tri"),
                ("tri", "near_duplicate", "0.90 like: trije"),
            ],
            ["Tri!", "ena", "dva", "ali pet"],
            id="most alike first",
        ),
        pytest.param(
            OTHER_LANGUAGE,
            [
                ("slovenski", "wrong_language", "hr 0.510, sl 0.490; što"),
                ("Hello there", "wrong_language", "en 0.990, sl 0.010"),
                ("Dober dan. Good day.", "mixed_language", "de 0.800, sl 0.100: Good day."),
                ("пет", "wrong_script", "Cyrillic 60%, Greek 35%"),
                ("hello there", "wrong_language", "en 0.980, sl 0.020"),
            ],
            ["Hello there", "пет", "Dober dan. Good day.", "slovenski"],
            id="most surely foreign first",
        ),
    ],
)
def test_the_worst_texts_come_first_and_each_once(
    reasons: tuple[str, ...], found: list[tuple[str, str, str]], shown: list[str]
) -> None:
    rows = [to_row(records({"book": [text]})[0], reason=reason, detail=detail) for text, reason, detail in found]
    for order in (rows, rows[::-1]):
        assert [example.text for example in found_examples(order, reasons)] == shown


def test_the_worst_texts_are_told_from_what_the_checks_say() -> None:
    params = FilterParams.model_validate(read_yaml(REPOSITORY / "params.yaml")["filter"])
    checks = ["exact_duplicate", "near_duplicate", "wrong_script", "wrong_language"]
    opened = open_checks(params.model_copy(update={"checks": checks}), Context("sl", ["sl", "en", "de"]))
    first = "v petek bi rad pregled zob"
    alike = [first, f"{first}!", f"{first}e", "v petek bi rad kratek pregled zob"]
    foreign = ["I would like to book an appointment with the dentist", "Я хотел бы к врачу and so on and on"]
    result = filter_samples([Sample(record) for record in records({"book": [*alike, *foreign]})], opened)
    rows = [to_row(f.sample.record, reason=f.reason, detail=f.detail) for f in result.rejected]
    assert [example.detail for example in found_examples(rows, REPEATS)] == [
        first,
        f"0.95 like: {first}",
        f"one word apart from: {first}",
    ]
    assert [example.detail for example in found_examples(rows, OTHER_LANGUAGE)] == [
        "en 1.000, sl 0.000",
        "Cyrillic 54%",
    ]


def test_the_report_stands_alone(tmp_path: Path) -> None:
    html = (run(tmp_path, human=HUMAN) / "drift.html").read_text(encoding="utf-8")
    assert "share of punctuation" in html
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)


def test_the_report_shows_the_p_values_of_drift(tmp_path: Path) -> None:
    measured = run(tmp_path, human=HUMAN)
    html = (measured / "drift.html").read_text(encoding="utf-8")
    tests = read_json(measured / "diversity.json")["drift"]["tests"]
    shown = dict(re.findall(r'"column_name": "([^"]+)".+?"drift_score": ([0-9.e-]+)', html))
    wanted = {name: test["p_value"] for name, test in tests.items() if name != "vocabulary"}
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(wanted, abs=1e-6)


def test_the_report_begins_with_the_verdict_of_the_run(tmp_path: Path) -> None:
    measured = run(tmp_path, human=HUMAN)
    drift = read_json(measured / "diversity.json")["drift"]
    moved = [name for name, test in drift["tests"].items() if test["verdict"] != "none"]
    told = f"{drift['verdict']} drift: {', '.join(moved)}" if moved else "no drift"
    html = (measured / "drift.html").read_text(encoding="utf-8")
    assert re.search(rf"<body[^>]*><p[^>]*><b>The verdict of the run is {re.escape(told)}\.</b>", html)


def test_ids_are_numbered_by_first_appearance() -> None:
    page = "a={0} b={1} a={0} metric_{2} constant=00000000-0000-0000-0000-000000000000"
    ids = ["0192f0aa-0000-7abc-8000-00000000000a", "0192f0aa-0000-7abc-8000-00000000000b", "ab" * 16]
    others = ["0192ffff-1111-7abc-8000-00000000000c", "0192ffff-2222-7abc-8000-00000000000d", "cd" * 16]
    numbered = number_ids(page.format(*ids))
    assert numbered == number_ids(page.format(*others))
    assert len(set(re.findall(r"=(\S+)", numbered))) == 3


def test_a_bare_off_of_yaml_is_off() -> None:
    assert gates(auc={"action": False}).auc.action == "off"
    assert MeasureParams.model_validate(DEFAULTS).gates.auc.action == "warn"
