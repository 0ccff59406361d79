from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="polydistill[encoder] is not installed")
pytest.importorskip("transformers", reason="polydistill[encoder] is not installed")

import tiny  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """What is so small goes faster so."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def xlmr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained XLM-R; not to be changed."""
    return tiny.make_xlmr(tmp_path_factory.mktemp("models") / "xlmr")
