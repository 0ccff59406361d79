"""The LoRA student: a causal LM with low-rank adapters that learns to answer with the label."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from polydistill.errors import DataError, PolydistillError
from polydistill.files import explained, read_json, write_json
from polydistill.prompts import prompt_hash, render
from polydistill.students.base import Labelled, Student
from polydistill.students.causal import CausalLM, Tokens
from polydistill.students.finetune import steady
from polydistill.task import language_name

log = logging.getLogger(__name__)

SECTION = "train.lora"
ADAPTERS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_LARGEST_GRADIENT = 1.0  # norm
_WINDOW = 8  # batches among which texts of like length are put together


@dataclass(frozen=True)
class _Examples:
    """Prompts and their answers in tokens, as many, of which the first `shared` tokens of all prompts are the same."""

    prompts: list[Tokens]
    answers: list[Tokens]
    shared: int


class LoraStudent(Student):
    """An instruction-tuned LLM with adapters; scores every label by how likely it is as the answer to a prompt."""

    kind = "lora"

    def __init__(
        self,
        *,
        model: str = "meta-llama/Llama-3.1-8B-Instruct",
        revision: str | None = "0e9e39f249a16976918f6564b8830bc894c89659",
        rank: int = 16,
        alpha: float = 16.0,
        dropout: float = 0.05,
        target_modules: Sequence[str] = ("k_proj", "v_proj", "down_proj"),
        epochs: int = 10,
        batch_size: int = 8,
        accumulate: int = 1,
        learning_rate: float = 2e-4,
        warmup: float = 0.1,
        held_out: float = 0.1,
        patience: int | None = None,
        max_tokens: int = 512,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        four_bit: bool = False,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        self.model = model
        self.revision = revision
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.target_modules = target_modules
        self.epochs = epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.held_out = held_out
        self.patience = patience
        self.max_tokens = max_tokens
        self.precision = precision
        self.four_bit = four_bit
        self.gradient_checkpointing = gradient_checkpointing
        self.seed = seed

    def share(self, texts: Sequence[str]) -> CausalLM:
        """Return the base model: it is loaded once, and each training puts adapters of its own on it."""
        return self._load_base()

    def fit(self, texts: Sequence[str], labels: Sequence[str], validation: Labelled | None = None) -> Self:
        """Train fresh adapters.

        Args:
            texts: Training texts.
            labels: Their labels, as many.
            validation: Further texts to stop by, beside those held out of the training texts, where `patience` is set.

        Raises:
            DataError: If the texts have fewer than two labels, or the tokenizer cannot tell two of them apart.
            PolydistillError: If the loss is no number, or the memory does not hold one text.
        """
        if len(set(labels)) < 2:
            raise DataError(f"a student needs texts of two labels or more, got {sorted(set(labels))}")
        self.base_ = self.shared or self._load_base()
        self.classes_ = sorted(set(labels))
        self.asking_ = self._asking()
        rng = np.random.default_rng(self.seed)
        held_out = self._draw_held_out(labels, rng)
        learned = [i for i in range(len(texts)) if i not in held_out]
        examples = self._examples([texts[i] for i in learned], [labels[i] for i in learned])
        unseen = None
        if self.patience is not None:
            stop_by = [(texts[i], labels[i]) for i in sorted(held_out)]
            if validation is not None:
                further = zip(validation.texts, validation.labels, strict=True)
                stop_by += [(text, label) for text, label in further if label in self.classes_]
            unseen = self._examples([text for text, _ in stop_by], [label for _, label in stop_by]) if stop_by else None
        with steady(self.base_.model.device):
            torch.manual_seed(self.seed)
            self._train(examples, unseen, rng)
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns in `classes_` order.

        They are the softmax of the labels' mean log-likelihoods, over the tokens of each.
        """
        check_is_fitted(self, "adapters_")
        if not len(texts):
            return np.empty((0, len(self.classes_)))
        if self.base_.worn is not self.adapters_:  # another student with the same base trained, or answered, since
            self._wear()
        try:
            scores = self.base_.likelihoods(self._prompts(texts), self.base_.answers(self.classes_))
        except torch.OutOfMemoryError as exc:
            raise PolydistillError(
                f"{self.model}: the GPU's memory does not hold one text with its prompt; set {SECTION}.max_tokens "
                f"lower, or {SECTION}.four_bit: true, and train again"
            ) from exc
        if not np.isfinite(scores).all():
            raise PolydistillError(
                f"{self.model}: a likelihood is no number; set {SECTION}.precision: fp32, and train again"
            )
        return np.asarray(softmax(scores, axis=1))

    def save(self, folder: Path) -> None:
        """Write student.json (settings, labels, what the prompt says, which base) and the adapters as PEFT has them."""
        check_is_fitted(self, "adapters_")
        facts = {"settings": self.get_params(), "labels": self.classes_, "asking": self.asking_}
        known = {"fingerprint": self.base_.fingerprint, "prompt": prompt_hash("classify")}
        write_json(folder / "student.json", {"kind": "lora", **facts, **known})
        config = self._config()
        content = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
        content |= {"base_model_name_or_path": self.model, "revision": self.revision, "inference_mode": True}
        write_json(folder / CONFIG, content)
        with explained(folder / ADAPTERS, "write"):
            # Not save_file, whose file its owner alone may read.
            (folder / ADAPTERS).write_bytes(save(self.adapters_, metadata={"format": "pt"}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote, on the base model that it was trained on.

        Raises:
            DataError: If a file is missing or damaged, or the base model is missing or is another now.
        """
        facts = read_json(folder / "student.json")
        read_json(folder / CONFIG)
        try:
            student = cls(**facts["settings"])
            student.classes_, student.asking_ = facts["labels"], facts["asking"]
            fingerprint, prompt = facts["fingerprint"], facts["prompt"]
        except (KeyError, TypeError) as exc:
            raise DataError(f"{folder / 'student.json'}: damaged ({exc}); train the student again") from exc
        if prompt != prompt_hash("classify"):
            raise DataError(f"{folder}: trained with another prompt than this version's; train the student again")
        try:
            with explained(folder / ADAPTERS, "read"):
                student.adapters_ = load_file(folder / ADAPTERS)
        except SafetensorError as exc:
            raise DataError(f"{folder / ADAPTERS}: damaged ({exc}); train the student again") from exc
        student.base_ = student._load_base(f"{folder / 'student.json'}: settings")
        if student.base_.fingerprint != fingerprint:
            raise DataError(
                f"{folder}: its adapters were trained on another model than the one that {student.model} is now; put "
                "that one back, or train the student again"
            )
        try:
            student._wear()
        except DataError as exc:
            raise DataError(f"{folder / ADAPTERS}: {exc}") from exc
        return student

    def _load_base(self, section: str = SECTION) -> CausalLM:
        return CausalLM.load(self.model, self.revision, section, self.precision, self.four_bit)

    def _wear(self) -> None:
        with steady(self.base_.model.device):  # PEFT draws weights before it takes those given
            self.base_.wear(self._config(), self.adapters_)

    def _config(self) -> LoraConfig:
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(self.target_modules),
            exclude_modules=self.base_.other_modules,
            task_type="CAUSAL_LM",
        )

    def _asking(self) -> dict[str, Any]:
        """Return what the prompt says beside the text: of the task what there is to know, the names of the labels."""
        if self.context is None:
            return {"instruction": "", "language_name": "", "labels": _labels(self.classes_, {})}
        task = self.context.task
        described = {label.name: label.description for label in task.labels}
        return {
            "instruction": task.instruction,
            "language_name": language_name(self.context.language),
            "labels": _labels(self.classes_, described),
        }

    def _prompts(self, texts: Sequence[str]) -> list[Tokens]:
        cut = (self.base_.shorten(text, self.max_tokens) for text in texts)
        return self.base_.prompts([render("classify", text=text, **self.asking_) for text in cut])

    def _examples(self, texts: Sequence[str], labels: Sequence[str]) -> _Examples:
        prompts = self._prompts(texts)
        of_label = dict(zip(self.classes_, self.base_.answers(self.classes_), strict=True))
        answers = [of_label[label] for label in labels]
        # Without the keys and values of what all prompts begin with, each is read whole.
        shared = 0 if self.gradient_checkpointing else self.base_.shared_tokens(prompts, max(map(len, answers)))
        return _Examples(prompts, answers, shared)

    def _draw_held_out(self, labels: Sequence[str], rng: np.random.Generator) -> set[int]:
        """Return which texts are held out to stop by: of each label its share, and never its only text."""
        if self.patience is None:
            return set()
        drawn: set[int] = set()
        for label in self.classes_:
            of_label = [i for i, other in enumerate(labels) if other == label]
            count = min(round(len(of_label) * self.held_out), len(of_label) - 1)
            drawn.update(int(i) for i in rng.permutation(of_label)[:count])
        return drawn

    def _train(self, examples: _Examples, unseen: _Examples | None, rng: np.random.Generator) -> None:
        weights = self.base_.wear(self._config())
        model, on_gpu = self.base_.model, self.base_.model.device.type == "cuda"
        optimizer = torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=0.0, fused=on_gpu)
        at_once = self.batch_size * self.accumulate
        steps = self.epochs * math.ceil(len(examples.prompts) / at_once)
        micro, step, epoch, last, best, best_epoch = self.batch_size, 0, 0, 0.0, math.inf, 0
        if self.gradient_checkpointing:
            model.activation_checkpointing_enable()
        try:
            for epoch in range(1, self.epochs + 1):
                model.train()
                total = torch.zeros((), device=model.device)  # looked at once an epoch: to look makes the GPU wait
                for batch in _batches([len(prompt) for prompt in examples.prompts], at_once, rng):
                    step += 1
                    for group in optimizer.param_groups:
                        group["lr"] = self.learning_rate * _pace(step, steps, self.warmup)
                    loss, micro = self._learn(examples, batch, micro, optimizer)
                    torch.nn.utils.clip_grad_norm_(weights, _LARGEST_GRADIENT)
                    optimizer.step()
                    total += loss * len(batch)
                last = total.item() / len(examples.prompts)
                found = last if unseen is None else self._loss(unseen, micro)
                if not math.isfinite(last + found):
                    raise PolydistillError(
                        f"{self.model}: the loss was no number in epoch {epoch}; set {SECTION}.learning_rate below "
                        f"{self.learning_rate:g}, or {SECTION}.precision: fp32"
                    )
                if unseen is None or self.patience is None:
                    continue
                if found < best:
                    best, best_epoch = found, epoch
                    self.adapters_ = self.base_.copied()
                elif epoch - best_epoch >= self.patience:
                    break
        finally:
            model.eval()
            if self.gradient_checkpointing:
                model.activation_checkpointing_disable()
        if unseen is None:
            self.adapters_ = self.base_.copied()
        self.training_ = {"epochs": epoch, "steps": step, "loss": last, "batch_size": micro, "held_out": 0}
        if unseen is not None:
            self.training_ |= {"held_out": len(unseen.prompts), "held_out_loss": best, "best_epoch": best_epoch}

    def _learn(
        self, examples: _Examples, batch: Sequence[int], micro: int, optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, int]:
        """Add the gradients of a batch, `micro` texts at a time, fewer where memory does not hold them.

        Returns:
            The mean loss, and how many texts at a time it were in the end.
        """
        while True:
            optimizer.zero_grad()
            loss = self._try_to_learn(examples, batch, micro)
            if loss is not None:
                return loss, micro
            if micro == 1:
                raise PolydistillError(
                    f"{self.model}: the GPU's memory does not hold the training on one text; set "
                    f"{SECTION}.gradient_checkpointing: true, {SECTION}.four_bit: true or a lower {SECTION}.max_tokens"
                )
            micro = (micro + 1) // 2
            torch.cuda.empty_cache()
            log.warning("out of memory; going on with %d texts at a time, as many in a step as before", micro)

    def _try_to_learn(self, examples: _Examples, batch: Sequence[int], micro: int) -> Tensor | None:
        loss = torch.zeros((), device=self.base_.model.device)
        try:
            for part in _parts(batch, micro):
                # By the whole batch's size, so that the gradient does not depend on its parts.
                of_part = self._losses(examples, part).sum() / len(batch)
                of_part.backward()
                loss += of_part.detach()
        except torch.OutOfMemoryError:
            return None
        return loss

    def _loss(self, examples: _Examples, at_once: int) -> float:
        self.base_.model.eval()
        with torch.inference_mode():
            parts = [self._losses(examples, part) for part in _parts(range(len(examples.prompts)), at_once)]
        return float(torch.cat(parts).mean())

    def _losses(self, examples: _Examples, part: Sequence[int]) -> Tensor:
        prompts, answers = [examples.prompts[i] for i in part], [examples.answers[i] for i in part]
        return self.base_.losses(prompts, answers, examples.shared)


def _labels(names: Sequence[str], described: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "description": described.get(name, "")} for name in names]


def _parts(batch: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(batch), size):
        yield batch[start : start + size]


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """Return an epoch's batches in random order, with texts of like length together, so that little is padding."""
    order = rng.permutation(len(lengths)).tolist()
    batches: list[list[int]] = []
    for window in _parts(order, size * _WINDOW):
        batches += [list(part) for part in _parts(sorted(window, key=lambda i: lengths[i]), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _pace(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate at a step, 1 being the first: it rises, then falls to nothing."""
    rising = max(1, round(steps * warmup))
    return step / rising if step <= rising else (steps - step + 1) / (steps - rising + 1)
