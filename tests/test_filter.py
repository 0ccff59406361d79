import logging
import random
from pathlib import Path

import pytest

from build import Texts, build_generated, build_prepared, records, sample_row
from polydistill.checks import REASONS
from polydistill.checks.language import language_rule
from polydistill.errors import DataError
from polydistill.files import digest, read_json, write_json
from polydistill.filter import build_checks, run_filter
from polydistill.records import REJECTED, SAMPLE, read_records, read_rows, write_rows
from spaces import filter_params

PARAMS = filter_params(max_chars=90)
SEEDS = {"book": ["Naročite me na pregled, prosim."], "hours": ["Kdaj odprete v soboto?"]}
TESTS = {"hours": ["Do kdaj je danes odprt laboratorij?"]}
GOOD = {
    "book": ["Rada bi prišla k zdravnici zaradi kašlja.", "Otrok ima vročino, kdaj ga lahko pripeljem?"],
    "hours": ["Ali delate tudi med prazniki?", "Zanima me, od kdaj do kdaj je odprta lekarna."],
}
# text -> the reason why it goes; each under the label "book"
BAD = {
    "?!...": "empty",
    "Da.": "too_short",
    "Rada bi prišla k zdravnici, ker me že ves teden boli v križu in ne morem ne sedeti ne spati.": "too_long",
    "**Text:** Rad bi termin pri okulistu.": "markup",
    "Prosim termin, prosim termin, prosim termin, prosim termin, prosim termin.": "repetition",
    "I would like to see a dentist next week.": "wrong_language",
    "do kdaj je danes odprt laboratorij": "test_leak",
    "Naročite me na pregled prosim!": "copied_seed",
    "Kaj pa jutri zjutraj pred osmo?": "no_verdict",
    "Odpovedujem jutrišnji termin.": "judge_rejected",
}


def filter_texts(
    root: Path, texts: Texts, *, decisions: dict[str, str | None] | None = None, self_revision: bool = True
) -> dict[str, str | None]:
    """Return for each text the reason why it was rejected, or None."""
    prepared = build_prepared(root / "prepared", SEEDS, test=TESTS)
    generated = build_generated(root / "generated", texts, decisions=decisions)
    run_filter(prepared, generated, root / "filtered", PARAMS, self_revision=self_revision)
    rejected = {row["text"]: row["reason"] for row in rejections(root)}
    return {text: rejected.get(text) for of_label in texts.values() for text in of_label}


def rejections(root: Path) -> list[dict[str, str]]:
    return read_rows(root / "filtered" / "rejected.parquet", REJECTED)


def accepted(root: Path) -> list[str]:
    return [record.text for record in read_records(root / "filtered" / "accepted.parquet")]


def test_each_fault_has_its_reason_and_good_texts_stay(tmp_path: Path) -> None:
    decisions = {"Kaj pa jutri zjutraj pred osmo?": None, "Odpovedujem jutrišnji termin.": "reject"}
    texts = {"book": [*GOOD["book"], *BAD], "hours": GOOD["hours"]}
    reasons = filter_texts(tmp_path, texts, decisions=decisions)
    assert {text: reasons[text] for text in BAD} == BAD
    assert sorted(accepted(tmp_path)) == sorted(GOOD["book"] + GOOD["hours"])


def test_repeats_lose_all_but_one_and_conflicts_lose_both(tmp_path: Path) -> None:
    texts = {
        "book": ["Potrebujem termin pri okulistu.", "potrebujem termin pri okulistu", "Kaj pa v petek?"],
        "hours": [
            "Zanima me, ali boste v petek odprti.",
            "Zanima me, ali boste v petek odprti, hvala!",
            "kaj pa v petek",
        ],
    }
    filter_texts(tmp_path, texts)
    assert sorted(row["reason"] for row in rejections(tmp_path)) == [
        "conflicting_label",
        "conflicting_label",
        "exact_duplicate",
        "near_duplicate",
    ]
    assert len(accepted(tmp_path)) == 2


def test_a_text_judged_wrong_under_one_label_stays_under_the_other(tmp_path: Path) -> None:
    texts = {"book": ["Kaj pa v petek?"], "hours": ["kaj pa v petek"]}
    assert filter_texts(tmp_path, texts, decisions={"Kaj pa v petek?": "reject"}) == {
        "Kaj pa v petek?": "judge_rejected",
        "kaj pa v petek": None,
    }


def test_verdicts_count_only_with_self_revision(tmp_path: Path) -> None:
    decisions = {GOOD["book"][0]: "reject", GOOD["book"][1]: None, GOOD["hours"][0]: "repair"}
    assert set(filter_texts(tmp_path, GOOD, decisions=decisions, self_revision=False).values()) == {None}
    facts = read_json(tmp_path / "filtered" / "filter.json")["self_revision"]
    assert facts["checked"] is False
    assert facts["verdicts"] == {"accept": 1, "repair": 1, "reject": 1, "none": 1}


