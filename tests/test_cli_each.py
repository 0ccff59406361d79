from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from polydistill.cli import _each
from polydistill.errors import DataError, PolydistillError, TeacherError


def failing(errors: Mapping[str, PolydistillError | None]) -> PolydistillError:
    """Return what a step raises that fails so for each cell."""
    ran = []

    def run(cell: Any) -> None:
        ran.append(cell.name)
        if (error := errors[cell.name]) is not None:
            raise error

    with pytest.raises(PolydistillError) as raised:
        _each("train", [SimpleNamespace(name=name) for name in errors], run)
    assert ran == list(errors)
    return raised.value


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        pytest.param({"demo/sl": DataError("no text")}, "demo/sl: no text", id="one cell"),
        pytest.param({"demo/sl": DataError("work/demo/sl/x is empty")}, "work/demo/sl/x is empty", id="said already"),
        pytest.param(
            {"demo/sl": DataError("a"), "demo/sw": None, "demo/sr": DataError("b")},
            "demo/sl: a\ndemo/sr: b",
            id="each its own",
        ),
        pytest.param(
            {"demo/sl": DataError("no key"), "demo/sr": DataError("b"), "demo/sw": DataError("no key")},
            "demo/sl, demo/sw: no key\ndemo/sr: b",
            id="several the same",
        ),
        pytest.param(
            {"demo/sl": DataError("demo/sl is odd"), "demo/sw": DataError("demo/sl is odd")},
            "demo/sl, demo/sw: demo/sl is odd",
            id="several of one",
        ),
    ],
)
def test_whose_error_it_is_is_said_and_the_same_one_once(errors: dict[str, PolydistillError | None], said: str) -> None:
    assert str(failing(errors)) == said


@pytest.mark.parametrize(("first", "code"), [(DataError("a"), 2), (TeacherError("a"), 1)])
def test_the_first_error_decides_the_exit_code(first: PolydistillError, code: int) -> None:
    error = failing({"demo/sl": first, "demo/sw": PolydistillError("b")})
    assert (type(error), error.exit_code) == (type(first), code)
