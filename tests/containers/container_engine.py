"""What builds images and runs containers, as confined as pods are: docker where it runs, else podman."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
REGISTRY, TAG = "localhost", "tested"
START_S = 60
# As the restricted Pod Security Standard has it, with a volume for /tmp.
CONFINED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--network=host"]


class Engine(NamedTuple):
    """What builds images and runs containers.

    Attributes:
        name: The command, docker or podman.
        environment: By which Docker's clients find it.
    """

    name: str
    environment: Mapping[str, str]

    def __call__(self, *arguments: str) -> str:
        """Run the command, and return what it printed."""
        done = subprocess.run([self.name, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.args}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> str:
        """Run a command in a container of its own, confined, and return what it printed."""
        return self(*self.running(image, *command, options=options)[1:])

    def running(self, image: str, *command: str, options: Sequence[str] = ()) -> list[str]:
        """Return the command line that does."""
        # Beside the volumes that are named podman would add others by itself.
        own = ["--read-only-tmpfs=false"] if self.name == "podman" else []
        return [self.name, "run", "--rm", *CONFINED, *own, *options, image, *command]
