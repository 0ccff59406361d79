import logging
from pathlib import Path
from typing import Any

import pytest

from polydistill.errors import PolydistillError
from polydistill.files import digest, read_json
from polydistill.prepare import run_prepare
from polydistill.records import QUESTION, read_records, read_rows
from spaces import TASK, prepare_params, write_yaml

SEEDS = """text,label
Naročite me na pregled.,book
Rad bi termin pri okulistu.,book
Kdaj odprete v soboto?,hours
Do kdaj dela lekarna?,hours
"""
TEST = """text,label
Potrebujem termin za torek.,book
Ali delate med prazniki?,hours
"""
HUMAN = """text,label
Kako pridem do termina?,book
Je ambulanta odprta ob nedeljah?,hours
"""


def prepare(
    root: Path,
    seeds: str | bytes = SEEDS,
    test: str | bytes = TEST,
    human: str | bytes | None = HUMAN,
    *,
    wanted: int = 2,
    allow: bool = False,
) -> Path:
    """Write the inputs of demo/sl and prepare them; return the folder of what was prepared."""
    write_yaml(root / "demo" / "task.yaml", TASK)
    (root / "demo" / "sl").mkdir(exist_ok=True)
    for name, content in (("seeds", seeds), ("test", test), ("human", human)):
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (root / "demo" / "sl" / f"{name}.csv").write_bytes(raw)
    params = prepare_params(seeds_per_label=wanted, allow_leaks=["demo/sl"] if allow else [])
    run_prepare(root / "demo", "sl", root / "work" / "prepared", root / "work" / "heldout", params)
    return root / "work" / "prepared"


def problems(root: Path, **inputs: Any) -> list[str]:
    """Return what `prepare` says is wrong, each without the folder in front; nothing may have been written."""
    with pytest.raises(PolydistillError) as error:
        prepare(root, **inputs)
    assert error.value.exit_code == 2
    assert not (root / "work").exists()
    return str(error.value).replace(f"{root / 'demo' / 'sl'}/", "").splitlines()


def texts(path: Path) -> list[str]:
    return [record.text for record in read_records(path)]


def removed(prepared: Path) -> list[tuple[str, int, str, str]]:
    rows = read_json(prepared / "prepare.json")["removed"]
    return [(row["file"], row["line"], row["reason"], row["same_as"]) for row in rows]


def test_good_inputs_become_splits(tmp_path: Path) -> None:
    prepared = prepare(tmp_path)
    facts = read_json(prepared / "prepare.json")
    assert facts["counts"] == {"seeds": 4, "human": 2, "test": 2}
    assert (facts["removed"], facts["warnings"]) == ([], [])
    assert facts["task"]["name"] == "demo"
    seed = read_records(prepared / "seeds.parquet")[2]
    assert (seed.text, seed.label, seed.language, seed.origin) == ("Kdaj odprete v soboto?", "hours", "sl", "seed")
    assert (seed.source.file, seed.source.line) == ("seeds.csv", 4)
    held = read_records(tmp_path / "work" / "heldout" / "test.parquet")
    assert [(record.text, record.label) for record in held] == [
        ("Potrebujem termin za torek.", "book"),
        ("Ali delate med prazniki?", "hours"),
    ]


def test_test_labels_stand_in_the_heldout_folder_alone(tmp_path: Path) -> None:
    prepared = prepare(tmp_path)
    questions = read_rows(prepared / "questions.parquet", QUESTION)
    assert [question["text"] for question in questions] == ["Potrebujem termin za torek.", "Ali delate med prazniki?"]
    swapped = TEST.replace(",book", ",?").replace(",hours", ",book").replace(",?", ",hours")
    (tmp_path / "other").mkdir()
    assert digest(prepare(tmp_path / "other", test=swapped)) == digest(prepared)


def test_the_same_inputs_give_the_same_bytes_wherever_they_stand(tmp_path: Path) -> None:
    leaky = HUMAN + "Ali delate med prazniki,hours\n"
    found = set()
    for folder in ("here", "here", "there"):
        (tmp_path / folder).mkdir(exist_ok=True)
        prepare(tmp_path / folder, human=leaky, test=TEST + "ali delate med prazniki,hours\n")
        found.add(digest(tmp_path / folder / "work"))
    assert len(found) == 1


@pytest.mark.parametrize("human", [None, "text,label\n"], ids=["no file", "header alone"])
def test_human_texts_are_optional(tmp_path: Path, human: str | None) -> None:
    assert texts(prepare(tmp_path, human=human) / "human.parquet") == []


