from pathlib import Path

import pytest

# PyTorch is imported by what uses it: without it the tests beside this file are skipped, and others go on.


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """What is so small goes faster so."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def xlmr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained XLM-R; not to be changed."""
    import tiny  # noqa: PLC0415

    return tiny.make_xlmr(tmp_path_factory.mktemp("models") / "xlmr")
