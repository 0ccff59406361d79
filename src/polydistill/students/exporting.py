"""A trained encoder as ONNX, which a service runs without PyTorch: in fp32, and in int8 where that answers alike."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from scipy.special import softmax

from polydistill.errors import PolydistillError
from polydistill.students.finetune import Tokens, answer
from polydistill.students.onnx_session import OnnxSession

log = logging.getLogger(__name__)

MODEL = "model.onnx"

MAX_DIFFERENCE = 1e-3
"""Of a probability in fp32, between PyTorch and ONNX."""

MIN_AGREEMENT = 0.98
"""Share of the texts whose label is the same in int8."""

OPSET = 20

# ONNX keeps a model in one file up to 2 GiB, less what is not weights.
_MOST_IN_ONE_FILE = 1_800_000_000


class _Logits(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(model: Any, tokens: Tokens, padding: int, serve: str, folder: Path) -> dict[str, float | int | str]:
    """Write a trained model into a folder as ONNX, once it is seen to answer as the model does.

    Args:
        model: What PyTorch trained.
        tokens: Texts to compare the answers by.
        padding: The token that fills up a text.
        serve: `int8` or `fp32`; int8 gives way where it answers otherwise.
        folder: Where to.

    Returns:
        What the comparison found, and what was written, for student.json.

    Raises:
        PolydistillError: If the exported model does not answer as the trained one.
    """
    on_cpu = copy.deepcopy(model).to("cpu").eval()
    with tempfile.TemporaryDirectory(dir=folder) as scratch, _quiet():
        whole, small = Path(scratch) / "fp32" / MODEL, Path(scratch) / "int8" / MODEL
        whole.parent.mkdir()
        small.parent.mkdir()
        _export(on_cpu, whole)
        wanted = softmax(answer(on_cpu, tokens, padding), axis=1)
        found = softmax(OnnxSession(whole).logits(tokens), axis=1)
        difference = float(np.abs(found - wanted).max())
        if not difference <= MAX_DIFFERENCE:
            raise PolydistillError(
                f"as ONNX the student answers otherwise than as trained, by up to {difference:.2g} of a probability "
                f"where {MAX_DIFFERENCE} is allowed; install the versions of constraints.txt"
            )
        facts: dict[str, float | int | str] = {"texts": len(tokens), "max_difference": round(difference, 6)}
        if serve == "int8":
            # Weights of 7 bits: processors without VNNI overflow with 8.
            quantize_dynamic(whole, small, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
            agreement = float((OnnxSession(small).logits(tokens).argmax(1) == wanted.argmax(1)).mean())
            facts["int8_agreement"] = round(agreement, 4)
            if agreement < MIN_AGREEMENT:
                serve = "fp32"
        for file in (small if serve == "int8" else whole).parent.iterdir():
            file.replace(folder / file.name)
    if "int8_agreement" in facts and serve == "fp32":
        log.warning(
            "in int8 the student gives %.0f %% of %d texts the label that it gives them in fp32, fewer than %.0f %%; "
            "it is served in fp32",
            100 * facts["int8_agreement"],
            len(tokens),
            100 * MIN_AGREEMENT,
        )
    return facts | {"served": serve}


def _export(model: Any, path: Path) -> None:
    batch, length = torch.export.Dim("texts"), torch.export.Dim("tokens")
    example = torch.zeros((2, 8), dtype=torch.long), torch.ones((2, 8), dtype=torch.long)
    program = torch.onnx.export(
        _Logits(model).eval(),
        example,
        input_names=["input_ids", "attention_mask"],
        output_names=["logits"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    program.save(path, external_data=size > _MOST_IN_ONE_FILE)
    # Where in which file a line of the model stands tells about this machine, not about the model.
    written = onnx.load(path, load_external_data=False)
    for node in written.graph.node:
        node.ClearField("metadata_props")
    for value in (*written.graph.input, *written.graph.output, *written.graph.value_info, *written.graph.initializer):
        value.ClearField("metadata_props")
    onnx.save(written, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporters say to their own developers."""
    before = logging.root.manager.disable
    try:
        logging.disable(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
