"""Makes a Llama of two layers with a tokenizer and a chat template, in seconds, as a folder that loads like a real one.

It has learned to tell the demo's messages apart, but calls them by the wrong labels: adapters of a few weights must
build on what the others know, and have something to learn nevertheless.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tiny import DATA, texts_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from polydistill.prompts import render

LABELS = ["book_appointment", "cancel_appointment", "opening_hours", "prescription", "test_results"]
WRONG = dict(zip(LABELS, [*LABELS[1:], LABELS[0]], strict=True))
"""What the model calls each label."""

END = "<|end|>"
CHAT_TEMPLATE = (
    f"{{% for message in messages %}}<|{{{{ message.role }}}}|>{{{{ message.content }}}}{END}{{% endfor %}}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
STEPS = 500
BATCH = 16
LEARNING_RATE = 3e-3

Chat = tuple[str, str]  # a question and its answer


def make_llama(folder: Path) -> Path:
    """Save the model and its tokenizer to `folder`, and return it."""
    labelled = [*zip(*texts_of("sl", "seeds"), strict=True), *_recorded(DATA / "sl" / "recording.jsonl")]
    chats = [(question(text), WRONG[label]) for text, label in labelled]
    tokenizer = make_tokenizer([text for chat in chats for text in chat])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        _train(model, tokenizer, chats)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def question(text: str) -> str:
    """Return what a LoRA student asks that knows of the task no more than its labels."""
    labels = [{"name": label, "description": ""} for label in LABELS]
    return render("classify", instruction="", language_name="", labels=labels, text=text)


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE, which can write any text there is, on these.

    Its tokens may reach over words, only not over lines: what all prompts share so becomes a few tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("\n", "merged_with_previous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|user|>", "<|assistant|>", END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, chat_template=CHAT_TEMPLATE
    )


def _recorded(path: Path) -> list[tuple[str, str]]:
    """Return the texts that the recorded teacher wrote, with their labels; a broken reply has none."""
    labelled = []
    for line in path.read_text(encoding="utf-8").split("\n")[1:-1]:
        row = json.loads(line)
        purpose, _, rest = row["id"].partition("/")
        if purpose == "generate" and row["reply"].startswith("{") and row["reply"].endswith("}"):
            texts = json.loads(row["reply"])["texts"]
            labelled += [(text, rest.partition("/")[0]) for text in texts]
    return labelled


def _train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: Sequence[Chat]) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    rows = [
        (tokenizer.encode(f"<|user|>{asked}{END}<|assistant|>"), tokenizer.encode(answered + END))
        for asked, answered in chats
    ]
    for _ in range(STEPS):
        batch = [rows[i] for i in torch.randperm(len(rows))[:BATCH]]
        width = max(len(prompt) + len(answer) for prompt, answer in batch)
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        targets = torch.full((len(batch), width), -100)
        for row, (prompt, answer) in enumerate(batch):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            targets[row, len(prompt) : end] = torch.tensor(answer)
        loss = model(input_ids=ids, labels=targets, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
