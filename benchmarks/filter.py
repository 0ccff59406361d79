"""Texts a second, memory, recall and precision of finding near-duplicates beside two libraries, and of all checks.

    pip install datasketch==2.0.0 gaoya==0.2.2
    python benchmarks/filter.py PAPER_DATA [--texts 200000] [--jobs near datasketch gaoya all]

PAPER_DATA holds the published data. A fifth of the texts are
planted: copies of others with one edit each. The rest are chains of words, each word drawn among those that follow the
one before it in the published texts of a language; as many published texts as these there are not. Every job runs in a
process of its own, on the same texts, and walks through them in their order: a text goes that is near to an earlier one
that stays. The libraries propose candidates, which are compared exactly, as polydistill compares its own.
"""

# ruff: noqa: PLC0415
import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from published import GENERATED, HUMAN, LANGUAGES, NEARLY, TASKS, TEST, Edit, read

SPLITS = (HUMAN, GENERATED, TEST)
LABELS = ("one", "two", "three", "four")
PLANTED = 0.2
SHORT = 25  # characters
SEARCHES = {
    # What is looked for: Jaccard similarity of character 3-grams, and whether one word makes no other text.
    "near": (0.8, True),
    "near by 3-grams": (0.5, False),
    "datasketch": (0.5, False),
    "gaoya": (0.5, False),
}
VERIFIED = 20_000  # findings whose similarity is computed anew, one by one


EDITS: dict[str, Edit] = {
    **NEARLY,
    "case and punctuation": lambda text, *_: text.upper().replace(" ", "  ") + "!",
}


def chains(texts: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Yield new texts for ever, by a first-order Markov chain over the words of the given ones."""
    following: dict[str, list[str]] = defaultdict(list)
    for text in texts:
        parts = text.split()
        for one, other in zip(["", *parts], [*parts, ""], strict=True):
            following[one].append(other)
    while True:
        chain = [rng.choice(following[""])]
        while len(chain) < 60 and (word := rng.choice(following[chain[-1]])):
            chain.append(word)
        if len(chain) > 2:
            yield " ".join(chain)


def make_corpus(data: Path, n: int, languages: Sequence[str]) -> dict[str, Any]:
    """Return the texts, by turns in each language, and which of them are planted: index, original, kind of edit."""
    rng = random.Random(0)
    published = {language: sorted(all_texts(data, language)) for language in languages}
    words = {language: [word for text in published[language] for word in text.split()] for language in languages}
    sources = [chains(published[language], rng) for language in languages]
    count = round(n * (1 - PLANTED))
    texts = [next(sources[i % len(sources)]) for i in range(count)]
    planted = []
    for number, original in enumerate(rng.sample(range(count), n - count)):
        kind = list(EDITS)[number % len(EDITS)]
        planted.append((len(texts), original, kind))
        texts.append(EDITS[kind](texts[original], words[languages[original % len(languages)]], rng))
    return {"texts": texts, "planted": planted}


def all_texts(data: Path, language: str) -> set[str]:
    """Return the published texts of a language, each on one line."""
    texts = (text for task in TASKS for split in SPLITS for text, _ in read(data, task, language, split))
    return {" ".join(text.split()) for text in texts}


Search = Callable[[Sequence[str]], dict[int, int]]
"""Returns the texts that go, each with the one that it is near to."""


def near(similarity: float, one_word: bool) -> Search:
    """Return polydistill's search."""
    from polydistill.near import Nearness, near_repeats

    def search(texts: Sequence[str]) -> dict[int, int]:
        found = near_repeats(texts, [""] * len(texts), Nearness(similarity, one_word))
        return {i: match.index for i, match in found.items()}

    return search


def grams(text: str) -> set[str]:
    """Return the character 3-grams that all searches compare."""
    from polydistill.text import fold

    folded = fold(text)
    return {folded[i : i + 3] for i in range(len(folded) - 2)} or {folded}


def datasketch(similarity: float, _: bool) -> Search:
    """Return a search with datasketch's LSH on 64 permutations."""
    from datasketch import MinHash, MinHashLSH

    def search(texts: Sequence[str]) -> dict[int, int]:
        index = MinHashLSH(threshold=similarity, num_perm=64)
        found, kept = {}, {}
        for start in range(0, len(texts), 10_000):
            sets = [grams(text) for text in texts[start : start + 10_000]]
            hashes = MinHash.bulk([[gram.encode() for gram in of_text] for of_text in sets], num_perm=64)
            for i, (own, minhash) in enumerate(zip(sets, hashes, strict=True), start=start):
                if (other := first_near(own, index.query(minhash), kept, similarity)) is not None:
                    found[i] = other
                else:
                    kept[i] = own
                    index.insert(i, minhash, check_duplication=False)
        return found

    return search


def gaoya(similarity: float, _: bool) -> Search:
    """Return a search with gaoya's LSH on 64 permutations."""
    from gaoya.minhash import MinHashStringIndex

    from polydistill.text import fold

    def search(texts: Sequence[str]) -> dict[int, int]:
        # What it estimates may be less than the similarity by more than a standard error.
        index = MinHashStringIndex(32, similarity - 0.1, 21, 3, None, "char", False, (3, 3), "vec")
        folded = [fold(text) for text in texts]
        index.par_bulk_insert_docs(list(range(len(texts))), folded)
        found, kept = {}, {}
        for start in range(0, len(texts), 10_000):
            some = folded[start : start + 10_000]
            for i, candidates in enumerate(index.par_bulk_query(some), start=start):
                own = grams(texts[i])
                earlier = [other for other in candidates if other < i and other in kept]
                if (other := first_near(own, earlier, kept, similarity)) is not None:
                    found[i] = other
                else:
                    kept[i] = own
        return found

    return search


def first_near(own: set[str], candidates: Sequence[int], kept: dict[int, set[str]], similarity: float) -> int | None:
    """Return the first of the candidates that is similar enough."""
    for other in sorted(candidates):
        shared = len(own & kept[other])
        if shared >= similarity * (len(own) + len(kept[other]) - shared):
            return other
    return None


def run_search(job: str, corpus: dict[str, Any]) -> dict[str, Any]:
    """Search, and return how long it took, what was found of what was planted, and what should not have been."""
    from polydistill.near import jaccard, one_word_apart

    texts, settings = corpus["texts"], SEARCHES[job]
    search = {"near": near, "near by 3-grams": near, "datasketch": datasketch, "gaoya": gaoya}[job](*settings)
    start = time.perf_counter()
    found = search(texts)
    seconds = time.perf_counter() - start
    hits: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for i, original, kind in corpus["planted"]:
        if original in found:  # then the copy may rightly stay in its place
            continue
        for group in ("all", kind, f"below {SHORT} characters" if len(texts[original]) < SHORT else "others"):
            total[group] += 1
            hits[group] += i in found
    some = random.Random(1).sample(sorted(found.items()), min(VERIFIED, len(found)))
    right = sum(
        jaccard(texts[i], texts[j]) >= settings[0] or (settings[1] and one_word_apart(texts[i], texts[j]))
        for i, j in some
    )
    return {
        "seconds": seconds,
        "found": len(found),
        "precision": right / len(some),
        "recall": {group: hits[group] / total[group] for group in total},
    }


def run_all(corpus: dict[str, Any]) -> dict[str, Any]:
    """Run the step `filter` with all its checks on the texts as one cell, with 5,000 test texts; return how long."""
    from polydistill.files import read_json, write_json
    from polydistill.filter import run_filter
    from polydistill.params import load_params
    from polydistill.records import QUESTION, SAMPLE, Record, Source, text_id, to_row, write_records, write_rows

    params = load_params(Path(__file__).parents[1] / "params.yaml").filter
    labels = [{"name": label, "description": label, "names": {}} for label in LABELS]
    task = {"name": "bench", "instruction": "Classify.", "labels": labels, "languages": list(LANGUAGES)}
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        texts = corpus.pop("texts")
        source = Source(teacher="chains", prompt="0" * 16, request="generate/one/0", position=0)
        rows = (
            to_row(
                Record(text, LABELS[i % len(LABELS)], "sl", "synthetic", source),
                decision="accept",
                verdict_reason="",
                original=None,
            )
            for i, text in enumerate(texts)
        )
        write_rows(room / "generated" / "samples.parquet", rows, SAMPLE)
        tests = [f"{text} {text[::-1]}" for text in texts[::-1][:5_000]]
        asked = [{"id": text_id(text, "sl"), "text": text, "language": "sl"} for text in tests]
        write_rows(room / "prepared" / "questions.parquet", asked, QUESTION)
        seeds = [Record(text, "one", "sl", "seed", Source()) for text in texts[:40]]
        write_records(room / "prepared" / "seeds.parquet", seeds)
        write_json(room / "prepared" / "prepare.json", {"task": task, "language": "sl", "allow_leaks": True})
        del texts, rows, tests, asked
        start = time.perf_counter()
        run_filter(room / "prepared", room / "generated", room / "filtered", params, self_revision=True)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "by_reason": read_json(room / "filtered" / "filter.json")["by_reason"]}


