"""Makes an XLM-R so small that a CPU trains it in seconds, with a tokenizer trained on the demo's texts.

Saved to a folder as the real one is at the hub: as a masked language model, so without the head of a classifier.
"""

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast, XLMRobertaForMaskedLM

DATA = Path(__file__).parents[2] / "data" / "clinic"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LONGEST = 64
"""Tokens that it can read."""

XLMR = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": LONGEST + 2,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "initializer_range": 0.05,
}


def texts_of(language: str, name: str) -> tuple[list[str], list[str]]:
    """Return texts and labels of a file of the demo, such as human or test."""
    with (DATA / language / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer, the kind that XLM-R has: the letters and the commoner words of the demo's texts."""
    texts = [text for language in ("sl", "sw") for text in texts_of(language, "human")[0]]
    words = Counter(word for text in texts for word in f" {text}".replace(" ", " ▁").split())
    letters = Counter("".join(words.elements()))
    pieces = letters | {word: count for word, count in words.items() if count > 1}
    total = sum(pieces.values())
    scored = [(piece, math.log(count / total)) for piece, count in sorted(pieces.items())]
    tokenizer = Tokenizer(models.Unigram([(piece, 0.0) for piece in SPECIAL] + scored, unk_id=SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=LONGEST,
    )


def make_other(folder: Path, kind: type[PreTrainedModel], config: dict[str, Any]) -> Path:
    """Save an untrained model of another kind and the same tokenizer to `folder`, and return it."""
    tokenizer = make_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = kind(kind.config_class(vocab_size=len(tokenizer), pad_token_id=1, **config))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_xlmr(folder: Path) -> Path:
    """Save an untrained XLM-R of two layers and its tokenizer to `folder`, and return it."""
    return make_other(folder, XLMRobertaForMaskedLM, XLMR)
