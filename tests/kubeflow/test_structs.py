"""Sections of params.yaml on their way through Kubeflow, which passes parameters on as protobuf structs."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from pipelines.distill import distill
from polydistill.cluster.arguments import chain_arguments
from polydistill.errors import ParamsError
from polydistill.params import FilterParams, Params, TeacherParams, TrainParams, check_struct, load_params, to_struct

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def _passed_on(section: dict[str, Any]) -> dict[str, Any]:
    """Return a section as a component gets it."""
    struct = json_format.ParseDict(section, struct_pb2.Struct())
    received: dict[str, Any] = json_format.MessageToDict(struct)
    return received


@pytest.mark.parametrize("name", sorted(Params.model_fields.keys() & distill.component_spec.inputs.keys() - {"cells"}))
def test_a_section_arrives_as_it_was(name: str) -> None:
    section = getattr(PARAMS, name)
    assert check_struct(type(section), _passed_on(chain_arguments(PARAMS, "data", "")[name]), name) == section


def test_whole_floats_become_integers_where_integers_are_wanted() -> None:
    train = PARAMS.train.model_dump() | {"sizes": [10.0, 20.0], "runs": 2.0}
    train["linear"] |= {"max_word_ngram": 2.0, "regularization": [1.0, 10.0]}
    section = check_struct(TrainParams, train, "train")
    assert section.sizes == [10, 20] and isinstance(section.sizes[0], int) and isinstance(section.runs, int)
    assert isinstance(section.linear.max_word_ngram, int)
    assert section.linear.regularization == [1.0, 10.0]
    assert all(isinstance(value, float) for value in section.linear.regularization)


def test_what_is_null_in_a_section_that_may_be_left_out_arrives_as_null() -> None:
    train = PARAMS.train
    with_folder = train.model_copy(update={"encoder": train.encoder.model_copy(update={"revision": None})})
    without = train.model_copy(update={"lora": None, "icl": None})
    for section in (with_folder, without):
        assert check_struct(TrainParams, _passed_on(to_struct(section)), "train") == section


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"min_chars": 2.5}, "filter: too_short.min_chars: 2.5 is not allowed", id="half"),
        pytest.param({"min_chars": True}, "filter: too_short.min_chars: True is not allowed", id="truth value"),
        pytest.param({"min_char": 3.0}, "too_short.min_char is no known key; did you mean `min_chars`?", id="unknown"),
    ],
)
def test_a_wrong_value_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as failure:
        check_struct(FilterParams, PARAMS.filter.model_dump() | {"too_short": {"min_chars": 5} | change}, "filter")
    assert message in str(failure.value)


def test_only_what_may_be_null_may_be_missing() -> None:
    teacher = PARAMS.teacher.model_dump(exclude={"url", "model"})
    assert check_struct(TeacherParams, teacher, "teacher") == PARAMS.teacher
    del teacher["max_tokens"]
    with pytest.raises(ParamsError, match="max_tokens is missing"):
        check_struct(TeacherParams, teacher, "teacher")
