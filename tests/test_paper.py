import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from polydistill.errors import DataError
from polydistill.files import digest, read_json
from polydistill.generate import run_generate
from polydistill.paper import ImportReport, import_paper, new_paper_workspace
from polydistill.params import Params, check, load_params
from polydistill.prepare import run_prepare
from polydistill.records import SAMPLE, read_records, read_rows
from polydistill.replies import read_label
from polydistill.task import load_task
from spaces import prepare_params, settings

TEST = "text,label\nslab dan,0\nlep dan,1\nhud mraz,0\nsončno jutro,1\n"
HUMAN = "text,label\nžalosten,0\nvesel,1\nobupen,0\nsrečen,1\nslabo,0\ndobro,1\n"
SYNTHETIC = "text,label\nvse je narobe,0\ngrozno,0\nnič ne dela,0\nkrasno,1\nvse je v redu,1\n"
CELL = {"sl-test": TEST, "sl-train_human_parsed": HUMAN, "sl-train_full": SYNTHETIC}
PARAMS = check(Params, settings(generate__self_revision=False), "test")


def publish(root: Path, files: Mapping[str, str], task: str = "sentiment") -> Path:
    for name, content in files.items():
        path = root / "data" / task / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    return root


def run_import(
    source: Path, workspace: Path, tasks: Sequence[str] = (), languages: Sequence[str] = (), **more: object
) -> ImportReport:
    settings = {"seeds_per_label": 2, "texts_per_label": 4, "texts_per_request": 2, **more}
    return import_paper(source, workspace, tasks, languages, **settings)  # type: ignore[arg-type]


def table(workspace: Path, name: str, cell: str = "sentiment/sl") -> list[tuple[str, str]]:
    with (workspace / "data" / cell / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["label"]) for row in csv.DictReader(lines)]


def findings(report: ImportReport) -> set[str]:
    return {str(finding) for cell in report.cells for finding in cell.findings}


def prepare(workspace: Path, seeds: int = 2, cell: str = "sentiment/sl") -> Path:
    task, language = cell.split("/")
    out = workspace / "work" / task / language
    params = prepare_params(seeds_per_label=seeds, allow_leaks=[])
    run_prepare(workspace / "data" / task, language, out / "prepared", out / "heldout", params)
    return out


def generate(workspace: Path, out: Path, cell: str) -> None:
    recorded = workspace / "data" / cell / "recording.jsonl"
    sections = (PARAMS.generate, PARAMS.filter, PARAMS.teacher, PARAMS.budget)
    run_generate(out / "prepared", recorded, out / "generated", *sections)


def test_an_imported_cell_goes_through_prepare_and_generate(tmp_path: Path) -> None:
    report = run_import(publish(tmp_path / "published", CELL), tmp_path)
    out = prepare(tmp_path)
    generate(tmp_path, out, "sentiment/sl")
    assert report.names == ["sentiment/sl"]
    assert Counter(record.label for record in read_records(out / "prepared/seeds.parquet")) == {
        "negative": 2,
        "positive": 2,
    }
    assert [(r.text, r.label) for r in read_records(out / "heldout/test.parquet")] == [
        ("slab dan", "negative"),
        ("lep dan", "positive"),
        ("hud mraz", "negative"),
        ("sončno jutro", "positive"),
    ]
    samples = read_rows(out / "generated/samples.parquet", SAMPLE)
    assert [(row["text"], row["source"]["request"]) for row in samples] == [
        ("vse je narobe", "generate/negative/0"),
        ("grozno", "generate/negative/1"),
        ("nič ne dela", "generate/negative/1"),
        ("krasno", "generate/positive/0"),
        ("vse je v redu", "generate/positive/1"),
    ]
    assert read_json(out / "generated/usage.json")["teacher"]["model"] == "meta-llama/Meta-Llama-3-70B-Instruct"


