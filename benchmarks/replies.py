"""How well labels are read out of real replies: two LLMs' zero-shot answers to the topic test texts, as free text.

    python benchmarks/replies.py PAPER_DATA

PAPER_DATA holds the published data. For each file of replies: how many were read, how many of those name the label of
the test text, and the same of a reader that takes the first label that a reply mentions. The models' mistakes are in
both.

What the reader itself gets wrong is told by benchmarks/replies.csv: for 100 replies, drawn at random, the label that
was read by hand, from the reply alone: without the text, its label, or what the reader makes of it. It is empty where
the reply names no label of the task, says that none fits, or leaves several open. The reader was improved on the other
2,348 replies alone, by their wording, without the labels of their texts.
"""

import argparse
import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polydistill.paper.published import known_facts
from polydistill.replies import read_label
from polydistill.task import Label

BY_HAND = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True)
class Answer:
    """A reply, the text that was asked about, and the text's label."""

    reply: str
    text: str
    label: str
    language: str


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def read_answers(folder: Path, labels: Sequence[Label]) -> dict[str, dict[str, Answer]]:
    """Return the replies by file, then by id; labels are numbers there."""
    return {
        path.stem: {
            row["id"]: Answer(row["reply"], row["text"], labels[int(row["label"])].name, path.stem.split("-")[0])
            for row in read_rows(path)
        }
        for path in sorted(folder.glob("*.csv"))
    }


def first_mentioned(answer: Answer, labels: Sequence[Label]) -> str | None:
    """Return the label whose name, or half of a name with a slash, comes first in the reply."""
    names = {part: label.name for label in labels for part in [label.name, *label.name.split("/")]}
    found = re.search("|".join(map(re.escape, names)), answer.reply.lower())
    return names[found[0]] if found else None


def read(answer: Answer, labels: Sequence[Label]) -> str | None:
    """Return what the parser reads, as `evaluate` has it read."""
    return read_label(answer.reply, labels, answer.language, asked=answer.text)


def scores(answers: Iterable[Answer], said: Sequence[str | None]) -> str:
    """Return cells of the table: read, right among the read, right among all (where an abstention is wrong)."""
    truth = [answer.label for answer in answers]
    known = sum(label is not None for label in said)
    right = sum(label == of_text for label, of_text in zip(said, truth, strict=True))
    return f"{known} | {right / known:.1%} | {right / len(truth):.1%}"


def by_hand(answers: Mapping[str, Mapping[str, Answer]], labels: Sequence[Label]) -> None:
    """Print how the parser does on the replies that were read by hand."""
    counts = dict.fromkeys(["read", "right", "no label, read", "a label, not read"], 0)
    rows = read_rows(BY_HAND)
    for row in rows:
        file, _, id = row["reply"].partition("/")
        said, seen = read(answers[file][id], labels) or "", row["label"]
        counts["read"] += bool(said)
        counts["right"] += bool(said) and said == seen
        counts["no label, read"] += bool(said) and not seen
        counts["a label, not read"] += bool(seen) and not said
    print(f"\n{len(rows)} replies by hand: precision {counts['right'] / counts['read']:.1%};", counts)


def main() -> None:
    """Print the table and what the check by hand says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper_data", type=Path)
    labels = [Label.model_validate(label) for label in known_facts()["tasks"]["topic"]["labels"]]
    answers = read_answers(parser.parse_args().paper_data / "llm-replies/topic", labels)
    print("| replies | | read | right of the read | right of all | first mention: read | right of the read | of all |")
    print("| --- " + "| ---: " * 7 + "|")
    everything = [answer for of_file in answers.values() for answer in of_file.values()]
    for name, of_file in [*((name, list(of_file.values())) for name, of_file in answers.items()), ("all", everything)]:
        ours = scores(of_file, [read(answer, labels) for answer in of_file])
        first = scores(of_file, [first_mentioned(answer, labels) for answer in of_file])
        print(f"| {name} | {len(of_file)} | {ours} | {first} |")
    guessed = [first_mentioned(answer, labels) == answer.label for answer in everything if not read(answer, labels)]
    named = sum(first_mentioned(answer, labels) is not None for answer in everything if not read(answer, labels))
    print(f"\nof {named} replies that only first mention reads, {sum(guessed) / named:.1%} are right")
    by_hand(answers, labels)


if __name__ == "__main__":
    main()
