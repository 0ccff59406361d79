"""Models by folder or by name at the Hugging Face hub: pinned, weights as safetensors alone, none of their code run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import huggingface_hub.utils.logging
import transformers.utils.logging
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from transformers import AutoTokenizer

from polydistill.errors import DataError, ParamsError

TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json")
"""Each of them is a tokenizer, or the greater part of one."""

# Of a model's repository: its configuration, its tokenizer, its weights; not those for other frameworks.
_WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_MOST_OF_A_CAUSE = 300  # characters

# Nothing phones home, and a progress bar for each of 320 trainings is too much.
huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
huggingface_hub.utils.logging.set_verbosity_error()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def model_folder(model: str, revision: str | None, section: str) -> Path:
    """Return the folder that holds a model, downloaded where it is given by its name at the hub.

    Args:
        model: A folder, or a name at the hub such as FacebookAI/xlm-roberta-large.
        revision: The commit at the hub; None for a folder.
        section: Where the two are set, such as train.encoder, for the errors.

    Raises:
        ParamsError: If a name comes without a revision, or a folder with one.
        DataError: If there is no such folder, the hub has no such model or cannot be reached, or what is there lacks
            its configuration, weights as safetensors, or tokenizer.
    """
    folder = Path(model)
    if folder.is_dir():
        if revision is not None:
            raise ParamsError(f"{section}.model: {model} is a folder, which has no revision; set revision: null")
    elif model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise DataError(f"{section}.model: there is no folder {model}; name one, or a model at the Hugging Face hub")
    elif revision is None:
        raise ParamsError(
            f"{section}.model: there is no folder {model}; a name at the Hugging Face hub needs a revision too, the "
            "commit of 40 letters and digits, since what the name stands for may change from one day to the next"
        )
    else:
        folder = _download(model, revision, section)
    _check(folder, section)
    return folder


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model's folder, one that the library `tokenizers` runs.

    Raises:
        DataError: If none loads from there.
    """
    with _explained(folder, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise DataError(f"{folder}: its tokenizer exists in Python alone; a model with a tokenizer.json is needed")
    return tokenizer


def load_model(auto_class: Any, folder: Path, **options: Any) -> Any:
    """Return what a class of Transformers, such as AutoModelForCausalLM, makes of a model's folder.

    Raises:
        DataError: If it does not load.
    """
    with _explained(folder, "model"):
        return auto_class.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, **options
        )


@contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:  # of Transformers, tokenizers or safetensors, each of which has errors of its own
        if "out of memory" in str(exc):
            raise
        raise DataError(f"{folder}: no {what} loads from there ({_brief(exc)}); download it again") from exc


def _download(model: str, revision: str, section: str) -> Path:
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_WANTED, ignore_patterns="*/*"))
    except GatedRepoError as exc:
        raise DataError(
            f"{section}.model: {model} is open only to those who accept its licence; do so on its page at the Hugging "
            "Face hub, then set HF_TOKEN"
        ) from exc
    except RevisionNotFoundError as exc:
        raise DataError(f"{section}.revision: {model} has no commit {revision}; its page at the hub has them") from exc
    except (RepositoryNotFoundError, HFValidationError) as exc:
        raise DataError(
            f"{section}.model: the Hugging Face hub has no model {model}, and there is no folder of that name; a "
            "private model needs HF_TOKEN"
        ) from exc
    except Exception as exc:  # no route, no name server, a proxy's answer, a timeout: each has an error of its own
        raise DataError(
            f"{section}.model: {model} is not on this machine, and the Hugging Face hub did not give it "
            f"({_brief(exc)}). Where the hub can be reached, run: hf download {model} --revision {revision} "
            f"--local-dir DIR; bring DIR here, then set {section}.model: DIR and {section}.revision: null"
        ) from exc


def _check(folder: Path, section: str) -> None:
    names = {file.name for file in folder.iterdir()}
    if "config.json" not in names:
        raise DataError(f"{section}.model: {folder} has no config.json, so it is no model of Transformers")
    if not any(name.endswith(".safetensors") for name in names):
        others = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".h5", ".msgpack")))
        found = f"; {', '.join(others)} is not read, since such a file may hold code" if others else ""
        raise DataError(f"{section}.model: {folder} has no weights (model.safetensors){found}")
    if not names.intersection(TOKENIZERS):
        raise DataError(f"{section}.model: {folder} has no tokenizer (tokenizer.json)")


def _brief(exc: Exception) -> str:
    return " ".join(str(exc).split())[:_MOST_OF_A_CAUSE] or type(exc).__name__
