"""Every component is killed half-way, tried again by Kubeflow, and leaves what an undisturbed run leaves."""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import components, local
from test_distill import fill

from pipelines.compile import COMPILED
from polydistill.cluster.arguments import chain_arguments
from polydistill.files import read_json
from polydistill.params import load_params

pytestmark = [
    pytest.mark.slow,
    # kfp doubts an image that has no "python" in its name, and says that requests and limits have no effect here.
    pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning:kfp"),
    pytest.mark.filterwarnings("ignore:Task .* settings .* have no effect:UserWarning"),
]

# Python runs this at the start of each process of the run. A component's first process is killed, without a chance to
# tidy up, when it opens a file of its outputs for writing: its first file, or, of the steps that write many, its third.
KILLER = """
import os, signal, sys
from pathlib import Path

def step():
    words = sys.orig_argv
    return words[words.index("--function_to_execute") + 1] if "--function_to_execute" in words else None

def watch(event, arguments):
    global written
    if event != "open" or not isinstance(arguments[0], (str, os.PathLike)) or not isinstance(arguments[2], int):
        return
    if arguments[2] & (os.O_WRONLY | os.O_RDWR) and str(arguments[0]).startswith(os.environ["KILLED_IN"]):
        written += 1
        if written == (3 if name in ("generate", "train", "select") else 1):
            Path(os.environ["KILLED"], name).touch()
            os.kill(os.getpid(), signal.SIGKILL)

written, name = 0, step()
if name and not Path(os.environ["KILLED"], name).exists():
    sys.addaudithook(watch)
"""


def test_a_killed_component_is_tried_again_and_leaves_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = tmp_path / "workspace"
    fill(workspace, ["clinic/sl"])
    undisturbed = _run(workspace, tmp_path / "undisturbed")
    (tmp_path / "killed").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    monkeypatch.setenv("KILLED_IN", str(tmp_path / "disturbed"))
    disturbed = _run(workspace, tmp_path / "disturbed")
    killed = {path.name for path in (tmp_path / "killed").iterdir()}
    assert killed == set(_steps(undisturbed))
    outputs = dict(_outputs(undisturbed))
    assert len(outputs) > 20
    assert dict(_outputs(disturbed)) == outputs


def _run(workspace: Path, root: Path) -> Path:
    """Run the compiled pipeline with the tries that it has, without the pauses between them; return its outputs."""
    compiled = (
        (COMPILED / "distill.yaml").read_text(encoding="utf-8").replace("backoffDuration: 30s", "backoffDuration: 0s")
    )
    local.init(
        local.SubprocessRunner(use_venv=False), pipeline_root=str(root), workspace_root=str(root.parent / "shared")
    )
    distill = components.load_component_from_text(compiled)
    distill(**chain_arguments(load_params(workspace / "params.yaml"), str(workspace), ""))
    (run,) = root.iterdir()
    return run


def _steps(run: Path) -> Iterator[str]:
    for output in run.rglob("executor_output.json"):
        yield output.parent.name.replace("-", "_")


def _outputs(run: Path) -> Iterator[tuple[str, str]]:
    """Yield each output of each task, by its place, and a digest that heeds no name of a run."""
    name = read_json(run / "promote/promoted/promoted.json")["run"].encode()
    for told in sorted(run.rglob("executor_output.json")):  # which Kubeflow's executor writes itself
        for output in sorted(set(told.parent.iterdir()) - {told}):
            if not output.name.endswith("-finished"):
                files = sorted(file for file in (output, *output.rglob("*")) if file.is_file())
                parts = [file.relative_to(run).as_posix().encode() + file.read_bytes() for file in files]
                content = b"".join(parts).replace(name, b"RUN")
                yield output.relative_to(run).as_posix(), hashlib.sha256(content).hexdigest()
