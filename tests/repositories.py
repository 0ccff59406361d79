"""A git repository in a folder that git, and it alone, finds at an address such as pods are given."""

from pathlib import Path

import pytest

ADDRESS = "https://git.example.org/team/texts.git"


def found_at(address: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have git, as long as the test runs, go to the folder where it is told to go to the address."""
    settings = root.with_name(f"{root.name}.gitconfig")
    settings.write_text(f'[url "{root}"]\n\tinsteadOf = {address}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    return address
