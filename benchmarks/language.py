"""How many texts in a wrong language the language checks find, and how many right ones they reject.

    python benchmarks/language.py PAPER_DATA [--split test] [--identifier py3langid] [--texts 500]

PAPER_DATA holds the published data. The checks run with the
settings of params.yaml, one cell at a time, as if its task had no other language. Texts in Turkish, Croatian, Malay,
Indonesian, Czech and Slovak are those of tests/data/languages: written for this project. With `--split test` their
second half is taken, and the paper's test texts; with any other split their first half, on which the checks were tuned.
"""

import argparse
import csv
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from published import GENERATED, HUMAN, LANGUAGES, TASKS, TEST, read

from polydistill.checks._base import Check, Context
from polydistill.checks.mixed_language import MixedLanguage
from polydistill.checks.mixed_script import MixedScript
from polydistill.checks.wrong_language import WrongLanguage
from polydistill.checks.wrong_script import WrongScript
from polydistill.params import FilterParams, load_params
from polydistill.records import Record, Sample, Source

REPOSITORY = Path(__file__).parents[1]
CHECKS: tuple[type[Check], ...] = (WrongLanguage, WrongScript, MixedLanguage, MixedScript)
RELATIVES = (("tr", "az"), ("hr", "sl"), ("ms", "id"), ("id", "ms"), ("sk", "cs"), ("cs", "sk"))
DEMO = ("az", "sl", "sw")
LONG = 40
LENGTHS = (0, 10, 20, 40, 80)  # characters from which a row of the table begins
LINGUA = {"times_other": 1.0, "times_relative": 2.0}  # it is less sure of itself than py3langid


@dataclass(frozen=True)
class Published:
    """The published data: a split of them, at most so many texts a file, from all over it; None for all."""

    folder: Path
    split: str
    most: int | None

    def texts(self, task: str, language: str) -> list[str]:
        """Return the different texts of a file; none where there is no such file."""
        texts = [text for text, _ in read(self.folder, task, language, self.split)]
        return texts[:: math.ceil(len(texts) / self.most)] if self.most and texts else texts

    @property
    def half(self) -> str:
        """The half of the project's own texts that goes with the split."""
        return "reporting" if self.split == TEST else "tuning"


def own(language: str, half: str) -> list[str]:
    """Return the texts of tests/data/languages below the heading `# tuning` or `# reporting`."""
    lines = (REPOSITORY / f"tests/data/languages/{language}.txt").read_text(encoding="utf-8").splitlines()
    start = lines.index(f"# {half}") + 1
    stop = next((i for i in range(start, len(lines)) if lines[i].startswith("#")), len(lines))
    return lines[start:stop]


def found(texts: Sequence[str], wanted: str, params: FilterParams) -> list[set[int]]:
    """Return for each of CHECKS which texts it finds where `wanted` was asked for."""
    return [set(check.open(params, Context(wanted, [wanted])).find(_samples(texts))) for check in CHECKS]


def share(texts: Sequence[str], wanted: str, params: FilterParams) -> float:
    """Return the percentage of texts that any of CHECKS finds."""
    return 100 * len(set().union(*found(texts, wanted, params))) / len(texts)


def _samples(texts: Iterable[str]) -> list[Sample]:
    return [Sample(Record(text, label="", language="", origin="synthetic", source=Source())) for text in texts]