def test_a_label_with_a_slash_goes_through_generate(tmp_path: Path) -> None:
    numbers = range(7)
    files = {
        "en-test": "text,label\n" + "".join(f"test {n},{n}\n" for n in numbers),
        "en-train_human_parsed": "text,label\n" + "".join(f"human {n},{n}\n" for n in numbers),
        "en-train_full": "text,label\natoms,0\nhotels,1\n",
    }
    run_import(publish(tmp_path / "published", files, "topic"), tmp_path, seeds_per_label=1)
    out = prepare(tmp_path, 1, "topic/en")
    generate(tmp_path, out, "topic/en")
    samples = read_rows(out / "generated/samples.parquet", SAMPLE)
    assert [(row["text"], row["label"]) for row in samples] == [("atoms", "science/technology"), ("hotels", "travel")]


def test_seeds_are_drawn_from_the_human_texts_and_the_rest_is_human(tmp_path: Path) -> None:
    source = publish(tmp_path / "published", CELL)
    run_import(source, tmp_path)
    seeds, human = table(tmp_path, "seeds"), table(tmp_path, "human")
    assert len(seeds) == 4 and len(human) == 2
    assert {text for text, _ in seeds + human} == {"žalosten", "vesel", "obupen", "srečen", "slabo", "dobro"}
    drawn = set()
    for seed in range(5):
        run_import(source, tmp_path, seed=seed)
        drawn.add(tuple(table(tmp_path, "seeds")))
    assert len(drawn) > 1


def test_without_human_texts_the_seeds_leave_the_test_set(tmp_path: Path) -> None:
    test = "text,label\nslab dan,0\nlep dan,1\nSlab dan!,0\n"
    files = {"sl-test": test + "mraz,0\nsonce,1\nmegla,0\n", "sl-train_full": SYNTHETIC}
    report = run_import(publish(tmp_path / "published", files), tmp_path)
    prepare(tmp_path)
    seeds, kept = table(tmp_path, "seeds"), table(tmp_path, "test")
    assert len(seeds) == 4
    assert table(tmp_path, "human") == []
    assert not {text.casefold().strip("!") for text, _ in seeds} & {text.casefold().strip("!") for text, _ in kept}
    taken = next(found for found in findings(report) if "taken out as a seed" in found)
    assert taken.startswith(f"sentiment/sl-test.csv: {6 - len(kept)} × test text taken out as a seed")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"sl-train_human_parsed": HUMAN + ' ,0\n"",1\n'},
            "sentiment/sl-train_human_parsed.csv: 2 × no text, left out (line 8, 9)",
            id="no-text",
        ),
        pytest.param(
            {"sl-test": TEST + "megla,\n"}, "sentiment/sl-test.csv: 1 × no label, left out (line 6)", id="no-label"
        ),
        pytest.param(
            {"sl-train_full": SYNTHETIC + "kdo ve,2\n"},
            "sentiment/sl-train_full.csv: 1 × unknown label, left out (line 7)",
            id="unknown-label",
        ),
        pytest.param(
            {"sl-test": 'id,text,intent,label\n1,"prva\nin druga",negative,0\n2,lep dan,negative,1\n'},
            "sentiment/sl-test.csv: 1 × columns label and intent disagree, left out (line 4)",
            id="contradiction",
        ),
        pytest.param(
            {"sl-train_human_parsed": HUMAN + "dobro,1,x\n"},
            "sentiment/sl-train_human_parsed.csv: 1 × not as many cells as the header, left out (line 8)",
            id="cells",
        ),
        pytest.param(
            {"sl-train_human_parsed": HUMAN + "\uff24obro!,1\n"},
            "sentiment/sl-train_human_parsed.csv: 1 × training text repeated, left out (line 8)",
            id="repeated",
        ),
        pytest.param(
            {"sl-train_human_parsed": HUMAN + "tako tako,0\ntako TAKO,1\n"},
            "sentiment/sl-train_human_parsed.csv: 2 × training text under two labels, left out (line 8, 9)",
            id="two-labels",
        ),
        pytest.param(
            {"sl-train_human_parsed": HUMAN + "Lep dan.,0\n"},
            "sentiment/sl-train_human_parsed.csv: 1 × training text stands in the test set, left out (line 8)",
            id="leak",
        ),
        pytest.param(
            {"sl-test": TEST + "tako tako,0\ntako TAKO,1\n"},
            "sentiment/sl-test.csv: 2 × test text under two labels, left out (line 6, 7)",
            id="two-test-labels",
        ),
        pytest.param(
            {"sl-test": TEST + "Lep dan,1\n"},
            "sentiment/sl-test.csv: 1 × test text repeated, kept (line 6)",
            id="repeated-test",
        ),
        pytest.param(
            {"sl-train_full": SYNTHETIC + "krasno!,1\nKrasno,1\n"},
            "sentiment/sl-train_full.csv: 2 × generated text repeated, left to `filter` (line 7, 8)",
            id="repeated-generated",
        ),
        pytest.param(
            {"sl-train_full": SYNTHETIC + '"ena\ndva",1\n'},
            "sentiment/sl-train_full.csv: 1 × line break in the text, kept (line 7)",
            id="line-break",
        ),
        pytest.param(
            {"sl-train_human_parsed": HUMAN + "\n".join(f",{n % 2}" for n in range(7))},
            "sentiment/sl-train_human_parsed.csv: 7 × no text, left out (line 8, 9, 10, 11, 12, ...)",
            id="many",
        ),
    ],
)
def test_a_flaw_is_reported_and_the_cell_still_runs(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    report = run_import(publish(tmp_path / "published", CELL | files), tmp_path)
    assert expected in findings(report)
    prepare(tmp_path)


def test_a_clean_cell_has_nothing_to_report(tmp_path: Path) -> None:
    assert findings(run_import(publish(tmp_path / "published", CELL), tmp_path)) == set()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param("text,label\nslabo,0\ndobro,1\n", id="numbers"),
        pytest.param("text,label\nslabo,0.0\ndobro,1.0\n", id="numbers-as-pandas-writes-them"),
        pytest.param("text,label\nslabo,negative\ndobro,positive\n", id="names"),
        pytest.param(",id,text,intent\n0,7,slabo,negative\n1,8,dobro,positive\n", id="intent-alone"),
        pytest.param("text,intent,label\nslabo,negative,\ndobro,,1\n", id="either"),
        pytest.param("\ufefftext,label\r\nslabo,0\r\ndobro,1\r\n", id="bom-and-crlf"),
    ],
)
def test_the_label_is_a_number_or_a_name(tmp_path: Path, rows: str) -> None:
    run_import(publish(tmp_path / "published", CELL | {"sl-test": rows, "sl-train_human_parsed": HUMAN}), tmp_path)
    assert table(tmp_path, "test") == [("slabo", "negative"), ("dobro", "positive")]


