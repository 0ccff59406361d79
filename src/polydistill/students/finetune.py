"""Fine-tuning: how an encoder learns from some hundred texts without learning them by heart, or nothing at all."""

import copy
import itertools
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from polydistill.errors import PolydistillError
from polydistill.params import EncoderParams
from polydistill.students.pretrained import Pretrained

log = logging.getLogger(__name__)

# Read when a GPU does its first sum; without it sums may come out differently each time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

MAX_NORM = 1.0
"""A longer gradient is shortened to it."""

ANSWERED_AT_ONCE = 64
"""Texts."""

# Texts of like length are looked for among so many batches: few enough that neighbours change from pass to pass.
_STRETCH = 16
# Fewer steps are over before PyTorch has compiled the model.
_WORTH_COMPILING = 1000

Tokens = list[list[int]]


@dataclass(frozen=True)
class Examples:
    """Texts as tokens, and the numbers of their labels."""

    tokens: Tokens
    targets: list[int]

    @property
    def commonest(self) -> float:
        """The share of the commonest label, which who always says that one gets right."""
        return max(Counter(self.targets).values()) / len(self.targets)


@dataclass(frozen=True)
class Lesson:
    """What a training is made of.

    Args:
        base: What every attempt starts from.
        n_labels: Labels in all.
        training: What is learned from.
        held_out: What tells when to stop; may be empty.
        settings: Section train.encoder.
        seed: All draws depend on it alone.
    """

    base: Pretrained
    n_labels: int
    training: Examples
    held_out: Examples
    settings: EncoderParams
    seed: int

    @property
    def texts_a_step(self) -> int:
        """Texts whose gradients make one step."""
        return self.settings.batch_size * self.settings.accumulate

    @property
    def steps_a_round(self) -> int:
        """Steps of a pass through the texts, or of several passes where they are few."""
        a_pass = math.ceil(len(self.training.tokens) / self.texts_a_step)
        return max(a_pass, math.ceil(self.settings.min_steps / self.settings.epochs))

    @property
    def steps(self) -> int:
        """Steps in all, where nothing ends the training before."""
        return self.steps_a_round * self.settings.epochs

    @property
    def rising_steps(self) -> int:
        """Steps in which the learning rate rises."""
        return min(math.ceil(self.settings.warmup * self.steps), self.steps - 1)

    @property
    def lower_precision(self) -> bool:
        """Whether to reckon in bf16."""
        if self.settings.precision == "auto":
            on_gpu = self.base.device.type == "cuda"
            return on_gpu and bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return self.settings.precision == "bf16"

    @property
    def compiled(self) -> bool:
        """Whether to have PyTorch compile the model."""
        if self.settings.compile == "auto":
            return self.base.device.type == "cuda" and self.steps >= _WORTH_COMPILING
        return self.settings.compile == "on"


@dataclass
class Attempt:
    """What came of one attempt: `collapse` says why it is of no use, empty where it is; `score` tells better ones."""

    model: Any
    collapse: str
    score: tuple[float, float]
    facts: dict[str, float | int | str] = field(default_factory=dict)


@contextmanager
def steady(device: torch.device) -> Iterator[None]:
    """Let the block draw and reckon the same each time, and leave the caller's random numbers and switches alone."""
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filling, precision = torch.utils.deterministic.fill_uninitialized_memory, torch.get_float32_matmul_precision()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            torch.use_deterministic_algorithms(True)
            torch.utils.deterministic.fill_uninitialized_memory = False
            if device.type == "cuda":
                torch.set_float32_matmul_precision("high")  # TF32
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
            torch.utils.deterministic.fill_uninitialized_memory = filling
            torch.set_float32_matmul_precision(precision)


def fine_tune(lesson: Lesson) -> tuple[Any, dict[str, float | int | str]]:
    """Return a trained classifier, and what there is to tell of its training.

    Raises:
        PolydistillError: If the loss is no number in every attempt, or a single text is too much for the memory.
    """
    base, attempts = lesson.base, lesson.settings.restarts + 1
    with steady(base.device):
        base.load(lesson.n_labels)
    best: Attempt | None = None
    for number in range(attempts):
        with steady(base.device):
            attempt = _attempt_in_memory(lesson, number)
        if best is None or not attempt.collapse or attempt.score > best.score:
            best = attempt
        if not attempt.collapse:
            break
        log.warning("attempt %d of %d collapsed: %s", number + 1, attempts, attempt.collapse)
    assert best is not None
    if best.model is None:
        raise PolydistillError(
            f"the training collapsed in all {attempts} attempts: {best.collapse}; set train.encoder.learning_rate "
            f"below {lesson.settings.learning_rate}, or train.encoder.precision: fp32"
        )
    best.facts |= {"restarts": number, "collapsed": best.collapse}
    return base.whole(best.model, lesson.n_labels).eval(), best.facts


