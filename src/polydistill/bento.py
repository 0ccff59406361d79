"""How this project runs BentoML: as a program of its own, that reports no usage and keeps out of the user's store."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from polydistill.errors import MissingExtraError
from polydistill.traffic import VARIABLE as TRAFFIC_VARIABLE

NO_TRACKING: Mapping[str, str] = {"BENTOML_DO_NOT_TRACK": "True"}


def bentoml_command(*arguments: str) -> list[str]:
    """Return the command line of BentoML.

    Raises:
        MissingExtraError: If it is not installed.
    """
    if importlib.util.find_spec("bentoml") is None:
        raise MissingExtraError("BentoML is not installed; run `pip install 'polydistill[serve]'`")
    return [sys.executable, "-m", "bentoml", *arguments]


def bentoml_environment(home: Path | None = None) -> dict[str, str]:
    """Return this process's environment for BentoML.

    Args:
        home: The folder of a run of our own, which logs no traffic; None is for a run of the user's, in the user's.
    """
    # Bytecode would be written into the bento, and change it.
    environment = {**os.environ, **NO_TRACKING, "PYTHONDONTWRITEBYTECODE": "1"}
    if home is not None:
        environment["BENTOML_HOME"] = str(home)
        environment.pop(TRAFFIC_VARIABLE, None)
    return environment