def test_the_detail_says_what_was_found(tmp_path: Path) -> None:
    filter_texts(tmp_path, {"book": [*GOOD["book"], *BAD]})
    details = {row["reason"]: row["detail"] for row in rejections(tmp_path)}
    assert details["copied_seed"] == "1.00 like: Naročite me na pregled, prosim."
    assert details["test_leak"] == "1.00 like: Do kdaj je danes odprt laboratorij?"
    assert details["wrong_language"].startswith("en 0.99") or details["wrong_language"].startswith("en 1.0")
    assert details["too_short"] == "3 characters, wanted 5"


def near_copies() -> Texts:
    """Chains of near-duplicates, exact ones and conflicts, in which the order could decide."""
    frames = ["Prosim, naročite me v {} ob osmih zjutraj.", "Ali je laboratorij v {} odprt do štirih popoldne?"]
    days = ["torek", "torek", "Torek", "petek", "četrtek", "ponedeljek", "prvi torek", "drugi torek", "nedeljo"]
    texts = [frame.format(day) for frame in frames for day in days]
    return {"book": texts, "hours": [texts[3].upper(), *texts[9:12], *GOOD["hours"]]}


def test_the_order_of_the_input_changes_nothing(tmp_path: Path) -> None:
    build_prepared(tmp_path / "prepared", SEEDS, test=TESTS)
    digests = set()
    for seed in range(5):
        rows = [sample_row(record) for record in records(near_copies())]
        random.Random(seed).shuffle(rows)
        write_rows(tmp_path / "generated" / "samples.parquet", rows, SAMPLE)
        run_filter(tmp_path / "prepared", tmp_path / "generated", tmp_path / "filtered", PARAMS, self_revision=True)
        digests.add(digest(tmp_path / "filtered"))
    assert len(digests) == 1
    assert 2 < len(accepted(tmp_path)) < len(near_copies()["book"])


def test_filtering_the_accepted_again_keeps_them_all(tmp_path: Path) -> None:
    filter_texts(tmp_path, near_copies())
    first = read_records(tmp_path / "filtered" / "accepted.parquet")
    rows = [sample_row(record) for record in first]
    write_rows(tmp_path / "generated" / "samples.parquet", rows, SAMPLE)
    run_filter(tmp_path / "prepared", tmp_path / "generated", tmp_path / "again", PARAMS, self_revision=True)
    assert read_records(tmp_path / "again" / "accepted.parquet") == first


def test_filter_json_adds_up(tmp_path: Path) -> None:
    filter_texts(tmp_path, {"book": [*GOOD["book"], *BAD]})
    facts = read_json(tmp_path / "filtered" / "filter.json")
    assert facts["generated"] == facts["accepted"] + facts["rejected"] == 12
    assert sum(facts["by_reason"].values()) == facts["rejected"]
    assert facts["by_label"] == {"book": {"accepted": 4, "rejected": 8}, "hours": {"accepted": 0, "rejected": 0}}
    assert facts["language"]["checked"] is True
    assert {"sl", "hr", "az", "tr", "sw", "en"} <= set(facts["language"]["candidates"])


def test_a_label_without_texts_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filter_texts(tmp_path, {"book": GOOD["book"]})
    assert "no text of the label hours is left" in caplog.text


def test_an_unknown_language_rejects_nothing_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepared = build_prepared(tmp_path / "prepared", SEEDS)
    facts = read_json(prepared / "prepare.json")
    facts["language"] = "ckb"
    write_json(prepared / "prepare.json", facts)
    generated = build_generated(tmp_path / "generated", {"book": ["I would like to see a dentist next week."]})
    with caplog.at_level(logging.INFO):
        run_filter(prepared, generated, tmp_path / "filtered", PARAMS, self_revision=True)
    assert "py3langid does not know ckb" in caplog.text
    assert read_json(tmp_path / "filtered" / "filter.json")["language"]["checked"] is False
    assert len(accepted(tmp_path)) == 1


def test_nothing_kept_stops_with_the_reasons_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"demo/sl: filter kept none of 3 .* too_short 2, wrong_language 1;"):
        filter_texts(tmp_path, {"book": ["Da.", "Ne.", "I would like to see a dentist next week."]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "prepared"]


def test_a_missing_input_names_the_step_that_writes_it(tmp_path: Path) -> None:
    build_prepared(tmp_path / "prepared", SEEDS)
    with pytest.raises(DataError, match="polydistill generate"):
        run_filter(tmp_path / "prepared", tmp_path / "none", tmp_path / "filtered", PARAMS, self_revision=True)


def test_checks_run_in_the_order_of_the_reasons() -> None:
    language = language_rule("sl", ["sl"], PARAMS)
    assert list(build_checks(PARAMS, language, seeds=[], tests=[], self_revision=True)) == list(REASONS)