def answer(model: Any, tokens: Tokens, padding: int) -> np.ndarray:
    """Return the model's logits, float64 of shape (n_texts, n_labels)."""
    device = next(model.parameters()).device
    at_once, parts = ANSWERED_AT_ONCE, []
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    done = 0
    model.eval()
    while done < len(order):
        some = order[done : done + at_once]
        try:
            with torch.inference_mode():
                ids, mask = _padded([tokens[i] for i in some], padding, device)
                parts.append(model(input_ids=ids, attention_mask=mask).logits.double().cpu().numpy())
        except torch.OutOfMemoryError as exc:
            at_once = _fewer(at_once, exc)
        else:
            done += len(some)
    logits = np.concatenate(parts)
    return np.asarray(logits[np.argsort(order)])


def _attempt_in_memory(lesson: Lesson, number: int) -> Attempt:
    """Train, with smaller batches and as many more of them a step where the memory does not suffice."""
    at_once = min(lesson.settings.batch_size, len(lesson.training.tokens))
    while True:
        try:
            return _attempt(lesson, number, at_once)
        except torch.OutOfMemoryError as exc:
            at_once = _fewer(at_once, exc)
        if lesson.base.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning(
            "out of memory; starting again with %d texts at once, and still %d a step", at_once, lesson.texts_a_step
        )


def _fewer(at_once: int, exc: Exception) -> int:
    if at_once == 1:
        raise PolydistillError(
            "out of memory with a single text at once; lower train.encoder.max_tokens or train.jobs, or take a smaller "
            "train.encoder.model"
        ) from exc
    return (at_once + 1) // 2


def _attempt(lesson: Lesson, number: int, at_once: int) -> Attempt:
    """Train once, with so many texts at once, up to the end or to where it brings nothing more."""
    settings, training, held_out = lesson.settings, lesson.training, lesson.held_out
    learner = _Learner(lesson, number, at_once)
    losses: list[float] = []
    best, best_round, stale = (-1.0, -math.inf), 0, 0
    best_weights: dict[str, torch.Tensor] = {}
    for round_ in range(settings.epochs):
        loss, right = learner.learn(lesson.steps_a_round)
        losses.append(loss)
        score = _score(learner.model, lesson) if held_out.tokens else (right, -loss)
        if not math.isfinite(loss) or not math.isfinite(score[1]):
            return Attempt(None, "the loss is no number", (-1.0, -math.inf))
        if not held_out.tokens or score > best:
            best, best_round, stale = score, round_, 0
            if held_out.tokens:
                best_weights = copy.deepcopy(learner.model.state_dict())
        elif len(losses) * lesson.steps_a_round > lesson.rising_steps:
            stale += 1
            if stale == settings.patience:
                break
    if best_weights:
        learner.model.load_state_dict(best_weights)
    facts: dict[str, float | int | str] = {
        "steps": len(losses) * lesson.steps_a_round,
        "best_step": (best_round + 1) * lesson.steps_a_round,
        "training_texts": len(training.tokens),
        "training_accuracy": round(right, 4),
        "held_out_texts": len(held_out.tokens),
        "learning_rate": learner.rate,
        "batch_size": at_once,
        "precision": "bf16" if lesson.lower_precision else "fp32",
        "device": lesson.base.device.type,
    }
    if held_out.tokens:
        facts["held_out_accuracy"] = round(best[0], 4)
    return Attempt(learner.model, _collapse(losses, right, best[0], lesson), best, facts)


