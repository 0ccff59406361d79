"""Texts for the tests of the language checks, and a check's settings as in params.yaml."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from polydistill.checks._base import Context
from polydistill.records import Record, Sample, Source

FOLDER = Path(__file__).parent / "data/languages"


def samples(texts: Iterable[str]) -> list[Sample]:
    """Return a generated sample a text."""
    return [Sample(Record(text, "label", "und", "synthetic", Source())) for text in texts]


def context(language: str, seeds: Sequence[str] = ()) -> Context:
    """Return what a check knows of a cell whose task has no other language."""
    return Context(language, [language], seeds=seeds)


def own_texts(language: str, half: str) -> list[str]:
    """Return the texts of data/languages below the heading `# tuning` or `# reporting`."""
    lines = (FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    start = lines.index(f"# {half}") + 1
    stop = lines.index("# reporting") if half == "tuning" else len(lines)
    return lines[start:stop]
