"""How fast the LoRA student learns and answers, beside a plain loop, at the architecture of Llama-3.1-8B.

    python benchmarks/lora.py [--small] [--size 200] [--asked 200] [--plain 40] [--epochs 10] [--precision auto]

A run is a training on `size` texts for so many epochs and the answers to `asked` texts; the runs of a cell follow each
other on one base model. The plain loop is what papers' scripts do: fp32, each prompt read whole and padded to the
longest of the set, batches of 4, the loss asked for at every step; to answer, a forward pass for each text and each
label. It is timed on `plain` texts. Both have the same adapters, prompts and tokens, of the demo's task and texts.
Weights are random, which changes no time; whether both say the same is told by the adapters of the first. On a GPU the
8B parameters take 32 GB in the plain loop's fp32. --small is for a CPU: a three-hundredth of the parameters.
"""

import argparse
import csv
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from polydistill.students import Context
from polydistill.students.causal import CausalLM, Tokens
from polydistill.students.lora import LoraStudent
from polydistill.task import load_task

DATA = Path(__file__).resolve().parent.parent / "data" / "clinic"
LANGUAGE = "sl"
PLAIN_BATCH = 4
LARGE = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
SMALL = {
    "vocab_size": 4_096,
    "hidden_size": 512,
    "intermediate_size": 1_792,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
# As that of Llama 3.
CHAT_TEMPLATE = (
    "<|begin|>{% for message in messages %}<|head|>{{ message.role }}<|/head|>\n\n"
    "{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|head|>assistant<|/head|>\n\n{% endif %}"
)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a small Llama, for a CPU")
    parser.add_argument("--size", type=int, default=200, help="texts a run learns from")
    parser.add_argument("--asked", type=int, default=200, help="texts a run answers")
    parser.add_argument("--plain", type=int, default=40, help="texts that the plain loop is timed on")
    parser.add_argument("--epochs", type=int, default=10, help="passes of a run through its texts")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of the base model")
    arguments = parser.parse_args()

    texts, labels = read_texts("human.csv", "seeds.csv")
    asked, _ = read_texts("test.csv")
    texts, labels = repeated(texts, arguments.size), repeated(labels, arguments.size)
    asked = repeated(asked, arguments.asked)
    base = make_base(SMALL if arguments.small else LARGE, [*texts, *asked], arguments.precision)
    student = LoraStudent(epochs=1, learning_rate=1e-3)
    student.shared, student.context = base, Context(load_task(DATA / "task.yaml"), LANGUAGE)
    student.fit(texts[:16], labels[:16]).predict(asked[:16])  # the first time is slower
    learning = arguments.size / seconds(lambda: student.fit(texts, labels))
    answering = arguments.asked / seconds(lambda: student.predict_proba(asked))
    ours = student.predict_proba(asked[: arguments.plain])

    precision = "bf16" if base.model.dtype == torch.bfloat16 else "fp32"
    # The same weights in fp32; the student's adapters stay on.
    base.model.float()
    prompts, answers = student._prompts(texts[: arguments.plain]), base.answers(student.classes_)
    wanted = [answers[student.classes_.index(label)] for label in labels[: arguments.plain]]
    questions = student._prompts(asked[: arguments.plain])
    plain = plain_scores(base, questions, answers)
    plain_answering = len(questions) / seconds(lambda: plain_scores(base, questions, answers))
    apart = np.abs(softmax(plain, axis=1) - ours).max()
    same = np.mean(plain.argmax(axis=1) == ours.argmax(axis=1))
    weights = base.wear(student._config())
    learn_plainly(base, weights, prompts[:PLAIN_BATCH], wanted[:PLAIN_BATCH])
    plain_learning = len(prompts) / seconds(lambda: learn_plainly(base, weights, prompts, wanted))

    on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores"
    size = sum(weight.numel() for weight in base.model.parameters()) / 1e6
    print(f"{on}, PyTorch {torch.__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    shared = base.shared_tokens(prompts, max(map(len, answers)))
    print(
        f"Llama of {size:,.0f} million parameters; prompts of {np.mean([len(p) for p in prompts]):.0f} tokens (longest "
        f"{max(map(len, prompts))}), of which all share {shared}; {len(answers)} labels of "
        f"{np.mean([len(a) for a in answers]):.1f} tokens\n"
    )
    print("| | texts/s learned | texts/s answered | runs an hour |\n| --- | ---: | ---: | ---: |")
    rows = [("plain loop, fp32", plain_learning, plain_answering), (f"`lora`, {precision}", learning, answering)]
    hourly = [3600 / (arguments.size * arguments.epochs / fast + arguments.asked / read) for _, fast, read in rows]
    for (name, fast, read), runs in zip(rows, hourly, strict=True):
        print(f"| {name} | {fast:.2f} | {read:.2f} | {runs:.2f} |")
    print(
        f"| × | {learning / plain_learning:.1f} | {answering / plain_answering:.1f} | {hourly[1] / hourly[0]:.1f} |\n"
    )
    print(
        f"A run: {arguments.size} texts, {arguments.epochs} epochs, {arguments.asked} texts answered. Wanted: × 5 "
        "on a GPU."
    )
    print(
        f"Of {len(questions)} texts both give {same:.0%} the same label; probabilities differ by {apart:.1e} at most."
    )


def read_texts(*names: str) -> tuple[list[str], list[str]]:
    """Return texts and labels of files of the demo."""
    rows = []
    for name in names:
        with (DATA / LANGUAGE / name).open(encoding="utf-8", newline="") as lines:
            rows += [(row["text"], row["label"]) for row in csv.DictReader(lines)]
    return [text for text, _ in rows], [label for _, label in rows]


def repeated(items: Sequence[str], count: int) -> list[str]:
    """Return so many of them, from the beginning again where they are fewer."""
    return [items[i % len(items)] for i in range(count)]


def make_base(shape: dict[str, int], texts: Sequence[str], precision: str) -> CausalLM:
    """Return a Llama of that shape with random weights, and a tokenizer trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4_096,
        special_tokens=["<|begin|>", "<|head|>", "<|/head|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, (DATA / "task.yaml").read_text(encoding="utf-8")], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=CHAT_TEMPLATE)
    on_gpu = torch.cuda.is_available()
    lower = precision == "bf16" or (precision == "auto" and on_gpu)
    torch.manual_seed(1)
    with torch.device("cuda" if on_gpu else "cpu"):
        config = LlamaConfig(**shape, max_position_embeddings=4096, rope_parameters={"rope_theta": 500_000.0})
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16 if lower else torch.float32)
    return CausalLM(model, fast, "")


def plain_scores(base: CausalLM, prompts: Sequence[Tokens], answers: Sequence[Tokens]) -> np.ndarray:
    """Return the mean log-likelihood of each answer after each prompt, by a forward pass for each pair."""
    scores = np.empty((len(prompts), len(answers)))
    for i, prompt in enumerate(prompts):
        for j, answer in enumerate(answers):
            with torch.no_grad():
                ids = torch.tensor([prompt + answer], device=base.model.device)
                said = (
                    base.model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
                )
            scores[i, j] = said[range(len(answer)), answer].mean().item()
    return scores


def learn_plainly(
    base: CausalLM, weights: Sequence[torch.Tensor], prompts: Sequence[Tokens], answers: Sequence[Tokens]
) -> None:
    """Train one epoch."""
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    optimizer = torch.optim.AdamW(weights, lr=2e-4)
    base.model.train()
    for start in range(0, len(prompts), PLAIN_BATCH):
        batch = list(zip(prompts[start : start + PLAIN_BATCH], answers[start : start + PLAIN_BATCH], strict=True))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        targets, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for row, (prompt, answer) in enumerate(batch):
            end = len(prompt) + len(answer)
            ids[row, :end], mask[row, :end] = torch.tensor(prompt + answer), 1
            targets[row, len(prompt) : end] = torch.tensor(answer)
        device = base.model.device
        logits = base.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten().to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
    base.model.eval()


def seconds(work: Callable[[], Any]) -> float:
    """Return how long the work takes, with what it leaves to the GPU."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
