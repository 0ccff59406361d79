"""Writes the constraints for what is installed beside vLLM: the versions that are here stay, all else is as tested.

python3 constrain.py constraints.txt > beside.txt
"""

import re
import sys
from importlib import metadata
from pathlib import Path


def constrain(tested: list[str], here: dict[str, str]) -> list[str]:
    """Return `name==version` of all that is here, and of what was tested and is not here.

    Args:
        tested: Lines of constraints.txt.
        here: Versions by name.
    """
    held = {_normal(name): f"{name}=={version}" for name, version in here.items()}
    pins = [line for line in tested if "==" in line and not line.startswith("#")]
    return [*held.values(), *(pin for pin in pins if _normal(pin.partition("==")[0]) not in held)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text("utf-8").splitlines()
    sys.stdout.write("\n".join(constrain(lines, {d.name: d.version for d in metadata.distributions()})) + "\n")
