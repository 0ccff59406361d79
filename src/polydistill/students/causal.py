"""A causal LM that reads chats: how likely each label is as its answer to a prompt, with low-rank adapters or without.

What all prompts begin with, such as the task and its labels, is read once a batch; what is read of a prompt is kept for
all labels. Neither changes a result, but for the last digits.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import jinja2
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, DynamicCache

from polydistill.errors import DataError, MissingExtraError, ParamsError, PolydistillError
from polydistill.files import explained
from polydistill.students.hub import load_model, load_tokenizer, model_folder

log = logging.getLogger(__name__)

Tokens = list[int]

# Tokens whose keys and values are kept at once: 2 GB for a model of 8B parameters.
TOKENS_AT_ONCE = 2**14

# A template that names the day would have a student answer another prompt tomorrow.
_CHAT = {"date_string": "26 Jul 2024", "enable_thinking": False}
_IDENTIFYING = ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_MEBIBYTE = 2**20
_NO_TOKEN = -100


@dataclass(frozen=True)
class _Read:
    """What was read so far: keys and values, and a mask of shape (n_rows, n_read) that is 1 where no padding is."""

    cache: DynamicCache
    mask: Tensor

    def repeated(self, times: int) -> "_Read":
        """Return it with each row so many times, one after the other."""
        # Layer by layer, so that no more than one is there twice.
        layers = ((_repeated(keys, times), _repeated(values, times)) for keys, values, _ in self.cache)
        return _Read(DynamicCache(layers), _repeated(self.mask, times))


class CausalLM:
    """A base model with its tokenizer, and the adapters that it wears.

    Attributes:
        model: The model of Transformers, on its device; its weights never change.
        fingerprint: Digest of what tells the model from another.
        other_modules: Pattern of the names of modules that read no text, which get no adapters; None without any.
        worn: The weights of the adapters that are on; None where there are none, or they are being trained.
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str) -> None:
        self.model, self.tokenizer, self.fingerprint = model.requires_grad_(False).eval(), tokenizer, fingerprint
        self.other_modules = r".*vision.*" if any("vision" in name for name, _ in model.named_modules()) else None
        self.worn: dict[str, Tensor] | None = None
        self._adapted: PeftModel | None = None

    @classmethod
    def load(cls, model: str, revision: str | None, section: str, precision: str, four_bit: bool) -> Self:
        """Return the model of a folder, or of a name at the hub.

        Args:
            model: The folder, or the name.
            revision: Commit at the hub; None for a folder.
            section: Where the settings stand, for the errors.
            precision: `fp32`, `bf16`, or `auto`, which is bf16 where the GPU has it.
            four_bit: Whether the weights are held in 4 bits, which needs a GPU and bitsandbytes.

        Raises:
            ParamsError: If the settings ask for what this machine cannot do.
            DataError: If no model loads from there, or it is none to chat with.
            PolydistillError: If the model does not fit into memory.
        """
        folder = model_folder(model, revision, section)
        tokenizer = load_tokenizer(folder)
        if not tokenizer.chat_template:
            raise DataError(f"{section}.model: {folder} has no chat template; an instruction-tuned model is needed")
        on_gpu = torch.cuda.is_available()
        with_bf16 = precision == "bf16" or (precision == "auto" and on_gpu and torch.cuda.is_bf16_supported())
        options: dict[str, Any] = {"dtype": torch.bfloat16 if with_bf16 else torch.float32}
        if on_gpu:
            options["device_map"] = {"": torch.cuda.current_device()}
        if four_bit:
            options["quantization_config"] = _four_bit(section, on_gpu)
        try:
            loaded = load_model(AutoModelForCausalLM, folder, **options)
        except torch.OutOfMemoryError as exc:
            raise PolydistillError(
                f"{section}.model: {folder} does not fit into the GPU's memory; take a smaller model, or set "
                f"{section}.four_bit: true"
            ) from exc
        return cls(loaded, tokenizer, _fingerprint(folder))

    def prompts(self, contents: Sequence[str]) -> list[Tokens]:
        """Return the tokens of chats that ask each of these, up to where the answer begins."""
        chats = [[{"role": "user", "content": content}] for content in contents]
        # A text that holds a token such as the end of a turn has its letters read, and ends nothing.
        options = {"add_generation_prompt": True, "sanitize_control_tokens": True, "return_dict": False}
        try:
            found: list[Tokens] = self.tokenizer.apply_chat_template(chats, **options, **_CHAT)
        except jinja2.TemplateError as exc:
            raise DataError(f"{self.tokenizer.name_or_path}: its chat template takes no question ({exc})") from exc
        return found

    def answers(self, labels: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each label as an answer, with the end of the turn, so that none begins another.

        Raises:
            DataError: If two labels have the same tokens.
        """
        end = self._end_of_turn()
        answers = [[*self.tokenizer.encode(label, add_special_tokens=False), end] for label in labels]
        first: dict[tuple[int, ...], str] = {}
        for label, answer in zip(labels, answers, strict=True):
            if first.setdefault(tuple(answer), label) != label:
                raise DataError(
                    f"the tokenizer cannot tell label `{label}` from `{first[tuple(answer)]}`; rename one of them in "
                    "task.yaml"
                )
        return answers

    def shorten(self, text: str, max_tokens: int) -> str:
        """Return the text, or so many tokens of it."""
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair has no tokens
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        return text if len(tokens) <= max_tokens else str(self.tokenizer.decode(tokens[:max_tokens]))

    def wear(self, config: LoraConfig, weights: dict[str, Tensor] | None = None) -> list[Tensor]:
        """Put on adapters with these weights, or fresh ones, in place of those that are on.

        Returns:
            What can be trained of them.

        Raises:
            ParamsError: If the model has no module that the adapters could go to.
            DataError: If the weights are not of such adapters.
        """
        if self._adapted is not None:
            self._adapted.unload()
            self._adapted = self.worn = None
        try:
            with warnings.catch_warnings():
                # PEFT asks by a name that Transformers will drop.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
                self._adapted = get_peft_model(self.model, config)
        except ValueError as exc:
            raise ParamsError(f"train.lora.target_modules: the model has not what it names ({exc})") from exc
        if weights is not None:
            self._put(weights)
        self.model.eval()
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    def copied(self) -> dict[str, Tensor]:
        """Return a copy of the weights of the adapters that are on."""
        weights = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
        return {name: weight.detach().cpu().clone() for name, weight in sorted(weights.items())}

    def losses(self, prompts: Sequence[Tokens], answers: Sequence[Tokens], shared: int) -> Tensor:
        """Return the mean negative log-likelihood of each answer's tokens after its prompt, shape (n_prompts,).

        Args:
            prompts: Tokens of the prompts.
            answers: Tokens of the answers, as many.
            shared: So many tokens at their beginning are the same in all prompts; 0 has each prompt read whole.
        """
        rows = [prompt[shared:] + answer for prompt, answer in zip(prompts, answers, strict=True)]
        with self._autocast():
            before = self._read_shared(prompts[0][:shared])
            targets = _padded(answers, _NO_TOKEN, left=True)  # on the left, so that all answers end together
            logits, _ = self._read(rows, before, keep=targets.shape[1] + 1, left=True)
        return _mean_losses(logits[:, :-1], targets)

    def likelihoods(self, prompts: Sequence[Tokens], answers: Sequence[Tokens]) -> np.ndarray:
        """Return the mean log-likelihood of the tokens of each answer after each prompt.

        Args:
            prompts: Tokens of the prompts, one or more.
            answers: Tokens of the possible answers, the same for all prompts.

        Returns:
            float64 of shape (n_prompts, n_answers).

        Raises:
            torch.OutOfMemoryError: If the memory does not hold one prompt.
        """
        longest_answer = max(map(len, answers))
        shared = self.shared_tokens(prompts, longest_answer)
        scores = np.empty((len(prompts), len(answers)))
        # Taken from the end, the longest first: what memory cannot hold is found out at once.
        waiting = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        room = TOKENS_AT_ONCE
        with torch.inference_mode(), self._autocast():
            before = self._read_shared(prompts[0][:shared])
            while waiting:
                longest = len(prompts[waiting[-1]]) + longest_answer
                batch = waiting[-max(1, room // (longest * len(answers))) :]
                rows = [prompts[i][shared:] for i in batch]
                found = self._try_to_score(rows, answers, before, room, give_up=room < longest)
                if found is not None:
                    scores[batch] = found
                    del waiting[-len(batch) :]
                    continue
                room = min(room, longest * len(answers) * len(batch)) // 2
                torch.cuda.empty_cache()
                log.warning("out of memory; going on with %d tokens at once", room)
        return scores

    def shared_tokens(self, prompts: Sequence[Tokens], longest_answer: int) -> int:
        """Return how many tokens all prompts begin with, at least one token of each left over."""
        longest = max(map(len, prompts))
        window = getattr(self.model.config.get_text_config(), "sliding_window", None)
        if window is not None and longest + longest_answer > window:
            return 0  # what is shared would move out of the window for the padding behind it
        first, last = min(prompts), max(prompts)
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), longest)
        return min(same, min(map(len, prompts)) - 1)

    def _try_to_score(
        self, rows: Sequence[Tokens], answers: Sequence[Tokens], before: _Read | None, room: int, *, give_up: bool
    ) -> np.ndarray | None:
        """Return the scores of the answers, shape (n_rows, n_answers); None where memory does not hold them."""
        try:
            return self._score(rows, answers, before, room)
        except torch.OutOfMemoryError:
            if give_up:
                raise
            return None

    def _score(
        self, prompts: Sequence[Tokens], answers: Sequence[Tokens], before: _Read | None, room: int
    ) -> np.ndarray:
        last, read = self._read(prompts, before, keep=1, left=True)
        at_once = max(1, room // (read.mask.numel() + len(prompts) * max(map(len, answers))))
        scores = []
        for start in range(0, len(answers), at_once):
            some = answers[start : start + at_once]
            # A row for each prompt and answer: the first token of an answer is told by the last of the prompt.
            rows = [answer[:-1] for answer in some] * len(prompts)
            further, _ = self._read(rows, read, keep=0, left=False)
            logits = torch.cat([_repeated(last, len(some)), further], dim=1)
            targets = _padded(list(some) * len(prompts), _NO_TOKEN, left=False)
            scores.append(-_mean_losses(logits, targets).view(len(prompts), len(some)))
        found: np.ndarray = torch.cat(scores, dim=1).double().cpu().numpy()
        return found

    def _read_shared(self, tokens: Tokens) -> _Read | None:
        """Read what all prompts begin with, which may be nothing."""
        return self._read([tokens], None, keep=1, left=False)[1] if tokens else None

    def _read(self, rows: Sequence[Tokens], before: _Read | None, *, keep: int, left: bool) -> tuple[Tensor, _Read]:
        """Read tokens behind what was read before.

        Args:
            rows: The tokens, filled up to the longest row.
            before: What was read before, which stays as it is. As many of `rows`, one after the other, go on from each
                row of it.
            keep: Of so many tokens at the end the logits are wanted; 0: of all.
            left: Whether the padding stands on the left.

        Returns:
            Logits, shape (n_rows, n_kept, n_words), and all that is read by now.
        """
        ids, mask = _padded(rows, 0, left=left), _padded([[1] * len(row) for row in rows], 0, left=left)
        if before is None:
            cache, whole = DynamicCache(), mask
        else:
            past = before.repeated(len(rows) // len(before.mask))
            cache, whole = past.cache, torch.cat([past.mask, mask], dim=1)
        positions = (whole.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        device = self.model.device
        found = self.model(
            input_ids=ids.to(device),
            attention_mask=whole.to(device),
            position_ids=positions.to(device),
            cache=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return found.logits, _Read(cache, whole)

    def _autocast(self) -> torch.autocast:
        # The adapters' weights are fp32 in any case; where the others are bf16, they are multiplied as such.
        return torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.model.dtype == torch.bfloat16)

    def _put(self, weights: dict[str, Tensor]) -> None:
        wanted = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
        shapes = {name: weight.shape for name, weight in wanted.items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise DataError("the weights are of adapters of another form; train the student again")
        set_peft_model_state_dict(self._adapted, weights)
        self.worn = weights

    def _end_of_turn(self) -> int:
        """Return the token that ends an answer."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "answer"}]
        try:
            after = self.tokenizer.apply_chat_template(chat, tokenize=False, **_CHAT).rpartition("answer")[2]
        except jinja2.TemplateError:  # it takes no finished chat
            after = ""
        tokens = [*self.tokenizer.encode(after.strip(), add_special_tokens=False), self.tokenizer.eos_token_id]
        if tokens[0] is None:
            raise DataError(
                f"{self.tokenizer.name_or_path}: neither chat template nor tokenizer say how an answer ends"
            )
        return int(tokens[0])


def _padded(rows: Sequence[Tokens], padding: int, *, left: bool) -> Tensor:
    """Return rows filled up to the longest, shape (n_rows, n_longest)."""
    width = max(map(len, rows))
    fill = [[padding] * (width - len(row)) for row in rows]
    return torch.tensor([some + row if left else row + some for row, some in zip(rows, fill, strict=True)])


def _mean_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of each row over its tokens that are some; logits of shape (n_rows, n_tokens, n_words)."""
    targets = targets.to(logits.device)
    # As one list of tokens: GPUs reckon the loss of a table of them otherwise each time.
    losses = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none", ignore_index=_NO_TOKEN)
    return losses.view(targets.shape).sum(dim=1) / (targets != _NO_TOKEN).sum(dim=1)


def _repeated(tensor: Tensor, times: int) -> Tensor:
    """Return it with each row so many times, one after the other."""
    return tensor.unsqueeze(1).expand(-1, times, *tensor.shape[1:]).flatten(0, 1)


def _four_bit(section: str, on_gpu: bool) -> Any:
    from transformers import BitsAndBytesConfig  # noqa: PLC0415
    from transformers.utils import is_bitsandbytes_available  # noqa: PLC0415

    if not on_gpu:
        raise ParamsError(f"{section}.four_bit: true needs a GPU with CUDA, and there is none here; set it to false")
    if not is_bitsandbytes_available():
        raise MissingExtraError(
            f"{section}.four_bit: true needs bitsandbytes; run `pip install 'polydistill[four-bit]'`"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32,
    )


def _fingerprint(folder: Path) -> str:
    """Return a digest of configuration, tokenizer and weights; of a large file its size, its beginning and its end.

    To read all of 16 GB at each start would take longer than to load them.
    """
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.name in _IDENTIFYING or path.suffix == ".safetensors"):
        with explained(path, "read"), path.open("rb") as file:
            size = path.stat().st_size
            total.update(f"{path.name}\0{size}\n".encode() + file.read(_MEBIBYTE))
            file.seek(max(0, size - _MEBIBYTE))
            total.update(file.read())
    return total.hexdigest()