def print_found(data: Published, params: FilterParams) -> None:
    """Print how many texts in other languages are found."""
    print(f"| texts in | wanted | texts | found % | of {LONG} characters or more | found % |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for other, wanted in RELATIVES:
        texts = own(other, data.half)
        long = [text for text in texts if len(text) >= LONG]
        shares = share(texts, wanted, params), share(long, wanted, params)
        print(f"| {other} | {wanted} | {len(texts)} | {shares[0]:.1f} | {len(long)} | {shares[1]:.1f} |")
    print("\n| texts in | wanted | texts | found %, mean over pairs | least |\n| --- | --- | ---: | ---: | ---: |")
    for task in TASKS:
        for name, others in (("English", ["en"]), ("unrelated languages", [la for la in LANGUAGES if la != "en"])):
            shares, count = [], 0
            for wanted in LANGUAGES:
                for other in others:
                    texts = data.texts(task, other)
                    if texts and wanted not in (other, "en"):
                        shares.append(share(texts, wanted, params))
                        count += len(texts)
            print(f"| {name}, {task} | each other | {count} | {statistics.mean(shares):.2f} | {min(shares):.2f} |")


def print_rejected(data: Published, params: FilterParams) -> None:
    """Print how many right texts are rejected."""
    names = " | ".join(check.__name__ for check in CHECKS)
    print(f"\n| task | language | texts | {names} | any % |\n| --- | --- | ---: {'| ---: ' * len(CHECKS)}| ---: |")
    for task in TASKS:
        shares = [
            _print_row(task, language, texts, params) for language in LANGUAGES if (texts := data.texts(task, language))
        ]
        print(f"| {task} | mean | | {'| ' * len(CHECKS)}{statistics.mean(shares):.2f} |")
    for language in sorted({wanted for _, wanted in RELATIVES}):
        if language not in LANGUAGES:
            _print_row("own texts", language, own(language, data.half), params)
    for language in DEMO:
        files = sorted((REPOSITORY / "data/clinic" / language).glob("*.csv"))
        texts = [row["text"] for file in files for row in csv.DictReader(file.open(encoding="utf-8", newline=""))]
        _print_row("demo", language, texts, params)


def print_rejected_by_length(data: Published, params: FilterParams) -> None:
    """Print how many right texts any check rejects, by their length, over all tasks and languages."""
    rows: list[tuple[int, bool]] = []
    for task in TASKS:
        for language in LANGUAGES:
            if texts := data.texts(task, language):
                gone = set().union(*found(texts, language, params))
                rows += [(len(text), i in gone) for i, text in enumerate(texts)]
    print("\n| right texts of | texts | any % |\n| --- | ---: | ---: |")
    for low, high in zip(LENGTHS, [*LENGTHS[1:], math.inf], strict=True):
        of_length = [gone for length, gone in rows if low <= length < high]
        name = f"{low} characters or more" if high == math.inf else f"{low} to {high - 1} characters"
        print(f"| {name} | {len(of_length)} | {100 * statistics.mean(of_length):.2f} |")


def _print_row(task: str, language: str, texts: Sequence[str], params: FilterParams) -> float:
    by_check = found(texts, language, params)
    every = 100 * len(set().union(*by_check)) / len(texts)
    each = " | ".join(f"{100 * len(of_check) / len(texts):.2f}" for of_check in by_check)
    print(f"| {task} | {language} | {len(texts)} | {each} | {every:.2f} |", flush=True)
    return every


def print_speed(data: Published, params: FilterParams) -> None:
    """Print the speed of each check, on the published texts of all languages as if they were to be Slovenian."""
    texts = [text for task in TASKS for language in LANGUAGES for text in data.texts(task, language)]
    samples = _samples(texts)
    length = statistics.mean(map(len, texts))
    print(f"\n| check | texts per CPU second ({len(texts)} texts of {length:.0f} characters) |\n| --- | ---: |")
    for check in CHECKS:
        opened = check.open(params, Context("sl", ["sl"]))
        opened.find(samples[:100])
        start = time.process_time()
        opened.find(samples)
        print(f"| {check.__name__} | {len(texts) / (time.process_time() - start):,.0f} |", flush=True)


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paper_data", type=Path)
    parser.add_argument("--split", default=TEST, choices=(TEST, HUMAN, GENERATED))
    parser.add_argument("--identifier", default="py3langid", choices=("py3langid", "lingua"))
    parser.add_argument("--texts", type=int, help="texts of a file, at most")
    arguments = parser.parse_args()
    section = load_params(REPOSITORY / "params.yaml").filter
    changes = {"identifier": "lingua", **LINGUA} if arguments.identifier == "lingua" else {}
    params = section.model_copy(update={"wrong_language": section.wrong_language.model_copy(update=changes)})
    data = Published(arguments.paper_data, arguments.split, arguments.texts)
    print_found(data, params)
    print_rejected(data, params)
    print_rejected_by_length(data, params)
    print_speed(data, params)


if __name__ == "__main__":
    main()
