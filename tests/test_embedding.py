"""A sentence-embedding model, made on the spot: it knows nothing, but it loads and embeds as a real one does."""

from pathlib import Path

import numpy as np
import pytest

from polydistill.embedding import embed
from polydistill.errors import DataError
from polydistill.measure.diversity import embedding_variance

pytest.importorskip("sentence_transformers", reason="needs polydistill[embed]")

# What the libraries warn of as they load is theirs.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

TEXTS = ["kdaj ste odprti", "kdaj ste zaprti", "termin pri zobarju"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.models import Pooling, Transformer  # noqa: PLC0415
    from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("model")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    bert = folder / "bert"
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(bert)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(bert)
    transformer = Transformer(str(bert))
    saved = folder / "sentences"
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(saved))
    return saved


def test_texts_become_vectors_of_length_one(model: Path) -> None:
    found = embed([*TEXTS, TEXTS[0]], str(model))
    assert found.shape == (4, 16)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1] * 4, abs=1e-5)
    assert found[3] == pytest.approx(found[0], abs=1e-5)


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no sentence-embedding model loads from there"):
        embed(TEXTS, str(tmp_path / "empty"))


def test_variance_is_nought_for_equal_texts() -> None:
    rows = np.array([[True, True, False], [True, False, True]])
    embeddings = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert embedding_variance(embeddings)(rows) == pytest.approx([0, 0.5])