@pytest.mark.parametrize(
    ("seeds", "first"),
    [
        pytest.param(b"\xef\xbb\xbf" + SEEDS.encode(), "Naročite me na pregled.", id="byte-order mark"),
        pytest.param(SEEDS.replace("\n", "\r\n"), "Naročite me na pregled.", id="Windows line ends"),
        pytest.param(SEEDS.replace("\n", "\n\n"), "Naročite me na pregled.", id="blank lines"),
        pytest.param(SEEDS.replace(",", " , "), "Naročite me na pregled.", id="white space around"),
        pytest.param(
            SEEDS.replace("Naročite me", '"Naročite,\nme', 1).replace("d.,", 'd.",', 1),
            "Naročite,\nme na pregled.",
            id="line break",
        ),
        pytest.param(SEEDS.replace("Naročite me na pregled.", '"""Da, prosim."""'), '"Da, prosim."', id="quotation"),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, seeds: str | bytes, first: str) -> None:
    prepared = prepare(tmp_path, seeds=seeds)
    assert texts(prepared / "seeds.parquet")[0] == first
    assert read_json(prepared / "prepare.json")["counts"]["seeds"] == 4


def test_further_columns_are_passed_over(tmp_path: Path) -> None:
    lines = [line.rpartition(",") for line in SEEDS.splitlines()]
    seeds = "\n".join(
        f"{label},{'id' if label == 'label' else number},{text}" for number, (text, _, label) in enumerate(lines)
    )
    assert texts(prepare(tmp_path, seeds=seeds) / "seeds.parquet")[0] == "Naročite me na pregled."


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        pytest.param(
            {"test": TEST + "Kdaj?,ours\n"},
            "test.csv:4: column label: unknown label `ours`; did you mean `hours`?",
            id="label typo",
        ),
        pytest.param(
            {"test": TEST + "Kdaj?,weather\n"},
            "test.csv:4: column label: unknown label `weather`; the task has book, hours",
            id="unknown label",
        ),
        pytest.param({"test": TEST + "Kdaj?,\n"}, "test.csv:4: column label: missing", id="no label"),
        pytest.param({"test": TEST + ",hours\n"}, "test.csv:4: column text: empty", id="empty text"),
        pytest.param({"test": TEST + " \t,hours\n"}, "test.csv:4: column text: empty", id="white space alone"),
        pytest.param({"test": TEST + "\u200b\ufeff,hours\n"}, "test.csv:4: column text: empty", id="zero width alone"),
        pytest.param(
            {"test": TEST + "Kdaj, prosim?,hours\n"},
            "test.csv:4: 3 cells, the header has 2; put a text that holds a comma in quotation marks",
            id="too many cells",
        ),
        pytest.param({"test": TEST + "Kdaj?\n"}, "test.csv:4: 1 cells, the header has 2", id="too few cells"),
        pytest.param(
            {"test": TEST.replace("text,label", "text,intent")},
            "test.csv:1: column label is missing; the header line holds text, intent",
            id="header without label",
        ),
        pytest.param(
            {"test": TEST.replace("text,label", "text,label,text")},
            "test.csv:1: column text stands more than once; keep one",
            id="header with a column twice",
        ),
        pytest.param(
            {"test": TEST.partition("\n")[2]},
            "test.csv:1: column text, label is missing; the header line holds Potrebujem termin za torek., book",
            id="no header",
        ),
        pytest.param({"test": ""}, "test.csv:1: the file is empty; the header line is text,label", id="empty file"),
        pytest.param({"test": "text,label\n"}, "test.csv:1: no text below the header line", id="header alone"),
        pytest.param({"seeds": "text,label\n"}, "seeds.csv:1: no text below the header line", id="no seeds"),
        pytest.param({"test": None}, "test.csv is missing; put it there", id="no file"),
        pytest.param(
            {"test": TEST.encode() + "Čemu?,hours\n".encode("cp1250")},
            "test.csv:4: not UTF-8 (byte 0xc8); save the file as UTF-8",
            id="other encoding",
        ),
        pytest.param({"test": TEST.encode("utf-16")}, "test.csv:1: not UTF-8 (byte 0xff)", id="UTF-16"),
        pytest.param(
            {"test": TEST + '"Kdaj?,hours\nIn kje?,hours\n'},
            "test.csv:4: not CSV from here on (unexpected end of data); check the quotation marks",
            id="open quotation mark",
        ),
        pytest.param(
            {"test": TEST + '"Kdaj" a,hours\n'}, "test.csv:4: not CSV from here on (", id="stray quotation mark"
        ),
        pytest.param(
            {"test": TEST + "a" * 131_073 + ",hours\n"},
            "test.csv:4: not CSV from here on (field larger than field limit (131072))",
            id="huge field",
        ),
        pytest.param(
            {"seeds": SEEDS.replace("Do kdaj dela lekarna?,hours\n", "")},
            "seeds.csv: label `hours` has 1 different seeds, wanted 2; add some, or lower params.yaml:prepare.seeds_",
            id="few seeds",
        ),
        pytest.param(
            {"seeds": SEEDS.replace("Do kdaj dela lekarna?", "KDAJ odprete v soboto")},
            "seeds.csv: label `hours` has 1 different seeds, wanted 2",
            id="seeds that repeat",
        ),
        pytest.param(
            {"human": HUMAN + "Kako pridem do termina,hours\n"},
            "human.csv:2: column label: this text is `book` here, `hours` at",
            id="two labels in a file",
        ),
        pytest.param(
            {"test": TEST + "Kako pridem do termina,hours\n"},
            "human.csv:2: column label: this text is `book` here, `hours` at test.csv:4; keep one label",
            id="two labels in two files",
        ),
        pytest.param(
            {"test": TEST + "naročite me na PREGLED,book\n"},
            "seeds.csv:2: this seed stands in the test set too (test.csv:4); replace it, or name the cell in",
            id="a seed in the test set",
        ),
    ],
)
def test_a_fault_is_said_with_its_place(tmp_path: Path, inputs: dict[str, Any], message: str) -> None:
    assert [line.startswith(message) for line in problems(tmp_path, **inputs)] == [True]


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        seeds=SEEDS + ",boo\n",
        test=TEST + "Kdaj?,ours\nNaročite me na pregled.,book\n",
        human="text\nKdaj?\n",
        wanted=2,
    )
    assert [line.split(":")[:2] for line in found] == [
        ["seeds.csv", "6"],
        ["seeds.csv", "6"],
        ["human.csv", "1"],
        ["test.csv", "4"],
        ["seeds.csv", "2"],
    ]


