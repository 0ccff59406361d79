"""A pretrained encoder, read once for any number of trainings, each of which starts from a copy of it."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from polydistill.errors import DataError, ParamsError
from polydistill.params import EncoderParams
from polydistill.students.hub import load_model, load_tokenizer, model_folder


class CompactEmbedding(torch.nn.Module):  # type: ignore[misc]
    """The rows of an embedding table that some texts use.

    Other rows would get no gradient, so leaving them out changes no result, and of XLM-R's 560 million weights 256
    million need no copy, no gradient and no step of the optimiser.
    """

    def __init__(self, whole: torch.nn.Embedding, used: Iterable[int]) -> None:
        super().__init__()
        padding = () if whole.padding_idx is None else (whole.padding_idx,)
        rows = torch.tensor(sorted({*used, *padding}), device=whole.weight.device)
        position = torch.zeros(whole.num_embeddings, dtype=torch.long, device=whole.weight.device)
        position[rows] = torch.arange(len(rows), device=whole.weight.device)
        self.padding_idx = None if whole.padding_idx is None else int(position[whole.padding_idx])
        self.weight = torch.nn.Parameter(whole.weight.detach()[rows])
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("position", position, persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the vectors of tokens that are all among the used ones."""
        return torch.nn.functional.embedding(self.position[ids], self.weight, self.padding_idx)

    def put_into(self, whole: torch.nn.Embedding) -> torch.nn.Embedding:
        """Return a copy of the whole table with these rows in their places."""
        restored = copy.deepcopy(whole)
        with torch.no_grad():
            restored.weight[self.rows] = self.weight
        return restored


class Pretrained:
    """Tokenizer and weights of an encoder, and texts as its tokens.

    Args:
        settings: Section train.encoder.

    Raises:
        DataError: If the model cannot be had, or does not load.
        ParamsError: If it cannot read texts as long as the settings say.
    """

    def __init__(self, settings: EncoderParams) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._folder = model_folder(settings.model, settings.revision, "train.encoder")
        fast = load_tokenizer(self._folder)
        self.padding: int = fast.pad_token_id or 0
        # The library itself, since a service that answers has neither Transformers nor PyTorch.
        self.tokenizer: Tokenizer = fast.backend_tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(settings.max_tokens)
        self._longest = fast.model_max_length
        self._settings = settings
        self._tokens: dict[str, list[int]] = {}
        self._models: dict[int, tuple[Any, set[str]]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts, each text cut once."""
        for text in texts:
            if text not in self._tokens:
                self._tokens[text] = self.tokenizer.encode(text).ids
        return [self._tokens[text] for text in texts]

    def fresh(self, n_labels: int, used: Iterable[int]) -> Any:
        """Return a classifier with the pretrained weights, a new head, and the rows of its tokens that are used.

        The head is drawn from PyTorch's random numbers, as they stand.
        """
        whole, drawn = self.load(n_labels)
        table = whole.get_input_embeddings()
        # A table of a class of its own may do more than look up.
        kept = {id(table): CompactEmbedding(table, used)} if type(table) is torch.nn.Embedding else {}
        model = copy.deepcopy(whole, kept)
        for path, module in model.named_modules():
            own = dict(module.named_parameters(prefix=path, recurse=False))
            if drawn.intersection(own):
                for weight in own.values():
                    weight._is_hf_initialized = False
                model._init_weights(module)
        return model

    def whole(self, model: Any, n_labels: int) -> Any:
        """Return the model that `fresh` made, with its whole table of tokens, to read any text."""
        table = model.get_input_embeddings()
        if isinstance(table, CompactEmbedding):
            model.set_input_embeddings(table.put_into(self.load(n_labels)[0].get_input_embeddings()))
        return model

    def load(self, n_labels: int) -> tuple[Any, set[str]]:
        """Return the pretrained model with a head for so many labels, and which of its weights the folder lacks.

        It is read once; that draws random numbers, for the weights that are not there.
        """
        if n_labels not in self._models:
            model, found = load_model(
                AutoModelForSequenceClassification,
                self._folder,
                num_labels=n_labels,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            table = model.get_input_embeddings()
            if table.num_embeddings < self.tokenizer.get_vocab_size():
                raise DataError(
                    f"{self._folder}: its tokenizer has {self.tokenizer.get_vocab_size()} tokens, the model knows "
                    f"{table.num_embeddings}; they are of two models"
                )
            body = {name for name, _ in model.named_parameters() if name.startswith(f"{model.base_model_prefix}.")}
            if len(lacking := body.intersection(found["missing_keys"])) > len(body) / 2:
                raise DataError(
                    f"{self._folder}: {len(lacking)} of the {len(body)} weights of its {type(model).__name__} are not "
                    "in the files; they are of another model"
                )
            longest = min(self._longest, getattr(model.config, "max_position_embeddings", None) or self._longest)
            if self._settings.max_tokens > longest:
                raise ParamsError(
                    f"train.encoder.max_tokens {self._settings.max_tokens} is more than {self._settings.model} can "
                    f"read; set it to {longest} or less"
                )
            mismatched = {name for name, *_ in found["mismatched_keys"]}
            self._models[n_labels] = model.to(self.device), {*found["missing_keys"], *mismatched}
        return self._models[n_labels]
