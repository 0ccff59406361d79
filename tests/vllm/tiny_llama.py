"""Makes a Llama so small that a CPU trains it in minutes, on the demo's texts, so that it writes something like them.

    python tests/vllm/tiny_llama.py FOLDER

It learns the replies to the very prompts that polydistill sends: mostly by heart, which is what is wanted here. Runs in
the environment that has vLLM, and so PyTorch and Transformers.
"""

import csv
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from polydistill.labelling import label_request
from polydistill.prompts import Purpose, render
from polydistill.task import Label, Task, language_name, load_task

DATA = Path(__file__).parents[2] / "data" / "clinic"
VOCABULARY = 4096
LONGEST = 2048
STEPS = 1400
BATCH_TOKENS = 2048
LEARNING_RATE = 3e-3
WARM_UP, COOL_DOWN = 0.03, 0.6
SHORT_UNTIL = 0.6

PROMPT, REPLY, END = "<|user|>", "<|assistant|>", "<|end|>"
CHAT_TEMPLATE = (
    f"{{% for message in messages %}}<|{{{{ message.role }}}}|>{{{{ message.content }}}}{END}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{REPLY}{{% endif %}}"
)
Chat = tuple[str, str]  # a prompt and the reply to it
Batch = tuple[torch.Tensor, torch.Tensor]  # token ids and targets, both of shape (n_chats, n_tokens)


@dataclass(frozen=True)
class Texts:
    """The texts of one label in one language: what people wrote, and what the recorded teacher did."""

    seeds: list[str]
    others: list[str]