def test_a_fault_of_many_lines_is_said_once(tmp_path: Path) -> None:
    rows = "".join(f"Kdaj odprete {i}?,{'ours' if i % 2 else 'when'}\n" for i in range(3_000))
    assert problems(tmp_path, test="text,label\n" + rows) == [
        "test.csv:2: column label: unknown label `when`; the task has book, hours (1500 lines: 2, 4, 6, 8, 10, ...)",
        "test.csv:3: column label: unknown label `ours`; did you mean `hours`? (1500 lines: 3, 5, 7, 9, 11, ...)",
    ]


def test_of_many_faults_the_first_are_told(tmp_path: Path) -> None:
    rows = "".join(f"Kdaj odprete {i}?,label{i}\n" for i in range(3_000))
    said = problems(tmp_path, test="text,label\n" + rows)
    assert len(said) == 21
    assert said[-1] == "test.csv: 2980 more faults"


def test_lines_are_right_after_quoted_line_breaks(tmp_path: Path) -> None:
    test = 'text,label\n"Potrebujem\ntermin,\nza torek.",book\n\n"Ali\r\ndelate?",ours\nKdaj?,ours\n'
    said = "test.csv:6: column label: unknown label `ours`; did you mean `hours`? (2 lines: 6, 8)"
    assert problems(tmp_path, test=test) == [said]
    prepare(tmp_path, test=test.replace("ours", "hours"))
    held = read_records(tmp_path / "work" / "heldout" / "test.parquet")
    assert [record.source.line for record in held] == [2, 6, 8]


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param("Je ambulanta odprta ob nedeljah?", id="exactly"),
        pytest.param("je AMBULANTA odprta ob nedeljah?", id="case"),
        pytest.param("Je, ambulanta – odprta ob nedeljah", id="punctuation"),
        pytest.param("Je  ambulanta\u00a0odprta ob nedeljah ?", id="white space"),
        pytest.param("Je ambu\u200blanta odprta ob nedeljah?", id="zero width"),
        pytest.param("Je ａmbulanta odprta ob nedeljah?", id="NFKC"),
        pytest.param("Je ambulanta odprta ob nedeljah?".replace("i", "ı"), id="dotless i"),
    ],
)
def test_a_text_is_in_one_split_alone(tmp_path: Path, copy: str) -> None:
    prepared = prepare(tmp_path, test=TEST + f'"{copy}",hours\n')
    assert texts(prepared / "human.parquet") == ["Kako pridem do termina?"]
    assert removed(prepared) == [("human.csv", 3, "stands in the test set", "test.csv:4")]