def run_job(job: str, corpus: Path) -> None:
    """Run one job in this process and print what it took as JSON."""
    content = json.loads(corpus.read_text(encoding="utf-8"))
    n = len(content["texts"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    facts = run_all(content) if job == "all" else run_search(job, content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"texts": n, "peak_gb": peak / 2**20, "corpus_gb": before / 2**20, **facts}))


def main() -> None:
    """Print a Markdown table; a line a job as it ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--jobs", nargs="+", default=[*SEARCHES, "all"], choices=[*SEARCHES, "all"])
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        return run_job(arguments.job, arguments.data)
    with tempfile.TemporaryDirectory() as scratch:
        corpora = {"all": ("sl",), **dict.fromkeys(SEARCHES, LANGUAGES)}  # a cell is of one language
        for job in arguments.jobs:
            corpus = Path(scratch, f"{len(corpora[job])}.json")
            if not corpus.exists():
                corpus.write_text(
                    json.dumps(make_corpus(arguments.data, arguments.texts, corpora[job])), encoding="utf-8"
                )
            command = [sys.executable, __file__, str(corpus), "--job", job]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{job}: {(done.stderr.strip() or f'ended with {done.returncode}').splitlines()[-1]}", flush=True)
                continue
            facts = json.loads(done.stdout.splitlines()[-1])
            speed = f"{facts['texts'] / facts['seconds']:,.0f} texts/s, {facts['seconds']:.1f} s"
            print(f"{job}: {speed}, {facts['peak_gb']:.2f} GB ({facts['corpus_gb']:.2f} GB of it the texts)")
            for name in ("found", "precision", "by_reason"):
                if name in facts:
                    print(f"    {name}: {facts[name]}")
            for group, recall in facts.get("recall", {}).items():
                print(f"    recall, {group}: {100 * recall:.1f} %")
            sys.stdout.flush()
    return None


if __name__ == "__main__":
    main()