@pytest.mark.parametrize(
    "odd", ['rekel je "da",\r\nin odšel', "odšel\rdomov", "odšel\u2028domov", "rekel\nje", "=1+1", "'"]
)
def test_texts_arrive_as_they_are(tmp_path: Path, odd: str) -> None:
    quoted = '"' + odd.replace('"', '""') + '",1\n'
    files = {"sl-test": TEST + quoted, "sl-train_full": SYNTHETIC + quoted}
    run_import(publish(tmp_path / "published", CELL | files), tmp_path)
    out = prepare(tmp_path)
    generate(tmp_path, out, "sentiment/sl")
    assert read_records(out / "heldout/test.parquet")[-1].text == odd
    samples = [row["text"] for row in read_rows(out / "generated/samples.parquet", SAMPLE)]
    faults = read_json(out / "generated/usage.json")["purposes"]["generate"]["faults"]
    # A carriage return is a control character, with which no text of a teacher is taken.
    assert (samples[-1], "control" in faults) == (("vse je v redu", True) if "\r" in odd else (odd, False))


REPLIES = (
    "id,text,label,reply\n"
    '7,SLAB dan!,0,"Negative,\nI think"\n'
    "8,lep dan,1,positive\n"
    "9,lep dan,1,negative\n"
    "1,drugje,1,positive\n"
    "2,hud mraz,0,\n"
)