class Lessons:
    """Draws prompts and good replies to them from the demo's texts; the test texts are left alone."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.task: Task = load_task(folder / "task.yaml")
        self.random = random.Random(seed)
        self.texts: dict[tuple[str, str], Texts] = {}
        for language in self.task.languages:
            seeds, human = (_read_csv(folder / language / name) for name in ("seeds.csv", "human.csv"))
            recorded = _read_recording(folder / language / "recording.jsonl")
            for label in self.task.label_names:
                others = dict.fromkeys(recorded[label] + human[label])
                self.texts[language, label] = Texts(seeds[label], list(others))

    def draw(self, done: float) -> Chat:
        """Return a prompt of any purpose and its reply; prompts are short until much of the training is `done`."""
        language = self.random.choice(self.task.languages)
        label = self.random.choice(self.task.labels)
        if self.random.random() < 0.03:
            return render("canary"), _json({"word": "canary"})
        (ask,) = self.random.choices([self.generate, self.revise, self.zero_shot], [5, 3, 2])
        if ask == self.generate and done < SHORT_UNTIL:
            return self.generate(language, label, short=True)
        return ask(language, label)

    def generate(self, language: str, label: Label, *, short: bool = False) -> Chat:
        """Ask for texts, now and then with attributes and with texts to avoid."""
        texts = self.texts[language, label.name]
        count = self.random.choice([self.random.randint(1, 10), 10])
        seeds = [] if short else self.random.sample(texts.seeds, self.random.randint(2, len(texts.seeds)))
        avoid, attributes = [], []
        if not short and self.task.facets is not None and self.random.random() < 0.2:
            facets, choice = self.task.facets, self.random.choice
            avoid = self.random.sample(texts.others, self.random.randint(0, 8))
            attributes = [
                f"topic: {choice(facets.topics[label.name])}; speaker: {choice(facets.speakers)}; "
                f"register: {choice(facets.registers)}; length: {choice(facets.lengths)}"
                for _ in range(count)
            ]
        prompt = self._render(
            "generate", language, label=label, seeds=seeds, count=count, attributes=attributes, avoid=avoid
        )
        left = [text for text in texts.others if text not in avoid]
        return prompt, _json({"texts": self.random.sample(left, count)})

    def revise(self, language: str, label: Label) -> Chat:
        """Ask for verdicts; a text in eight is in another language or has another label."""
        count = self.random.choice([self.random.randint(1, 10), 10])
        kinds = self.random.choices(["", "language", "label"], [14, 1, 1], k=count)
        texts = []
        for kind in kinds:
            others = [name for name in self.task.languages if name != language]
            of_language = self.random.choice(others) if kind == "language" else language
            others = [name for name in self.task.label_names if name != label.name]
            of_label = self.random.choice(others) if kind == "label" else label.name
            texts.append(self.random.choice(self.texts[of_language, of_label].others))
        verdicts = [
            {
                "number": number,
                **{aspect: aspect != kind for aspect in ("language", "label", "natural")},
                "decision": "reject" if kind else "accept",
                "text": "",
                "reason": f"has another {kind}" if kind else "",
            }
            for number, kind in enumerate(kinds, start=1)
        ]
        return self._render("revise", language, label=label, texts=texts), _json({"verdicts": verdicts})

    def zero_shot(self, language: str, label: Label) -> Chat:
        """Ask for the label of a text, half of the time with examples before it."""
        pairs = [(self.random.choice(self.texts[language, name].seeds), name) for name in self.task.label_names]
        examples = self.random.sample(pairs, self.random.choice([0, 0, 2, 4]))
        texts = self.texts[language, label.name]
        request = label_request(
            "icl" if examples else "zero-shot",
            self.random.choice(texts.seeds + texts.others),
            examples,
            self.task,
            language,
            structured=True,
        )
        return request.content, _json({"label": label.name})

    def _render(self, purpose: Purpose, language: str, **values: object) -> str:
        shared = {"task": self.task, "language": language, "language_name": language_name(language)}
        return render(purpose, structured=True, **shared, **values)


def _json(reply: object) -> str:
    return json.dumps(reply, ensure_ascii=False)


def _read_csv(path: Path) -> dict[str, list[str]]:
    by_label: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            by_label.setdefault(row["label"], []).append(row["text"])
    return by_label


def _read_recording(path: Path) -> dict[str, list[str]]:
    """Return the recorded texts by label, without those that the recorded judge rejects."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    replies = {row["id"]: row["reply"] for row in rows[1:]}
    by_label: dict[str, list[str]] = {}
    for id, reply in replies.items():
        purpose, label, number = id.split("/") if id.count("/") == 2 else ("", "", "")
        if purpose != "generate":
            continue
        try:
            texts = json.loads(reply)["texts"]
            verdicts = json.loads(replies[f"revise/{label}/{number}"])["verdicts"]
        except (ValueError, KeyError):  # the recording holds some broken replies, for filter to find
            continue
        accepted = {verdict.get("number") for verdict in verdicts if verdict.get("decision") == "accept"}
        good = [text for number, text in enumerate(texts, start=1) if number in accepted and text.strip()]
        by_label.setdefault(label, []).extend(good)
    return by_label


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which can write any text there is, on these.

    Its tokens may reach over words, only not over lines, numbers and the texts of a reply. What all prompts share so
    becomes a few tokens, and an hour of training a few minutes.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_previous"),
            pre_tokenizers.Split('", "', "isolated"),
            pre_tokenizers.Digits(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PROMPT, REPLY, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, chat_template=CHAT_TEMPLATE, model_max_length=LONGEST
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama."""
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=LONGEST,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )


def batches(lessons: Lessons, tokenizer: PreTrainedTokenizerFast, steps: int) -> Iterator[Batch]:
    """Yield so many batches, of chats of like length each."""
    made = 0
    while made < steps:
        chats = []
        for prompt, reply in (lessons.draw(made / steps) for _ in range(64)):
            asked = tokenizer.encode(PROMPT + prompt + END + REPLY, add_special_tokens=False)
            answered = tokenizer.encode(reply + END, add_special_tokens=False)
            chats.append((asked + answered, [-100] * len(asked) + answered))
        chats.sort(key=lambda chat: len(chat[0]))
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for chat in chats:
            if groups[-1] and len(chat[0]) * (len(groups[-1]) + 1) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(chat)
        lessons.random.shuffle(groups)
        for group in groups[: steps - made]:
            width = max(len(ids) for ids, _ in group)
            pad = tokenizer.pad_token_id
            ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group])
            targets = torch.tensor([targets + [-100] * (width - len(targets)) for _, targets in group])
            yield ids, targets
            made += 1


def train(model: LlamaForCausalLM, lessons: Lessons, tokenizer: PreTrainedTokenizerFast, steps: int) -> None:
    """Train for so many steps; the learning rate rises, stays, then falls to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.95), weight_decay=0.01)
    start, mean = time.monotonic(), 0.0
    model.train()
    for step, (ids, targets) in enumerate(batches(lessons, tokenizer, steps), start=1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(step / steps / WARM_UP, 1, (1 - step / steps) / COOL_DOWN)
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = targets[:, 1:]
        kept = wanted != -100  # most tokens are of prompts, which teach nothing
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), wanted[kept])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean = loss.item() if step == 1 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"{step} of {steps} steps in {time.monotonic() - start:.0f} s, loss {mean:.2f}", flush=True)  # noqa: T201
    model.eval()


def main() -> None:
    """Make, train and save the model."""
    folder = Path(sys.argv[1])
    lessons = Lessons(DATA)
    chats = [text for _ in range(400) for text in lessons.draw(1.0)]
    tokenizer = make_tokenizer(chats)
    model = make_model(tokenizer)
    train(model, lessons, tokenizer, STEPS)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