class _Learner:
    """A model that learns, and what it takes: optimiser, learning rates, batches.

    It starts from the pretrained weights; attempts after the first have other random numbers and half the learning
    rate of the one before.
    """

    def __init__(self, lesson: Lesson, number: int, at_once: int) -> None:
        self.lesson, self.at_once = lesson, at_once
        random = np.random.default_rng((lesson.seed, number))
        torch.manual_seed(int(random.integers(2**31)))
        tokens = [*lesson.training.tokens, *lesson.held_out.tokens, [lesson.base.padding]]
        self.model = lesson.base.fresh(lesson.n_labels, {one for some in tokens for one in some})
        self.rate = lesson.settings.learning_rate / 2**number
        self.optimizer = torch.optim.AdamW(_groups(self.model, self.rate, lesson.settings), fused=True)
        rising, falling = lesson.rising_steps, lesson.steps - lesson.rising_steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: (step + 1) / rising if step < rising else (lesson.steps - step) / falling
        )
        self.loss_of = torch.compile(_loss, dynamic=True) if lesson.compiled else _loss
        lengths = [len(some) for some in lesson.training.tokens]
        self.batches = _batches(lengths, lesson.texts_a_step, random, buckets=lesson.settings.length_buckets)

    def learn(self, steps: int) -> tuple[float, float]:
        """Take so many steps; return the mean loss of a text, and the share of right answers."""
        self.model.train()
        # Summed up on the device, which so is waited for at the end instead of at every step.
        sums, seen = torch.zeros(2, dtype=torch.float64, device=self.lesson.base.device), 0
        for batch in itertools.islice(self.batches, steps):
            for start in range(0, len(batch), self.at_once):
                loss, right = self._read(batch[start : start + self.at_once])
                (loss / len(batch)).backward()
                sums += torch.stack([loss.detach().double(), right.double()])
            seen += len(batch)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)
        loss_sum, right_sum = sums.tolist()
        return loss_sum / seen, right_sum / seen

    def _read(self, some: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the number of right answers of some texts."""
        base, settings, training = self.lesson.base, self.lesson.settings, self.lesson.training
        ids, mask = _padded([training.tokens[i] for i in some], base.padding, base.device)
        targets = _on_device(torch.tensor([training.targets[i] for i in some]), base.device)
        with torch.autocast(base.device.type, torch.bfloat16, enabled=self.lesson.lower_precision):
            return self.loss_of(self.model, ids, mask, targets, settings.label_smoothing, settings.r_drop)


def _collapse(losses: list[float], right: float, right_held_out: float, lesson: Lesson) -> str:
    """Say why a training is of no use; empty where it is."""
    if len(losses) > 1 and losses[-1] >= losses[0]:
        return f"the loss did not fall, from {losses[0]:.3f} to {losses[-1]:.3f}"
    if right <= lesson.training.commonest:
        return f"it gets {right:.0%} of its own texts right, no more than who always says the commonest label"
    if len(set(lesson.held_out.targets)) > 1 and right_held_out <= lesson.held_out.commonest:
        return f"it gets {right_held_out:.0%} of the held-out texts right, no more than who says the commonest label"
    return ""


def _loss(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor, smoothing: float, r_drop: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of the losses and the number of right answers.

    Source: R-Drop (Liang et al. 2021, arXiv:2106.14448), with its two passes as one of twice as many texts.
    """
    if r_drop:
        ids, mask = torch.cat([ids, ids]), torch.cat([mask, mask])
    logits = model(input_ids=ids, attention_mask=mask).logits.float()
    passes = logits.chunk(2) if r_drop else (logits,)
    losses = [functional.cross_entropy(one, targets, reduction="sum", label_smoothing=smoothing) for one in passes]
    loss = torch.stack(losses).mean()
    if r_drop:
        first, second = (one.log_softmax(-1) for one in passes)
        apart = [
            functional.kl_div(a, b, reduction="sum", log_target=True) for a, b in ((first, second), (second, first))
        ]
        loss = loss + r_drop * torch.stack(apart).mean()
    return loss, (passes[0].argmax(-1) == targets).sum()


def _score(model: Any, lesson: Lesson) -> tuple[float, float]:
    """Return the share of held-out texts that are right, and the negative mean loss, which tells equal shares apart."""
    with torch.autocast(lesson.base.device.type, torch.bfloat16, enabled=lesson.lower_precision):
        logits = torch.from_numpy(answer(model, lesson.held_out.tokens, lesson.base.padding))
    targets = torch.tensor(lesson.held_out.targets)
    right = (logits.argmax(-1) == targets).double().mean()
    return float(right), -float(functional.cross_entropy(logits, targets))


def _batches(lengths: Sequence[int], size: int, random: np.random.Generator, *, buckets: bool) -> Iterator[list[int]]:
    """Yield batches of indices for ever, in each pass each index once."""
    while True:
        order = random.permutation(len(lengths))
        if buckets:
            stretches = [order[i : i + size * _STRETCH] for i in range(0, len(order), size * _STRETCH)]
            order = np.concatenate([some[np.argsort(np.take(lengths, some), kind="stable")] for some in stretches])
        batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
        if buckets:
            random.shuffle(batches)
        yield from batches


def _padded(tokens: Tokens, padding: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of texts, as wide as the longest of them, made up to a multiple of 8."""
    width = max(map(len, tokens))
    width += -width % 8 if device.type == "cuda" else 0  # its fast units work on eights
    ids, mask = np.full((len(tokens), width), padding), np.zeros((len(tokens), width), dtype=np.int64)
    for row, some in enumerate(tokens):
        ids[row, : len(some)], mask[row, : len(some)] = some, 1
    return _on_device(torch.from_numpy(ids), device), _on_device(torch.from_numpy(mask), device)


def _on_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    # From pinned memory a copy goes on behind the back of the one who asks for it.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _groups(model: Any, rate: float, settings: EncoderParams) -> list[dict[str, Any]]:
    """Return the weights in groups of like learning rate and weight decay.

    The rate falls from the head down, layer by layer. Biases, norms and the vectors of tokens do not decay.
    """
    numbers = {name: re.search(r"\.(?:layers?|blocks?|h)\.(\d+)\.", name) for name, _ in model.named_parameters()}
    top = 1 + max((int(found[1]) for found in numbers.values() if found), default=-1)
    groups: dict[tuple[int, bool], list[torch.Tensor]] = {}
    for name, weight in model.named_parameters():
        found = numbers[name]
        embedded = "embed" in name
        depth = top - int(found[1]) if found else (top + 1 if embedded else 0)
        groups.setdefault((depth, weight.ndim > 1 and not embedded), []).append(weight)
    fall = settings.layer_decay or 1.0
    return [
        {"params": weights, "lr": rate * fall**depth, "weight_decay": settings.weight_decay if decays else 0.0}
        for (depth, decays), weights in groups.items()
    ]
