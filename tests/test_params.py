import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from polydistill.errors import ParamsError
from polydistill.params import Params, check, load_params
from spaces import REPOSITORY, settings, write_yaml


def sections(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """Return each section by its key, also those within sections."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {prefix + name: field.annotation, **sections(field.annotation, f"{prefix}{name}.")}
    return found


def test_the_parameters_of_the_repository_are_good() -> None:
    assert load_params(REPOSITORY / "params.yaml").cells == ["clinic/sl", "clinic/sw", "clinic/az"]


def test_every_setting_is_explained_and_has_no_default_that_dvc_cannot_see() -> None:
    keys = {
        f"{section}.{name}": field
        for section, model in sections(Params).items()
        for name, field in model.model_fields.items()
    }
    assert len(keys) > 40
    assert [key for key, field in keys.items() if not field.description] == []
    assert [key for key, field in keys.items() if not field.is_required()] == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.szies", [10], "train.szies is no known key; did you mean `sizes`?"),
        ("generate.foo", 1, "generate.foo is no known key; known are strategy, texts_per_label, "),
        ("generate.temperature", 9, "generate.temperature: 9 is not allowed; input should be less than or equal to 2"),
        ("generate.texts_per_label", 0, "generate.texts_per_label: 0 is not allowed; input should be greater than or"),
        (
            "generate.texts_per_label",
            "60",
            "generate.texts_per_label: '60' is not allowed; input should be a valid int",
        ),
        ("generate.self_revision", "yes please", "generate.self_revision: 'yes please' is not allowed"),
        ("train.sizes", [10, 1], "train.sizes.1: 1 is not allowed; input should be greater than or equal to 2"),
        ("train.students", ["linear", "huge"], "train.students.1: 'huge' is not allowed; input should be 'linear'"),
        ("train.linear.max_word_ngram", 9, "train.linear.max_word_ngram: 9 is not allowed"),
        ("teacher.kind", "oracle", "teacher.kind: 'oracle' is not allowed; input should be 'recorded', 'openai' or"),
        ("teacher.kind", "openai", "teacher: kind `openai` needs `url`"),
        ("teacher.kind", "vllm", "teacher: kind `vllm` needs `model`, a name at the Hugging Face hub or a folder"),
        ("teacher.url", "localhost:8000", "teacher.url: 'localhost:8000' is not allowed"),
        ("teacher.url", "http://me:secret@host/v1", "teacher.url: this value is not allowed"),
        ("teacher.key_env", "sk-secret", "teacher.key_env: this value is not allowed"),
        ("teacher.key_file", "", "teacher.key_file: this value is not allowed"),
        ("teacher.tries", 0, "teacher.tries: 0 is not allowed"),
        ("teacher.concurrency", 2000, "teacher.concurrency: 2000 is not allowed; input should be less than or equal"),
        ("teacher.vllm.gpu_memory_utilization", 1.5, "teacher.vllm.gpu_memory_utilization: 1.5 is not allowed"),
        ("teacher.vllm.tensor_parallel", 2, "is no known key; did you mean `tensor_parallel_size`?"),
        ("budget.request", 3, "budget.request is no known key; did you mean `requests`?"),
        ("budget.cost", 5, "budget: a limit on `cost` needs prompt_price and completion_price"),
        ("budget.prompt_price", 0.5, "budget: prompt_price and completion_price go together; 0 is a price"),
        ("budget.tokens_per_s", 0, "budget.tokens_per_s: 0 is not allowed; input should be greater than 0"),
        (
            "teacher.url",
            "localhost:8000/v1",
            "teacher.url: 'localhost:8000/v1' is not allowed; wanted: Base URL of the server, such as http://host:8000/v1",
        ),
        ("generate.strategy", "wild", "generate.strategy: 'wild' is no strategy; there are diverse, plain"),
        ("generate.top_up", -0.1, "generate.top_up: -0.1 is not allowed; input should be greater than or equal to 0"),
        ("generate.seeds_per_request", 0, "generate.seeds_per_request: 0 is not allowed"),
        ("generate.texts_per_request", 101, "generate.texts_per_request: 101 is not allowed"),
        ("train.seed", 5_000_000_000, "train.seed: 5000000000 is not allowed; input should be less than or equal to"),
        ("train.sources", ["synthetic", "synthetic"], "train: sources names one more than once"),
        ("evaluate.confidence", 1.0, "evaluate.confidence: 1.0 is not allowed; input should be less than 1"),
        ("filter.too_long.max_chars", 1, "filter: too_short.min_chars 5 is larger than too_long.max_chars 1"),
        ("cells", [], "cells: [] is not allowed"),
        ("cells", ["demo"], "cells.0: 'demo' is not allowed; wanted: task/language, such as clinic/sl"),
        ("prepare.allow_leaks", ["demo"], "prepare.allow_leaks.0: 'demo' is not allowed; wanted: task/language, such"),
        ("cells", ["../x/sl"], "cells.0: '../x/sl' is not allowed"),
        ("cells", ["demo/sl", "demo/az", "demo/sl"], "cells names demo/sl more than once"),
        ("cells", ["report/sl"], "no task can be called report"),
        ("select", None, "select: None is not allowed; wanted: a section"),
        ("cluster", 1, "cluster: 1 is not allowed; wanted: a section"),
        ("cluster.steps", 1, "cluster.steps: 1 is not allowed; wanted: a section"),
        ("cluster.train", {"cpu": 2}, "cluster.train.cpu: 2 is not allowed; wanted: a text, in quotes"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    write_yaml(tmp_path / "params.yaml", settings(**{key: value}))
    with pytest.raises(ParamsError) as error:
        load_params(tmp_path / "params.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'params.yaml'}: ")
    assert message in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("cluster.secrets.storage", "AKIA_MINE", id="a key"),
        pytest.param("cluster.secrets.storage", {"AWS_SECRET_ACCESS_KEY": "AKIA_MINE"}, id="keys"),
        pytest.param("cluster.secrets.git", ["AKIA_MINE"], id="list"),
    ],
)
def test_in_place_of_the_name_of_a_secret_nothing_is_repeated_and_the_name_is_asked_for(
    tmp_path: Path, key: str, value: Any
) -> None:
    write_yaml(tmp_path / "params.yaml", settings(**{key: value}))
    with pytest.raises(ParamsError) as error:
        load_params(tmp_path / "params.yaml")
    kind = key.rpartition(".")[2]
    wanted = f"wanted: The name of a Kubernetes Secret (small letters, digits, -), such as polydistill-{kind}, that"
    assert f"{key}: this value is not allowed; {wanted}" in str(error.value)
    assert "AKIA" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cluster.secrets", "AKIA_MINE"),
        ("cluster.endpoint", "http://me:AKIA_MINE@host:8080"),
        ("cluster.store", "s3://me:AKIA_MINE@bucket/polydistill"),
        ("cluster.registry", "me:AKIA_MINE@registry.example.com"),
        ("cluster.token_file", ["AKIA_MINE"]),
    ],
)
def test_what_may_be_a_secret_is_not_repeated(tmp_path: Path, key: str, value: Any) -> None:
    write_yaml(tmp_path / "params.yaml", settings(**{key: value}))
    with pytest.raises(ParamsError, match=f"{key}: this value is not allowed") as error:
        load_params(tmp_path / "params.yaml")
    assert "AKIA" not in str(error.value)


# A value of a wrong form, and what the message has to tell of the right one: what is needed to write it.
FORMS = [
    ("cluster.endpoint", "localhost:8080", "http://localhost:8080"),
    ("cluster.namespace", "No_Name", "(small letters, digits, -), such as kubeflow"),
    ("cluster.service_account", "a b", "(small letters, digits, -), such as pipeline-runner"),
    ("cluster.registry", "harbor.acme.io/nlp/", "no / at the end"),
    ("cluster.registry", "https://harbor.acme.io/nlp/", "no https://"),
    ("cluster.registry", "Harbor.acme.io/NLP", "small letters"),
    ("cluster.store", "s3://Bucket_X/p", "3 to 63 small letters, digits, . and -"),
    ("cluster.store", "s3://ab/p", "3 to 63 small letters, digits, . and -"),
    ("cluster.store", "s3://-bucket/p", "3 to 63 small letters, digits, . and -"),
    ("cluster.store", "/bucket/p", "such as s3://bucket/polydistill"),
    ("cluster.tag", "my tag", "(letters, digits, _, . and -), such as 0.1.0"),
    ("cluster.model_cache", "My_Claim", "(small letters, digits, -), such as polydistill-models"),
    ("cluster.scratch", "My_Claim", "small letters, digits, -), such as polydistill-scratch"),
    ("cluster.serving", {"deployment": "A"}, "Name of the Deployment (small letters, digits, -), such as serving"),
    ("cluster.serving", {"url": "serving.polydistill:3000"}, "such as http://serving.polydistill:3000"),
    ("cluster.teacher", {"namespace": "A"}, "(small letters, digits, -), such as polydistill"),
    ("cluster.train", {"cpu_limit": "four"}, "such as 4"),
    ("cluster.train", {"memory_limit": "8 GB"}, "such as 8Gi"),
    ("package.name", "-x", "small letters, digits, - and _, first a letter or a digit"),
    ("train.encoder.revision", "main", "40 digits and letters a to f"),
]


@pytest.mark.parametrize(("key", "value", "form"), FORMS)
def test_a_value_of_a_wrong_form_is_told_the_right_one(tmp_path: Path, key: str, value: Any, form: str) -> None:
    write_yaml(tmp_path / "params.yaml", settings(**{key: value}))
    with pytest.raises(ParamsError) as error:
        load_params(tmp_path / "params.yaml")
    assert re.search(f"{key}.*: .* is not allowed; wanted: .*{re.escape(form)}", str(error.value))


@pytest.mark.parametrize(
    "store",
    ["s3://abc", f"s3://{'a' * 63}/p", "s3://my.bucket-1/Folder_X/deeper/", "gs://my_bucket/p", "az://container/p"],
)
def test_a_store_may_be_any_bucket_that_can_be(tmp_path: Path, store: str) -> None:
    write_yaml(tmp_path / "params.yaml", settings(cluster__store=store))
    params = load_params(tmp_path / "params.yaml")
    assert params.cluster is not None
    assert params.cluster.store == store


def test_a_missing_setting_is_explained(tmp_path: Path) -> None:
    content = settings()
    del content["train"]["runs"], content["serve"]
    write_yaml(tmp_path / "params.yaml", content)
    with pytest.raises(ParamsError, match=r"train\.runs is missing; add it \(Trainings per source") as error:
        load_params(tmp_path / "params.yaml")
    assert "serve is missing" in str(error.value)


def test_all_wrong_settings_are_said_at_once(tmp_path: Path) -> None:
    write_yaml(tmp_path / "params.yaml", settings(generate__seed=-1, train__runs=0, monitor__nosuch=1))
    with pytest.raises(ParamsError) as error:
        load_params(tmp_path / "params.yaml")
    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("content", ["- a\n", "just words\n"], ids=["list", "words"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(
        ParamsError, match=r"params\.yaml: the file: .* is not allowed; wanted: the keys cells, teacher, "
    ):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", ["", "# to be written\n", "---\n"], ids=["empty", "comment", "start"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(
        ParamsError, match=r"params\.yaml is empty; put its sections back, or .* `polydistill init DIR`"
    ):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="polydistill init"):
        load_params(tmp_path / "params.yaml")


def test_parameters_do_not_change() -> None:
    params = check(Params, settings(), "test")
    with pytest.raises(ValueError, match="frozen"):
        params.generate.seed = 2
