"""The encoder student: a pretrained encoder such as XLM-R, fine-tuned, and served as ONNX without PyTorch."""

import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from scipy.special import softmax
from sklearn.utils.validation import check_is_fitted
from tokenizers import Tokenizer

from polydistill.errors import DataError
from polydistill.files import digest, explained, read_json, read_text, require_input, write_json
from polydistill.params import EncoderParams
from polydistill.students.base import Labelled, Student
from polydistill.students.onnx_session import OnnxSession

COMPARED = 100
"""Texts by which the exported model is compared with the trained one."""

# What a training takes of a GPU's memory, in weights of the model as they stand on the disk.
_TRAINING_WEIGHTS = 6


class EncoderStudent(Student):
    """Any sequence classifier of Transformers, fine-tuned; the settings are those of section train.encoder."""

    kind = "encoder"
    _files: dict[str, str]

    def __init__(
        self,
        *,
        model: str = "FacebookAI/xlm-roberta-large",
        revision: str | None = "c23d21b0620b635a76227c604d44e43a9f0ee389",
        max_tokens: int = 256,
        epochs: int = 20,
        min_steps: int = 200,
        batch_size: int = 16,
        accumulate: int = 1,
        learning_rate: float = 2e-5,
        layer_decay: float | None = 0.95,
        warmup: float = 0.1,
        weight_decay: float = 0.01,
        label_smoothing: float = 0.1,
        r_drop: float = 0.5,
        held_out: float = 0.1,
        patience: int | None = 3,
        restarts: int = 2,
        length_buckets: bool = True,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        compile: Literal["auto", "on", "off"] = "auto",
        serve: Literal["int8", "fp32"] = "int8",
        seed: int = 0,
    ) -> None:
        self.model = model
        self.revision = revision
        self.max_tokens = max_tokens
        self.epochs = epochs
        self.min_steps = min_steps
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.layer_decay = layer_decay
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.label_smoothing = label_smoothing
        self.r_drop = r_drop
        self.held_out = held_out
        self.patience = patience
        self.restarts = restarts
        self.length_buckets = length_buckets
        self.precision = precision
        self.compile = compile
        self.serve = serve
        self.seed = seed

    def share(self, texts: Sequence[str]) -> Any:
        """Return the pretrained weights, and the texts as tokens."""
        from polydistill.students.pretrained import Pretrained  # noqa: PLC0415

        base = Pretrained(self._settings())
        base.encode(texts)
        return base

    def at_once(self) -> int:
        """Return how many trainings fit into the memory of the GPU; a single one takes all cores of a CPU."""
        import torch  # noqa: PLC0415

        from polydistill.students.hub import model_folder  # noqa: PLC0415

        if not torch.cuda.is_available():
            return 1
        folder = model_folder(self.model, self.revision, "train.encoder")
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        free: int = torch.cuda.mem_get_info()[0]
        return max(1, min(int(torch.get_num_threads()), free // (_TRAINING_WEIGHTS * weights)))

    def fit(self, texts: Sequence[str], labels: Sequence[str], validation: Labelled | None = None) -> Self:
        """Train from scratch.

        Raises:
            DataError: If the texts have fewer than two labels, or the pretrained model cannot be had.
            PolydistillError: If the loss is no number in every attempt, or the memory does not suffice.
        """
        from polydistill.students.finetune import Examples, Lesson, fine_tune  # noqa: PLC0415

        if len(set(labels)) < 2:
            raise DataError(f"a student needs texts of two labels or more, got {sorted(set(labels))}")
        base = self.shared or self.share([])
        classes = sorted(set(labels))
        targets = [classes.index(label) for label in labels]
        apart = _held_out(targets, self.held_out, self.seed)
        stop_by = [(text, targets[i]) for i, text in enumerate(texts) if i in apart]
        if validation is not None:
            known = zip(validation.texts, validation.labels, strict=True)
            stop_by += [(text, classes.index(label)) for text, label in known if label in classes]
        learned = [i for i in range(len(texts)) if i not in apart]
        training = Examples(base.encode([texts[i] for i in learned]), [targets[i] for i in learned])
        held_out = Examples(base.encode([text for text, _ in stop_by]), [target for _, target in stop_by])
        lesson = Lesson(base, len(classes), training, held_out, self._settings(), self.seed)
        self.model_, self.training_ = fine_tune(lesson)
        self.classes_ = classes
        self.tokenizer_, self._padding = base.tokenizer, base.padding
        self._compared = [*held_out.tokens, *training.tokens][:COMPARED]
        self._session: OnnxSession | None = None
        return self

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Return probabilities, float64 of shape (n_texts, n_labels), columns in `classes_` order.

        Once it is saved, a student answers as the one that will be loaded.
        """
        check_is_fitted(self, "classes_")
        if not len(texts):
            return np.empty((0, len(self.classes_)))
        tokens = [encoding.ids for encoding in map(self.tokenizer_.encode, texts)]
        if self._session is not None:
            return np.asarray(softmax(self._session.logits(tokens), axis=1))
        from polydistill.students.finetune import answer  # noqa: PLC0415

        return np.asarray(softmax(answer(self.model_, tokens, self._padding), axis=1))

    def save(self, folder: Path) -> None:
        """Write student.json (settings, labels, facts of the training), tokenizer.json and the model as ONNX."""
        check_is_fitted(self, "classes_")
        if hasattr(self, "model_"):
            from polydistill.students.exporting import export  # noqa: PLC0415

            self._parity = export(self.model_, self._compared, self._padding, self.serve, folder)
            (folder / "tokenizer.json").write_text(self.tokenizer_.to_str(), encoding="utf-8")
            self._session = OnnxSession(folder / "model.onnx")
        else:
            for name in self._files:
                with explained(folder / name, "write"):
                    shutil.copyfile(self._folder / name, folder / name)
        self._files = {file.name: digest(file) for file in sorted(folder.iterdir()) if file.name != "student.json"}
        facts = {
            "kind": "encoder",
            "settings": self.get_params(),
            "labels": self.classes_,
            "training": self.training_,
            "parity": self._parity,
            "files": self._files,
        }
        write_json(folder / "student.json", facts)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the student that `save` wrote; it answers without PyTorch.

        Raises:
            DataError: If a file is missing or damaged.
        """
        facts = read_json(folder / "student.json")
        for name, wanted in facts["files"].items():
            if digest(require_input(folder / name, "train")) != wanted:
                raise DataError(f"{folder / name}: damaged; train the student again")
        student = cls(**facts["settings"])
        student.classes_, student.training_, student._parity = facts["labels"], facts["training"], facts["parity"]
        student.tokenizer_ = Tokenizer.from_str(read_text(folder / "tokenizer.json"))
        student._session = OnnxSession(folder / "model.onnx")
        student._folder, student._files = folder, facts["files"]
        return student

    def _settings(self) -> EncoderParams:
        return EncoderParams(**{name: value for name, value in self.get_params().items() if name != "seed"})


def _held_out(targets: Sequence[int], share: float, seed: int) -> set[int]:
    """Return the indices of the same share of each label's texts, of none where a label has not enough of them."""
    counts = Counter(targets)
    random = np.random.default_rng(seed)
    numbers = {target: math.floor(count * share) for target, count in counts.items()}
    if not all(numbers.values()):
        return set()
    own = {target: [i for i, one in enumerate(targets) if one == target] for target in sorted(numbers)}
    return {int(i) for target, some in own.items() for i in random.choice(some, numbers[target], replace=False)}
