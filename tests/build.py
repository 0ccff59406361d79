"""Builds the folders that steps pass to each other from a few texts written in a test."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polydistill.files import write_json
from polydistill.records import QUESTION, SAMPLE, Origin, Record, Source, to_row, write_records, write_rows

Texts = Mapping[str, Sequence[str]]  # label -> texts


def records(texts: Texts, origin: Origin = "synthetic", language: str = "sl") -> list[Record]:
    """Return a record a text, in order."""
    return [
        Record(text, label, language, origin, Source(request=f"generate/{label}/0", position=i))
        for label, of_label in texts.items()
        for i, text in enumerate(of_label)
    ]


def build_prepared(
    folder: Path,
    seeds: Texts,
    *,
    spare: Texts | None = None,
    human: Texts | None = None,
    test: Texts | None = None,
    allow_leaks: bool = False,
) -> Path:
    """Write what `prepare` writes for the cell demo/sl, with the labels of `seeds`."""
    write_records(folder / "seeds.parquet", records(seeds, "seed"))
    write_records(folder / "spare.parquet", records(spare or {}, "seed"))
    write_records(folder / "human.parquet", records(human or {}, "human"))
    asked = [{"id": r.id, "text": r.text, "language": r.language} for r in records(test or {}, "human")]
    write_rows(folder / "questions.parquet", asked, QUESTION)
    labels = [{"name": label, "description": f"texts about {label}", "names": {}} for label in seeds]
    task = {"name": "demo", "instruction": "Classify the text.", "labels": labels, "languages": ["sl", "sw", "az"]}
    counts = {"seeds": len(records(seeds)), "human": len(records(human or {})), "test": len(asked)}
    facts = {"schema_version": 1, "task": task, "language": "sl", "counts": counts, "removed": [], "warnings": []}
    facts["allow_leaks"] = allow_leaks
    write_json(folder / "prepare.json", facts)
    return folder


def sample_row(record: Record, decision: str | None = "accept", reason: str = "") -> dict[str, Any]:
    """Return a row of `SAMPLE`."""
    return to_row(record, decision=decision, verdict_reason=reason, original=None)


def build_generated(folder: Path, texts: Texts, *, decisions: Mapping[str, str | None] | None = None) -> Path:
    """Write what `generate` writes; texts not named in `decisions` are accepted by the teacher."""
    rows = [sample_row(record, (decisions or {}).get(record.text, "accept")) for record in records(texts)]
    write_rows(folder / "samples.parquet", rows, SAMPLE)
    usage = {
        "schema_version": 2,
        "complete": True,
        "teacher": {"kind": "recorded", "model": "tape", "revision": "", "structured": True},
        "strategy": "plain",
        "purposes": {},
        "texts": {"wanted": len(rows), "written": len(rows), "usable": len(rows)},
        "unusable": {},
        "unreadable": {},
        "faults": {},
        "shortfall": {},
        "judge": {
            "verdicts": {"accept": len(rows), "repair": 0, "reject": 0, "none": 0},
            "accepts_what_rules_reject": {},
            "faults_language_that_rules_accept": 0,
        },
    }
    write_json(folder / "usage.json", usage)
    return folder
