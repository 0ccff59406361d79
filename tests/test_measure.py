import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from build import build_prepared, records
from polydistill import measure
from polydistill.errors import DataError
from polydistill.files import digest, read_json
from polydistill.params import MeasureParams
from polydistill.records import write_records

HUMAN = {
    "book": ["rabim termin čimprej", "A lahko pridem jutri?", "Naročila bi se k zobarju, 3 dni me že boli!"],
    "hours": ["do kdaj ste odprti", "A v soboto delate?", "Kdaj se odpre lekarna v 1. nadstropju?"],
}
SYNTHETIC = {
    "book": ["Prosim za termin pri zdravniku.", "Prosim za termin pri zobarju.", "Prosim za termin pri okulistu."],
    "hours": ["Kdaj je odprta lekarna?", "Kdaj je odprt laboratorij?", "Kdaj je odprta ambulanta?"],
}


def run(root: Path, *, human: dict[str, list[str]] | None = None, max_texts: int = 100, seed: int = 1) -> Path:
    build_prepared(root / "prepared", {label: texts[:2] for label, texts in HUMAN.items()}, human=human)
    write_records(root / "filtered" / "accepted.parquet", records(SYNTHETIC))
    params = MeasureParams(max_texts=max_texts, seed=seed)
    measure.run_measure(root / "prepared", root / "filtered", root / "measured", params)
    return root / "measured"


def test_distinct_counts_ngrams_within_texts() -> None:
    assert measure.distinct(["a b a b", "a"], 1) == 2 / 5
    assert measure.distinct(["a b a b", "a"], 2) == 2 / 3
    assert measure.distinct(["a"], 2) == 0


def test_repetitive_text_compresses_better() -> None:
    assert measure.compression_ratio(SYNTHETIC["book"] * 3) > measure.compression_ratio(HUMAN["book"])


def test_intra_class_distance_is_the_mean_over_all_pairs_of_a_label() -> None:
    texts = {"a": HUMAN["book"], "b": SYNTHETIC["book"][:2], "alone": ["Na svidenje"]}
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    vectorizer.fit([text for of_label in texts.values() for text in of_label])

    def mean_distance(of_label: list[str]) -> float:
        rows = vectorizer.transform(of_label).toarray()
        return float(np.mean([1 - one @ other for one, other in itertools.combinations(rows, 2)]))

    wanted = (3 * mean_distance(texts["a"]) + 2 * mean_distance(texts["b"])) / 5
    assert measure.intra_class_distances([records(texts)]) == [pytest.approx(wanted)]
    assert measure.intra_class_distances([records({"a": ["Na svidenje"]})]) == [None]


def test_both_sides_get_equal_numbers_of_each_label() -> None:
    synthetic = records({"a": [f"a {i}" for i in range(9)], "b": [f"b {i}" for i in range(9)], "c": ["c"]})
    human = records({"a": [f"A {i}" for i in range(20)], "b": ["B 1", "B 2"]}, "human")
    for side in measure.matched(synthetic, human, max_texts=100, seed=1):
        assert Counter(r.label for r in side) == {"a": 9, "b": 2}
    for side in measure.matched(synthetic, human, max_texts=6, seed=1):
        assert Counter(r.label for r in side) == {"a": 4, "b": 2}
    assert measure.matched(synthetic[::-1], human[::-1], max_texts=6, seed=1) == measure.matched(
        synthetic, human, max_texts=6, seed=1
    )


def test_more_varied_human_text_scores_as_more_varied(tmp_path: Path) -> None:
    facts = read_json(run(tmp_path, human=HUMAN) / "diversity.json")
    assert (facts["compared_with"], facts["n"]) == ("human", 6)
    values = facts["measures"]
    for name in ("distinct_1", "distinct_2", "intra_class_distance"):
        assert values[name]["synthetic"] < values[name]["human"], name
        assert "higher = more varied" in values[name]["meaning"]
    assert values["compression_ratio"]["synthetic"] > values["compression_ratio"]["human"]


def test_without_human_texts_the_seeds_are_compared(tmp_path: Path) -> None:
    facts = read_json(run(tmp_path) / "diversity.json")
    assert (facts["compared_with"], facts["n"]) == ("seed", 4)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    first = digest(run(tmp_path, human=HUMAN))
    assert digest(run(tmp_path, human=HUMAN)) == first


def test_the_report_stands_alone(tmp_path: Path) -> None:
    html = (run(tmp_path, human=HUMAN) / "drift.html").read_text(encoding="utf-8")
    assert "share of punctuation" in html
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", html)


def test_drift_is_found_where_it_is_and_only_there() -> None:
    words = ["ena", "dva", "tri", "štiri", "pet", "šest", "sedem", "osem", "devet", "deset"]
    texts = [f"{one} {other}" for one in words for other in words]
    human = measure.properties(records({"a": texts[::2], "b": texts[1::2]}))
    same = measure.drift(human, human)
    assert all(of_column["p_value"] == 1 for of_column in same.values())
    planted = measure.drift(measure.properties(records({"a": [f"{t}!!!" for t in texts], "b": []})), human)
    assert planted["share of punctuation"]["p_value"] < 1e-6
    assert planted["share of punctuation"]["statistic"] == 1
    assert planted["label"]["p_value"] < 1e-6
    assert planted["words"]["p_value"] == 1


def test_the_report_shows_the_p_values_of_drift() -> None:
    human, synthetic = (measure.properties(records(texts)) for texts in (HUMAN, SYNTHETIC))
    html = measure.drift_report(synthetic, human)
    shown = dict(re.findall(r'"column_name": "([^"]+)".+?"drift_score": ([0-9.e-]+)', html))
    wanted = {name: of_column["p_value"] for name, of_column in measure.drift(synthetic, human).items()}
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(wanted, abs=1e-6)


def test_ids_are_numbered_by_first_appearance() -> None:
    page = "a={0} b={1} a={0} metric_{2} constant=00000000-0000-0000-0000-000000000000"
    ids = ["0192f0aa-0000-7abc-8000-00000000000a", "0192f0aa-0000-7abc-8000-00000000000b", "ab" * 16]
    others = ["0192ffff-1111-7abc-8000-00000000000c", "0192ffff-2222-7abc-8000-00000000000d", "cd" * 16]
    numbered = measure.number_ids(page.format(*ids))
    assert numbered == measure.number_ids(page.format(*others))
    assert len(set(re.findall(r"=(\S+)", numbered))) == 3


def test_no_label_in_common_stops_with_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="demo/sl: no label has both accepted and human texts"):
        run(tmp_path, human={"other": ["Nekaj drugega."]})
    assert not (tmp_path / "measured").exists()
