import logging
import random
from pathlib import Path

import pytest

from build import Texts, build_generated, build_prepared, records, sample_row
from polydistill.errors import DataError
from polydistill.files import digest, read_json, write_json
from polydistill.filter import list_findings, run_filter
from polydistill.params import FilterParams
from polydistill.records import REJECTED, SAMPLE, read_records, read_rows, write_rows
from spaces import filter_params

PARAMS = filter_params(too_long__max_chars=90)
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
    root: Path,
    texts: Texts,
    *,
    decisions: dict[str, str | None] | None = None,
    self_revision: bool = True,
    allow_leaks: bool = False,
    params: FilterParams = PARAMS,
) -> dict[str, str | None]:
    """Return for each text the reason why it was rejected, or None."""
    prepared = build_prepared(root / "prepared", SEEDS, test=TESTS, allow_leaks=allow_leaks)
    generated = build_generated(root / "generated", texts, decisions=decisions)
    run_filter(prepared, generated, root / "filtered", params, self_revision=self_revision)
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


def test_a_check_that_only_marks_keeps_what_it_finds(tmp_path: Path) -> None:
    marking = filter_params(
        too_long__max_chars=90, mark=["markup", "unclear_language"], unclear_language__min_letters=10
    )
    texts = {"book": [*GOOD["book"], "**Text:** Rad bi termin pri okulistu.", "Da.", "Termin!"]}
    assert filter_texts(tmp_path, texts, params=marking)["**Text:** Rad bi termin pri okulistu."] is None
    marked = read_rows(tmp_path / "filtered" / "marked.parquet", REJECTED)
    assert [(row["text"], row["reason"]) for row in marked] == [
        ("**Text:** Rad bi termin pri okulistu.", "markup"),
        ("Termin!", "unclear_language"),
    ]
    facts = read_json(tmp_path / "filtered" / "filter.json")
    assert facts["marked"] == {"markup": 1, "unclear_language": 1}
    assert "markup" not in facts["by_reason"]


def test_the_order_in_params_yaml_decides_the_reason(tmp_path: Path) -> None:
    text = "**Text:** Da"
    for first, second in (("markup", "too_short"), ("too_short", "markup")):
        params = filter_params(checks=[first, second], mark=[], too_short__min_chars=20)
        reasons = filter_texts(tmp_path, {"book": [*GOOD["book"], text]}, params=params, allow_leaks=True)
        assert reasons[text] == first


def test_how_often_checks_agree_is_counted(tmp_path: Path) -> None:
    texts = {"book": [*GOOD["book"], "I would like to see a dentist next week.", "**Da**", "Ne."]}
    decisions = {"I would like to see a dentist next week.": "reject", GOOD["book"][0]: "reject"}
    filter_texts(tmp_path, texts, decisions=decisions)
    facts = read_json(tmp_path / "filtered" / "filter.json")
    assert {"checks": ["wrong_language", "judge_rejected"], "texts": 1} in facts["agreement"]
    assert (facts["found"]["wrong_language"], facts["found"]["judge_rejected"]) == (1, 2)
    assert facts["by_reason"]["judge_rejected"] == 1


LEAK = "do kdaj je danes odprt laboratorij"


@pytest.mark.parametrize("change", ["unlisted", "marked"])
def test_a_leak_that_is_not_rejected_stops_the_run(
    tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    checks = [check for check in PARAMS.checks if check != "test_leak" or change == "marked"]
    params = filter_params(checks=checks, mark=[*PARAMS.mark, "test_leak"] if change == "marked" else PARAMS.mark)
    texts = {**GOOD, "book": [*GOOD["book"], LEAK]}
    with pytest.raises(
        DataError, match=f"demo/sl: 1 of 5 kept texts give the test set away, such as: {LEAK} .1.00 like"
    ):
        filter_texts(tmp_path, texts, params=params)
    assert not (tmp_path / "filtered" / "accepted.parquet").exists()
    filter_texts(tmp_path, texts, params=params, allow_leaks=True)
    assert LEAK in accepted(tmp_path)
    warnings = read_json(tmp_path / "filtered" / "filter.json")["warnings"]
    assert len(warnings) == 1
    assert "1 of 5 kept texts give the test set away" in warnings[0]
    assert LEAK in warnings[0]
    assert warnings[0] in caplog.text


def test_what_was_rejected_can_be_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filter_texts(tmp_path, {**GOOD, "hours": [*GOOD["hours"], "Da.", "N\ne."]})
    listed = sorted(list_findings(tmp_path / "filtered"))
    assert listed == [
        ("too_short", "hours", "Da.", "3 characters, wanted 5"),
        ("too_short", "hours", "N e.", "4 characters, wanted 5"),
    ]
    assert sorted(list_findings(tmp_path / "filtered", ["too_short"])) == listed
    assert list(list_findings(tmp_path / "filtered", ["empty"])) == []
    assert list(list_findings(tmp_path / "filtered", marked=True)) == []
    with pytest.raises(DataError, match="no check `shouting` was run; there were conflicting_label, copied_seed, "):
        list(list_findings(tmp_path / "filtered", ["shouting"]))
    with pytest.raises(DataError, match="no check `too-short` was run; did you mean `too_short`?"):
        list(list_findings(tmp_path / "filtered", ["too-short"]))
    assert list(list_findings(tmp_path / "filtered", ["doubtful_label"])) == []
    assert caplog.messages[-1] == "doubtful_label only marks here; add --marked"


def test_a_label_before_a_text_is_layout_left_over(tmp_path: Path) -> None:
    outcome = filter_texts(tmp_path, {**GOOD, "hours": [*GOOD["hours"], "Hours: do kdaj dela lekarna v centru?"]})
    assert outcome["Hours: do kdaj dela lekarna v centru?"] == "markup"


def test_a_failure_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    filter_texts(tmp_path, GOOD)
    with pytest.raises(DataError, match="filter kept none"):
        filter_texts(tmp_path, {"book": ["Da."]})
    assert not (tmp_path / "filtered" / "accepted.parquet").exists()


def test_nothing_kept_stops_with_the_reasons_and_can_be_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"demo/sl: filter kept none of 3 .* too_short 2, wrong_language 1;"):
        filter_texts(tmp_path, {"book": ["Da.", "Ne.", "I would like to see a dentist next week."]})
    listed = list_findings(tmp_path / "filtered")
    assert sorted(reason for reason, *_ in listed) == ["too_short", "too_short", "wrong_language"]


def test_no_text_at_all_is_not_the_fault_of_filter(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="demo/sl: generate wrote no text; see usage.json"):
        filter_texts(tmp_path, {"book": []})


def test_a_missing_input_names_the_step_that_writes_it(tmp_path: Path) -> None:
    build_prepared(tmp_path / "prepared", SEEDS)
    with pytest.raises(DataError, match="polydistill generate"):
        run_filter(tmp_path / "prepared", tmp_path / "none", tmp_path / "filtered", PARAMS, self_revision=True)
