"""Writes each pipeline as YAML, the same bytes for the same source: `python -m pipelines.compile`."""

import argparse
import sys
import tempfile
from pathlib import Path

from kfp import compiler

from pipelines.ablate import ablate
from pipelines.distill import distill
from pipelines.retrain import retrain
from polydistill import __version__
from polydistill.cluster.placement import place
from polydistill.params import load_params

PIPELINES = {"ablate": ablate, "distill": distill, "retrain": retrain}
COMPILED = Path(__file__).parent / "compiled" / __version__


def compile_all(folder: Path) -> None:
    """Write <name>.yaml of each pipeline into the folder, with what params.yaml beside it gives the pods."""
    folder.mkdir(parents=True, exist_ok=True)
    params = load_params(Path(__file__).parents[1] / "params.yaml")
    for name, pipeline in PIPELINES.items():
        file = folder / f"{name}.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        file.write_text(place(file.read_text(encoding="utf-8"), params), encoding="utf-8")


def stale(compiled: Path) -> list[str]:
    """Return the files that compiling anew would change, add or leave without a source."""
    with tempfile.TemporaryDirectory(prefix="polydistill-compile-") as scratch:
        compile_all(Path(scratch))
        fresh, there = ({path.name: path.read_bytes() for path in Path(p).glob("*.yaml")} for p in (scratch, compiled))
    return sorted(name for name in {*fresh, *there} if fresh.get(name) != there.get(name))


def main() -> None:
    """Compile, or with --check say what would change."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where compiling would change a file")
    if not parser.parse_args().check:
        compile_all(COMPILED)
    elif changed := stale(COMPILED):
        sys.exit(f"{', '.join(changed)} in {COMPILED}: not what the source compiles to; run `make compile`")


if __name__ == "__main__":
    main()