def recording(workspace: Path, cell: str = "sentiment/sl") -> list[dict[str, Any]]:
    with (workspace / "data" / cell / "recording.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def replies_folder(root: Path, **files: str) -> Path:
    (root / "sentiment").mkdir(parents=True)
    for name, content in files.items():
        (root / "sentiment" / f"sl-{name}.csv").write_text(content, encoding="utf-8")
    return root


def test_zero_shot_replies_are_found_by_the_text(tmp_path: Path) -> None:
    source, replies = publish(tmp_path / "published", CELL), replies_folder(tmp_path / "replies", gpt4=REPLIES)
    report = run_import(source, tmp_path, replies=replies)
    out = prepare(tmp_path)
    header, *rest = recording(tmp_path)
    by_id = {row["id"]: row["reply"] for row in rest}
    asked = {record.text: record.id for record in read_records(out / "heldout/test.parquet")}
    assert header["purposes"]["zero-shot"] == {"model": "gpt-4"}
    assert {text: by_id[f"zero-shot/{id}"] for text, id in asked.items()} == {
        "slab dan": "Negative,\nI think",
        "lep dan": "positive",
        "hud mraz": "",
        "sončno jutro": "",
    }
    assert findings(report) == {
        "sentiment/sl-gpt4.csv: 1 × another reply to the same text, left out (line 5)",
        "sentiment/sl-gpt4.csv: 1 × reply to a text that is not in the test set, left out (line 6)",
        "sentiment/sl-test.csv: 2 × no reply in sl-gpt4.csv, taken as an abstention (line 4, 5)",
    }


def test_without_replies_there_is_no_zero_shot_purpose(tmp_path: Path) -> None:
    source, replies = publish(tmp_path / "published", CELL), replies_folder(tmp_path / "replies", gpt4=REPLIES)
    publish(source, {name.replace("sl-", "sw-"): content for name, content in CELL.items()})
    report = run_import(source, tmp_path, replies=replies)
    assert {cell.cell: cell.zero_shot for cell in report.cells} == {"sentiment/sl": "gpt-4", "sentiment/sw": None}
    assert list(recording(tmp_path, "sentiment/sw")[0]["purposes"]) == ["generate"]


def test_replies_of_one_of_several_models_are_taken(tmp_path: Path) -> None:
    source = publish(tmp_path / "published", CELL)
    files = {"gpt3.5": REPLIES.replace("positive", "negative"), "other": REPLIES}
    replies = replies_folder(tmp_path / "replies", **files)
    report = run_import(source, tmp_path, replies=replies, replies_model="gpt3.5")
    assert report.cells[0].zero_shot == "gpt-3.5-turbo"
    assert "negative" in {row.get("reply") for row in recording(tmp_path)}
    with pytest.raises(DataError, match=r"no replies of `gpt4` for sentiment/sl; there are gpt3\.5, other"):
        run_import(source, tmp_path, replies=replies)
    with pytest.raises(DataError, match="holds no replies: looked for <task>/<language>-<model>.csv"):
        run_import(source, tmp_path, replies=replies / "sentiment")


@pytest.mark.parametrize(
    ("files", "name", "why"),
    [
        pytest.param({"sw-train_full": SYNTHETIC}, "sentiment/sw", "sw-test.csv was not published", id="no-test"),
        pytest.param({"sw-test": TEST}, "sentiment/sw", "sw-train_full.csv was not published", id="no-generated"),
        pytest.param(
            {"sw-test": TEST, "sw-train_full": SYNTHETIC, "sw-train_human_parsed": "text,label\nvesel,1\n"},
            "sentiment/sw",
            "label `negative` has 0 human texts to draw seeds from, wanted 2",
            id="few-seeds",
        ),
        pytest.param(
            {"sw-test": TEST, "sw-train_full": "text,label\n,1\n"},
            "sentiment/sw",
            "sw-train_full.csv holds no usable text",
            id="empty",
        ),
        pytest.param({"sw_KE-test": TEST}, "sentiment/sw_KE-test.csv", "BCP 47", id="language"),
        pytest.param({"../toxicity/sw-test": TEST}, "toxicity", "not one of the tasks", id="task"),
    ],
)
def test_what_cannot_run_is_passed_over_and_said(tmp_path: Path, files: dict[str, str], name: str, why: str) -> None:
    report = run_import(publish(tmp_path / "published", CELL | files), tmp_path)
    assert report.names == ["sentiment/sl"]
    assert list(report.skipped) == [name] and why in report.skipped[name]
    assert load_task(tmp_path / "data/sentiment/task.yaml").languages == ["sl"]


@pytest.mark.parametrize(
    ("tasks", "languages", "message"),
    [
        pytest.param(["sarcasm"], [], "no files of task `sarcasm`; there are sentiment/sl, sentiment/sw", id="task"),
        pytest.param([], ["fr"], "no files of language `fr`; there are sentiment/sl, sentiment/sw", id="language"),
        pytest.param([], ["sw"], "sentiment/sw: sw-test.csv was not published", id="unusable"),
    ],
)
def test_a_choice_that_leaves_nothing_is_an_error(
    tmp_path: Path, tasks: list[str], languages: list[str], message: str
) -> None:
    source = publish(tmp_path / "published", CELL | {"sw-train_full": SYNTHETIC})
    with pytest.raises(DataError, match=message):
        run_import(source, tmp_path / "workspace", tasks, languages)
    assert not (tmp_path / "workspace").exists()


def test_a_folder_without_the_files_is_an_error(tmp_path: Path) -> None:
    source = publish(tmp_path / "published", CELL)
    for folder in (source / "data", tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"looked for data/<task>/<language>-<split>\.csv"):
            run_import(folder, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"text,label\ndan,0\nd\xfcn,1\n", "sw-test.csv:3: not UTF-8", id="encoding"),
        pytest.param(b'text,label\ndan,0\n"dan"x,1\n', "sw-test.csv:3: not CSV", id="quotes"),
        pytest.param(b"sentence,label\ndan,0\n", "sw-test.csv:1: column text is missing", id="text"),
        pytest.param(b"text,class\ndan,0\n", "sw-test.csv:1: column label or intent is missing", id="label"),
        pytest.param(b"", "sw-test.csv: the file is empty", id="empty"),
    ],
)
def test_a_damaged_file_leaves_the_workspace_as_it_was(tmp_path: Path, content: bytes, message: str) -> None:
    source, workspace = publish(tmp_path / "published", CELL), tmp_path / "workspace"
    run_import(source, workspace)
    before = digest(workspace)
    publish(source, {"sl-test": TEST + "megla,0\n", "sw-test": "", "sw-train_full": SYNTHETIC})
    (source / "data/sentiment/sw-test.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        run_import(source, workspace)
    assert digest(workspace) == before


def test_a_second_import_replaces_its_cells_and_keeps_the_others(tmp_path: Path) -> None:
    source = publish(tmp_path / "published", CELL)
    run_import(source, tmp_path)
    sl = digest(tmp_path / "data/sentiment/sl")
    (tmp_path / "data/sentiment/sw").mkdir()
    (tmp_path / "data/sentiment/sw/stale.csv").touch()
    publish(source, {name.replace("sl-", "sw-"): content for name, content in CELL.items()})
    assert run_import(source, tmp_path, languages=["sw"]).names == ["sentiment/sw"]
    assert digest(tmp_path / "data/sentiment/sl") == sl
    assert not (tmp_path / "data/sentiment/sw/stale.csv").exists()
    assert load_task(tmp_path / "data/sentiment/task.yaml").languages == ["sl", "sw"]


def test_somebody_elses_task_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data/sentiment/task.yaml"
    path.parent.mkdir(parents=True)
    labels = "[{name: good, description: good}, {name: bad, description: bad}]"
    path.write_text(f"name: sentiment\ninstruction: Mine.\nlanguages: [sl]\nlabels: {labels}\n")
    before = digest(tmp_path / "data")
    with pytest.raises(DataError, match="another task of the same name"):
        run_import(publish(tmp_path / "published", CELL), tmp_path)
    assert digest(tmp_path / "data") == before


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    source, replies = publish(tmp_path / "published", CELL), replies_folder(tmp_path / "replies", gpt4=REPLIES)
    for name in ("one", "two"):
        run_import(source, tmp_path / name, replies=replies)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_new_workspace_names_the_cells_and_replays_the_texts(tmp_path: Path) -> None:
    texts = {label: "".join(f"besedilo {n} {label},{label}\n" for n in range(12)) for label in (0, 1)}
    files = CELL | {"sl-train_human_parsed": "text,label\n" + texts[0] + texts[1]}
    source, workspace = publish(tmp_path / "published", files), tmp_path / "workspace"
    new_paper_workspace(source, workspace)
    params = load_params(workspace / "params.yaml")
    assert params.cells == ["sentiment/sl"]
    assert params.teacher.kind == "recorded" and not params.generate.self_revision
    assert len(table(workspace, "seeds")) == 2 * params.prepare.seeds_per_label
    requests = -(-params.generate.texts_per_label // params.generate.texts_per_request)
    assert len(recording(workspace)) == 1 + 2 * requests
    before = digest(workspace / "data")
    publish(source, {"sl-test": TEST + "megla,0\n"})
    with pytest.raises(DataError, match=r"already holds params\.yaml"):
        new_paper_workspace(source, workspace)
    assert digest(workspace / "data") == before


@pytest.mark.paper_data
@pytest.mark.parametrize("cell", ["intent/te", "sarcasm/en", "sentiment/sl", "sentiment/te", "topic/sw"])
def test_a_published_cell_goes_through_prepare(paper_data: Path, tmp_path: Path, cell: str) -> None:
    task, language = cell.split("/")
    report = import_paper(paper_data, tmp_path, [task], [language])
    facts = read_json(prepare(tmp_path, 10, cell) / "prepared/prepare.json")
    texts = {name: sum(by_label.values()) for name, by_label in report.cells[0].texts.items()}
    assert {row["reason"] for row in facts["removed"]} <= {"gives a test text away"}
    assert facts["counts"] == {
        "seeds": texts["seeds"],
        "human": texts["human"] - len(facts["removed"]),
        "test": texts["test"],
    }
    assert not [found for found in findings(report) if "unknown label" in found or "disagree" in found]


@pytest.mark.paper_data
def test_the_published_flaws_are_found(paper_data: Path, tmp_path: Path) -> None:
    report = import_paper(paper_data, tmp_path, ["sarcasm", "sentiment"], ["en", "sl", "te"])
    assert {
        "sarcasm/en-train_human_parsed.csv: 1 × no text, left out (line 1227)",
        "sentiment/te-test.csv: 4 × test text under two labels, left out (line 762, 1906, 2447, 4070)",
        "sentiment/te-train_full.csv: 2 × generated text repeated, left to `filter` (line 288, 328)",
    } <= findings(report)
    assert any("20 × test text taken out as a seed" in found for found in findings(report))


@pytest.mark.paper_data
@pytest.mark.parametrize(("language", "right", "wrong"), [("sl", 0.62, 0.06), ("de", 0.70, 0.08)])
def test_published_replies_are_read_without_guessing(
    paper_data: Path, tmp_path: Path, language: str, right: float, wrong: float
) -> None:
    cell = f"topic/{language}"
    import_paper(paper_data, tmp_path, ["topic"], [language], paper_data / "llm-replies")
    test = read_records(prepare(tmp_path, 10, cell) / "heldout/test.parquet")
    replies = {row["id"]: row["reply"] for row in recording(tmp_path, cell)[1:]}
    labels = load_task(tmp_path / "data/topic/task.yaml").labels
    read = {record.id: read_label(replies[f"zero-shot/{record.id}"], labels, language) for record in test}
    correct = sum(read[record.id] == record.label for record in test)
    assert correct >= right * len(test)
    assert len(test) - correct - list(read.values()).count(None) <= wrong * len(test)
