"""Builds a small workspace of the cell demo/sl: two labels, a recorded teacher, everything readable by eye."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from polydistill.params import FilterParams, PrepareParams, check
from polydistill.records import text_id

REPOSITORY = Path(__file__).parents[1]

SEEDS = {
    "book": ["Naročite me na pregled.", "Rad bi termin pri okulistu."],
    "hours": ["Kdaj odprete v soboto?", "Do kdaj dela lekarna?"],
}
TEST = {
    "book": ["Potrebujem termin za torek.", "Bi me lahko vpisali k zobarju?", "Prosim za pregled v petek."],
    "hours": ["Ali delate med prazniki?", "Od kdaj ste danes odprti?", "Kdaj zapre laboratorij?"],
}
HUMAN = {
    "book": ["Želim se naročiti pri dermatologu.", "Kako pridem do termina?", "Naročila bi hčerko k pediatru."],
    "hours": ["Koliko časa je odprto popoldne?", "Je ambulanta odprta ob nedeljah?", "Kdaj začnete zjutraj?"],
}
GENERATED = {
    "book": [
        ["Zanima me prost termin pri ortopedu.", "Prosim, vpišite me na kontrolo kolena."],
        ["Mama potrebuje pregled srca, kdaj lahko pride?", "Rada bi prestavila sina k drugemu zobozdravniku."],
    ],
    "hours": [
        ["Ali je čakalnica odprta že ob šestih?", "Do katere ure vas lahko pokličemo po telefonu?"],
        ["Zanima me delovni čas med poletnimi počitnicami.", "So vrata ob sredah popoldne zaprta?"],
    ],
}
TASK = {
    "name": "demo",
    "instruction": "Messages to a clinic, by what they want.",
    "labels": [
        {"name": "book", "description": "wants an appointment"},
        {"name": "hours", "description": "asks when the clinic is open"},
    ],
    "languages": ["sl", "az"],
}
FACETS = {
    "lengths": ["a few words", "one sentence", "two sentences"],
    "registers": ["polite", "in haste"],
    "speakers": ["a parent", "a retired person"],
    "topics": {"book": ["the dentist", "a check-up", "an operation"], "hours": ["weekends", "the laboratory"]},
}
SETTINGS = {
    "cells": ["demo/sl"],
    "prepare.seeds_per_label": 2,
    "generate.texts_per_label": 4,
    "generate.texts_per_request": 2,
    "generate.top_up": 0,  # the recording has no further replies
    "train.sizes": [4, 6],
    "train.runs": 2,
}


def settings(**changes: Any) -> dict[str, Any]:
    """Return the repository's parameters, small, with changes such as `teacher__url="..."`."""
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    for key, value in {**SETTINGS, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        *path, last = key.split(".")
        section = content
        for part in path:
            section = section[part]
        section[last] = value
    return content


def prepare_params(**changes: Any) -> PrepareParams:
    """Return the repository's section `prepare`, with changes."""
    return check(PrepareParams, settings()["prepare"] | changes, "test")


def filter_params(**changes: Any) -> FilterParams:
    """Return the repository's section `filter`, with changes such as `too_long__max_chars=90`."""
    section = settings(**{f"filter__{key}": value for key, value in changes.items()})["filter"]
    return check(FilterParams, section, "test")


def write_csv(path: Path, texts: Mapping[str, Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "label"), *((text, label) for label in texts for text in texts[label])])


def write_yaml(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")


def recorded_replies() -> dict[str, str]:
    """Return what the recorded teacher says: texts, yes to each, and the right label of each test text but one."""
    replies = {}
    for label, parts in GENERATED.items():
        for number, texts in enumerate(parts):
            replies[f"generate/{label}/{number}"] = json.dumps({"texts": texts}, ensure_ascii=False)
            yes = {"language": True, "label": True, "natural": True, "decision": "accept", "text": "", "reason": ""}
            verdicts = [{"number": n, **yes} for n in range(1, len(texts) + 1)]
            replies[f"revise/{label}/{number}"] = json.dumps({"verdicts": verdicts})
    replies |= {f"zero-shot/{text_id(text, 'sl')}": label for label in TEST for text in TEST[label]}
    return replies | {f"zero-shot/{text_id(TEST['book'][0], 'sl')}": "I cannot say."}


def write_replies(
    path: Path, replies: dict[str, str], purposes: Sequence[str] = ("generate", "revise", "zero-shot")
) -> None:
    """Write a recording."""
    lines = [{"recording": 1, "purposes": {purpose: {"model": "tape"} for purpose in purposes}}]
    lines += [{"id": id, "reply": reply} for id, reply in replies.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def build_workspace(root: Path, *, test: Mapping[str, Sequence[str]] = TEST, **changes: Any) -> Path:
    """Write params.yaml and data/ of the workspace; `changes` as in `settings`."""
    write_yaml(root / "params.yaml", settings(**changes))
    write_yaml(root / "data" / "demo" / "task.yaml", TASK)
    folder = root / "data" / "demo" / "sl"
    write_csv(folder / "seeds.csv", SEEDS)
    write_csv(folder / "test.csv", test)
    write_csv(folder / "human.csv", HUMAN)
    write_replies(folder / "recording.jsonl", recorded_replies())
    return root
