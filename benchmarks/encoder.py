"""How many trainings of the encoder student an hour brings, beside a plain loop, at the architecture of XLM-R large.

    python benchmarks/encoder.py [--device cuda] [--at-once 2 4] [--small] [--data DIR] [--size 200] [--epochs 5]

A run is a training and the answers to the test texts; the runs of a cell follow each other. The plain loop is what
papers' scripts do: the model read anew for each run, fp32, texts padded to the longest of the set, batches of 4, the
loss asked for at every step. Both train on the same texts for the same number of epochs. Weights are random, which
changes no time. DIR is a checkout of the paper's published data; else $POLYDISTILL_PAPER_DATA, else
../shared/paper-data, else the demo's texts. Tokens are those of a tokenizer trained on the texts. --small is the same
at a hundredth of the size, with the same share of the weights in the table of tokens.
"""

import argparse
import csv
import itertools
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from polydistill.students.encoder import EncoderStudent
from polydistill.train.side_by_side import side_by_side

ROOT = Path(__file__).resolve().parent.parent
PAPER_DATA = Path(os.environ.get("POLYDISTILL_PAPER_DATA", ROOT.parent / "shared" / "paper-data"))
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
LARGE = {
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
SMALL = {
    "vocab_size": 11_000,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


@dataclass(frozen=True)
class Work:
    """What every run trains on and answers."""

    folder: Path
    texts: list[str]
    labels: list[str]
    asked: list[str]
    epochs: int


def read_texts(folder: Path) -> tuple[list[str], list[str]]:
    """Return texts and labels: the synthetic intents of the paper in Slovenian, or else the demo's texts."""
    published = folder / "data" / "intent" / "sl-train_full.csv"
    files = [published] if published.exists() else sorted((ROOT / "data" / "clinic").glob("*/*.csv"))
    rows = []
    for file in files:
        with file.open(encoding="utf-8", newline="") as lines:
            rows += [(row["text"], row["label"]) for row in csv.DictReader(lines) if row["text"].strip()]
    np.random.default_rng(0).shuffle(rows)
    return [text for text, _ in rows], [label for _, label in rows]


def save_model(folder: Path, texts: Sequence[str], shape: dict[str, int]) -> None:
    """Save a classifier with random weights, and a tokenizer trained on the texts."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=8000, special_tokens=SPECIAL, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=512
    ).save_pretrained(folder)
    torch.manual_seed(1)
    config = XLMRobertaConfig(**shape, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    XLMRobertaForMaskedLM(config).save_pretrained(folder)


def plain_run(seed: int, work: Work, device: str) -> None:
    """Train and answer as a script does."""
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work.folder)
    classes = sorted(set(work.labels))
    model = AutoModelForSequenceClassification.from_pretrained(work.folder, num_labels=len(classes)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    learned, asked = (
        tokenizer(texts, padding="longest", truncation=True, max_length=256, return_tensors="pt")
        for texts in (work.texts, work.asked)
    )
    targets = torch.tensor([classes.index(label) for label in work.labels])
    model.train()
    for _ in range(work.epochs):
        total = 0.0
        for batch in torch.randperm(len(targets)).split(4):
            ids, mask = learned["input_ids"][batch].to(device), learned["attention_mask"][batch].to(device)
            loss = model(input_ids=ids, attention_mask=mask, labels=targets[batch].to(device)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
    model.eval()
    with torch.no_grad():
        for batch in torch.arange(len(work.asked)).split(4):
            ids, mask = asked["input_ids"][batch].to(device), asked["attention_mask"][batch].to(device)
            model(input_ids=ids, attention_mask=mask).logits.argmax(-1).tolist()


_shared: Any = None


def our_run(seed: int, work: Work, settings: dict[str, Any]) -> None:
    """Train an encoder student and have it answer."""
    global _shared  # noqa: PLW0603
    student = EncoderStudent(
        model=str(work.folder),
        revision=None,
        epochs=work.epochs,
        min_steps=0,
        learning_rate=1e-5,
        held_out=0.0,
        patience=None,
        restarts=0,
        seed=seed,
        **settings,
    )
    if _shared is None:
        _shared = student.share([*work.texts, *work.asked])
    student.shared = _shared
    student.fit(work.texts, work.labels).predict(work.asked)


def seconds_in_turn(loops: Sequence[Callable[..., None]], runs: int) -> list[float]:
    """Return the median time of a run of each loop; they take turns, so that what else the machine does hits all."""
    took: list[list[float]] = [[] for _ in loops]
    for seed in range(runs + 1):
        for times, loop in zip(took, loops, strict=True):
            started = time.perf_counter()
            loop(seed=seed)
            times.append(time.perf_counter() - started)
    return [float(np.median(times[1:])) for times in took]  # the first reads the model, or warms up


def seconds_side_by_side(work: Work, settings: dict[str, Any], runs: int, at_once: int) -> float:
    """Return what a run takes with so many going on at once, when the first of each process has ended."""
    jobs, ends = range(at_once * (runs + 1)), []
    for _ in side_by_side(partial(our_run, work=work, settings=settings), jobs, at_once, forks=False):
        ends.append(time.perf_counter())
    return (ends[-1] - ends[at_once - 1]) / (len(ends) - at_once)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--data", type=Path, default=PAPER_DATA)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="runs to measure of each kind, after one to warm up")
    parser.add_argument("--at-once", type=int, nargs="+", default=[], help="runs side by side, such as 2 4 8")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    logging.disable(logging.WARNING)  # random weights learn too little in so few steps, which is said at each run
    texts, labels = read_texts(arguments.data)
    with tempfile.TemporaryDirectory() as scratch:
        save_model(Path(scratch), texts, SMALL if arguments.small else LARGE)
        size = arguments.size
        work = Work(Path(scratch), texts[:size], labels[:size], texts[size : size + 200], arguments.epochs)
        lengths = [len(ids) for ids in PreTrainedTokenizerFast.from_pretrained(scratch)(work.texts)["input_ids"]]
        name = torch.cuda.get_device_name() if arguments.device == "cuda" else f"{os.cpu_count()} cores"
        print(f"{name}, PyTorch {torch.__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
        print(
            f"{size} texts of {np.mean(lengths):.0f} tokens in the mean, {max(lengths)} at most; "
            f"{arguments.epochs} epochs; {len(work.asked)} texts answered; {'small' if arguments.small else 'large'}\n"
        )
        kinds = [{"batch_size": 4, "r_drop": 0.0}, {"batch_size": 32, "r_drop": 0.0}, {"batch_size": 32, "r_drop": 0.5}]
        loops = [partial(plain_run, work=work, device=arguments.device)]
        loops += [partial(our_run, work=work, settings=settings) for settings in kinds]
        plain, *alone = seconds_in_turn(loops, arguments.runs)
        print("| loop | batch | R-Drop | at once | s a run | runs an hour | times the plain loop |")
        print("|---|---|---|---|---|---|---|")
        print(f"| plain | 4 | no | 1 | {plain:.2f} | {3600 / plain:.0f} | 1.0 |", flush=True)
        for at_once, (settings, by_itself) in itertools.product(
            [1, *arguments.at_once], zip(kinds, alone, strict=True)
        ):
            took = by_itself if at_once == 1 else seconds_side_by_side(work, settings, arguments.runs, at_once)
            what = f"encoder | {settings['batch_size']} | {'yes' if settings['r_drop'] else 'no'} | {at_once}"
            print(f"| {what} | {took:.2f} | {3600 / took:.0f} | {plain / took:.1f} |", flush=True)
        print("\nwanted on a GPU: 5 times the plain loop or more")


if __name__ == "__main__":
    main()
