import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="polydistill[encoder] is not installed")
pytest.importorskip("transformers", reason="polydistill[encoder] is not installed")

from polydistill.package import run_package  # noqa: E402
from polydistill.params import PackageParams  # noqa: E402
from polydistill.students.encoder import EncoderStudent  # noqa: E402
from winners import SLOVENIAN, build_winner  # noqa: E402

pytestmark = pytest.mark.torch

# As where serve-encoder alone is installed: what it does not name is not there.
PROGRAM = """
import sys
sys.path.append(sys.argv[2])
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "peft", "onnx", "onnxscript", "accelerate"):
            raise ModuleNotFoundError(f"{name} is not here", name=name)
sys.meta_path.insert(0, Missing())
import bentoml
service = bentoml.load(sys.argv[1])()
request = type(service).classify.input_spec(texts=["Odpovedujem pregled v petek."])
print(service.classify(request).predictions[0].label)
"""


def test_an_encoder_is_packaged_and_answers_without_pytorch(xlmr: Path, tmp_path: Path) -> None:
    tiny = {"model": str(xlmr), "revision": None, "max_tokens": 48, "learning_rate": 2e-3, "layer_decay": None}
    build_winner(tmp_path, "clinic/sl", SLOVENIAN, EncoderStudent(**tiny, min_steps=60, held_out=0.0))
    run_package(tmp_path / "winners", tmp_path / "cards", tmp_path / "bento", PackageParams(name="polydistill"))
    lines = (tmp_path / "bento/env/python/requirements.txt").read_text().splitlines()
    pins = {line.partition("==")[0] for line in lines}
    assert {"bentoml", "onnxruntime", "tokenizers", "scikit-learn"} <= pins
    assert pins.isdisjoint({"torch", "transformers", "peft", "onnx"})
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(tmp_path / "bento"), sysconfig.get_path("purelib")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cancel"]
