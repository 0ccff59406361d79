import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from polydistill.errors import ParamsError
from polydistill.task import Task, is_language, load_task
from spaces import REPOSITORY, TASK, write_yaml

FACETS = {
    "lengths": ["short", "long"],
    "registers": ["formal", "casual"],
    "speakers": ["a parent", "a student"],
    "topics": {"book": ["the dentist", "a check-up"], "hours": ["weekends", "the laboratory"]},
}


def test_the_demo_task_is_good() -> None:
    task = load_task(REPOSITORY / "data" / "clinic" / "task.yaml")
    assert (task.name, len(task.labels), task.languages) == ("clinic", 5, ["sl", "sw", "az"])
    assert task.facets is not None
    assert list(task.facets.topics) == task.label_names


def changed(place: list[str | int], value: Any, task: Any = TASK) -> dict[str, Any]:
    content: Any = deepcopy(task)
    section = content
    for part in place[:-1]:
        section = section[part]
    if value is None:
        del section[place[-1]]
    else:
        section[place[-1]] = value
    return dict(content)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(["languages"], ["sl", "swa hili"], "`swa hili` is no BCP 47 language tag", id="no tag"),
        pytest.param(["languages"], ["sl", "slv"], "`slv` is no BCP 47 language tag", id="not the shortest tag"),
        pytest.param(["languages"], ["sl", "qzq"], "`qzq` is no BCP 47 language tag", id="no such language"),
        pytest.param(["languages"], ["sl", "az", "sl"], "language `sl` stands twice", id="language twice"),
        pytest.param(["languages"], [], "languages: [] is not allowed", id="no language"),
        pytest.param(["languages"], [False], "languages.0: False is not allowed", id="no in YAML is false"),
        pytest.param(["labels", 1, "name"], "book", "label `book` stands twice", id="label twice"),
        pytest.param(["labels", 1, "name"], "two words", "labels.1.name: 'two words' is not allowed", id="label space"),
        pytest.param(["labels", 1], None, "labels: [{", id="one label"),
        pytest.param(["labels", 0, "description"], None, "labels.0.description is missing; add it (What", id="no mean"),
        pytest.param(["labels", 0, "descripton"], "x", "did you mean `description`?", id="typo in a label"),
        pytest.param(["labels", 0, "names"], {"zzzz9": "x"}, "`zzzz9` is no BCP 47 language tag", id="tag of a name"),
        pytest.param(["instruction"], "", "instruction: '' is not allowed", id="no instruction"),
        pytest.param(["instructions"], "x", "instructions is no known key; did you mean `instruction`?", id="typo"),
        pytest.param(["name"], "My Task", "name: 'My Task' is not allowed", id="name"),
    ],
)
def test_a_wrong_task_is_refused(tmp_path: Path, place: list[str | int], value: Any, message: str) -> None:
    write_yaml(tmp_path / "task.yaml", changed(place, value))
    with pytest.raises(ParamsError) as error:
        load_task(tmp_path / "task.yaml")
    assert str(error.value).startswith(str(tmp_path / "task.yaml"))
    assert message in str(error.value)


@pytest.mark.parametrize("facets", [pytest.param(FACETS, id="facets"), pytest.param(None, id="none")])
def test_a_task_comes_back_from_the_facts_of_prepare(facets: Any) -> None:
    task = Task.model_validate({**TASK, "facets": facets})
    assert Task.model_validate(json.loads(json.dumps(task.model_dump()))) == task


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(["speakers"], None, "facets.speakers is missing; add it (Who", id="no speakers"),
        pytest.param(["speaker"], ["a", "b"], "facets.speaker is no known key; did you mean `speakers`?", id="typo"),
        pytest.param(["lengths"], ["short"], "facets.lengths: ['short'] is not allowed", id="one length"),
        pytest.param(["lengths", 0], "a\nb", r"facets.lengths.0: 'a\nb' is not allowed", id="two lines"),
        pytest.param(["topics", "book", 0], "a\nb", "is not allowed; wanted: A few words on one line", id="in a topic"),
        pytest.param(["registers"], ["x", "x"], "facets: `x` stands twice in registers", id="twice"),
        pytest.param(["registers", 1], False, "facets.registers.1: False is not allowed", id="no in YAML is false"),
        pytest.param(["topics", "book"], ["x"], "facets.topics.book: ['x'] is not allowed", id="one topic"),
        pytest.param(["topics", "book"], ["x", "x"], "facets: `x` stands twice in topics.book", id="topic twice"),
        pytest.param(["topics", "book"], None, "facets.topics lacks label `book`", id="label without topics"),
        pytest.param(["topics", "bok"], ["x", "y"], "names `bok`, which is no label; did you mean `book`?", id="label"),
    ],
)
def test_wrong_facets_are_refused(tmp_path: Path, place: list[str | int], value: Any, message: str) -> None:
    write_yaml(tmp_path / "task.yaml", changed(["facets", *place], value, {**TASK, "facets": FACETS}))
    with pytest.raises(ParamsError) as error:
        load_task(tmp_path / "task.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize("tag", ["sl", "sw", "az", "pt-BR", "zh-Hant", "sr-Latn", "yue", "no"])
def test_standard_tags_are_languages(tag: str) -> None:
    assert is_language(tag)


@pytest.mark.parametrize("tag", ["", "pt-br", "pt_BR", "iw", "Slovenian", "en-"])
def test_other_tags_are_no_languages(tag: str) -> None:
    assert not is_language(tag)