def test_repeated_and_leaked_training_texts_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    human = HUMAN + "kako pridem do termina,book\nKdaj odprete v soboto?,hours\n"
    seeds = SEEDS + "Naročite me na pregled!,book\n"
    with caplog.at_level(logging.INFO):
        prepared = prepare(tmp_path, seeds=seeds, human=human)
    assert removed(prepared) == [
        ("seeds.csv", 6, "repeated in the file", "seeds.csv:2"),
        ("human.csv", 5, "stands among the seeds", "seeds.csv:4"),
        ("human.csv", 4, "repeated in the file", "human.csv:2"),
    ]
    assert read_json(prepared / "prepare.json")["counts"] == {"seeds": 4, "human": 2, "test": 2}
    assert "human.csv: left out 1 texts, each stands among the seeds" in caplog.messages


def test_repeated_test_texts_stay_and_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    prepared = prepare(tmp_path, test=TEST + "ali delate med prazniki,hours\n")
    assert read_json(prepared / "prepare.json")["counts"]["test"] == 3
    warning = "1 texts of test.csv repeat an earlier one; the test set is kept as it is"
    assert read_json(prepared / "prepare.json")["warnings"] == [warning]
    assert warning in caplog.messages


def test_a_leaked_seed_goes_where_there_are_others(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, seeds=SEEDS + "Bi me vpisali?,book\n", test=TEST + "Naročite me na pregled.,book\n")
    assert texts(prepared / "seeds.parquet")[:2] == ["Rad bi termin pri okulistu.", "Bi me vpisali?"]
    assert removed(prepared) == [("seeds.csv", 2, "stands in the test set", "test.csv:4")]


def test_a_leaked_seed_stays_where_that_is_allowed_by_name(tmp_path: Path) -> None:
    leaks = "Naročite me na pregled.,book\nRad bi termin pri okulistu.,book\n"
    prepared = prepare(tmp_path, seeds=SEEDS + "Bi me vpisali?,book\n", test=TEST + leaks, allow=True)
    assert texts(prepared / "seeds.parquet")[:2] == ["Naročite me na pregled.", "Bi me vpisali?"]
    assert read_json(prepared / "prepare.json")["warnings"] == [
        "seeds.csv:2: this seed stands in the test set too (test.csv:4); kept, as params.yaml:prepare.allow_leaks says"
    ]


def test_a_text_under_two_labels_is_a_fault_even_where_leaks_are_allowed(tmp_path: Path) -> None:
    found = problems(tmp_path, test=TEST + "Naročite me na pregled.,hours\n", allow=True)
    assert "seeds.csv:2: column label: this text is `book` here, `hours` at test.csv:4; keep one label" in found


def test_more_seeds_than_wanted_are_left_out(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, wanted=1)
    assert texts(prepared / "seeds.parquet") == ["Naročite me na pregled.", "Kdaj odprete v soboto?"]


def test_a_failed_run_leaves_the_last_good_one(tmp_path: Path) -> None:
    prepare(tmp_path)
    before = digest(tmp_path / "work")
    with pytest.raises(PolydistillError):
        prepare(tmp_path, test="text,label\n")
    assert digest(tmp_path / "work") == before


def test_folder_and_language_must_be_those_of_the_task(tmp_path: Path) -> None:
    write_yaml(tmp_path / "other" / "task.yaml", TASK)
    with pytest.raises(PolydistillError) as error:
        run_prepare(
            tmp_path / "other", "sw", tmp_path / "p", tmp_path / "h", prepare_params(seeds_per_label=1, allow_leaks=[])
        )
    assert "name: `demo` is not the name of its folder, `other`" in str(error.value)
    assert "languages: `sw` is not among sl, az" in str(error.value)


def test_human_texts_that_give_a_test_text_away_go(tmp_path: Path) -> None:
    human = HUMAN + "Potrebujem termin za sredo.,book\nAli delate med poletnimi prazniki?,hours\n"
    prepared = prepare(tmp_path, human=human)
    assert removed(prepared) == [
        ("human.csv", 4, "gives a test text away", "test.csv:2"),
        ("human.csv", 5, "gives a test text away", "test.csv:3"),
    ]
    assert len(texts(prepared / "human.parquet")) == 2


def test_a_seed_that_is_nearly_a_test_text_is_warned_of(tmp_path: Path) -> None:
    test = TEST + "Naročite me na kontrolni pregled.,book\n"
    prepared = prepare(tmp_path, test=test)
    assert read_json(prepared / "prepare.json")["warnings"] == [
        "seeds.csv:2: this seed is one word apart from test.csv:4"
    ]
    assert len(texts(prepared / "seeds.parquet")) == 4
