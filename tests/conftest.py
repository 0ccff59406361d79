import os
import signal
from pathlib import Path

import pytest

from asks import hurry

# A job in the background of a script ignores Ctrl-C, and so would the programs that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def paper_data() -> Path:
    """The data published with the paper, which this repository does not hold."""
    beside = Path(__file__).parents[2] / "shared/paper-data"
    folder = Path(os.environ.get("POLYDISTILL_PAPER_DATA", beside))
    if not (folder / "data").is_dir():
        pytest.skip(
            f"the published data are not at {folder}; set POLYDISTILL_PAPER_DATA to the folder that holds data/"
        )
    return folder


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where a journal goes that the test begins."""
    return tmp_path / "journal.jsonl"


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tries follow each other at once."""
    hurry(monkeypatch)
