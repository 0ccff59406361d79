"""What is found out before a run is started."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from git_server import TOKEN, USER, git_server
from polydistill.ablate.variants import combinations
from polydistill.cluster import inputs
from polydistill.cluster.placement import pod_of
from polydistill.cluster.preflight import check_run
from polydistill.cluster.variants import each_of, for_all, told_size
from polydistill.errors import ParamsError
from polydistill.params import Params, check
from polydistill.workspace import Workspace
from repositories import ADDRESS, found_at, git_daemon
from spaces import TASK, build_workspace, settings, write_yaml

ON_DEMAND = {
    "namespace": "polydistill",
    "deployment": "teacher",
    "replicas": 1,
    "ready_within_s": 600,
    "hold_within_s": 3600,
}
IN_PROCESS = {"teacher__kind": "vllm", "teacher__model": "a/b"}
SERVING = {
    "namespace": "polydistill",
    "deployment": "serving",
    "url": "http://serving.polydistill:3000",
    "ready_within_s": 900,
}
STORE = "s3://bucket/polydistill"
SERVED = {
    "teacher__kind": "openai",
    "teacher__url": "http://teacher.polydistill:8000/v1",
    "teacher__model": "a/b",
    "teacher__revision": "1f3c",
}


def asked_at(url: str) -> dict[str, Any]:
    """Return the keys of section `teacher` for a server."""
    return {**settings()["teacher"], "kind": "openai", "url": url}


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return served(build_workspace(tmp_path / "ws"), monkeypatch)


def served(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commit a workspace, which git finds at the address of these tests."""
    found_at(ADDRESS, commit(root), monkeypatch)
    return root


def commit(root: Path) -> Path:
    identity = ["-c", "user.name=Jana", "-c", "user.email=jana@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main"], cwd=root, check=True)
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--message", "data"], cwd=root, check=True)
    return root


def check_with(root: Path, pipeline: str = "distill", *, scheduled: bool = False, **changes: Any) -> None:
    content = settings(**{"cluster__repository": ADDRESS, **changes})
    space = Workspace(root, check(Params, content, "test"))
    check_run(pipeline, space.params, space.cells(), scheduled=scheduled)


def refused(root: Path, pipeline: str = "distill", *, scheduled: bool = False, **changes: Any) -> str:
    with pytest.raises(ParamsError) as failure:
        check_with(root, pipeline, scheduled=scheduled, **changes)
    return str(failure.value)


def test_a_workspace_that_fits_passes(space: Path) -> None:
    check_with(space)
    check_with(space, **SERVED, cluster__teacher=ON_DEMAND)
    check_with(space, **IN_PROCESS, train__students=["linear", "encoder", "lora"])


def test_a_cell_that_is_not_committed_is_named(space: Path) -> None:
    (space / "data/demo/az").mkdir()
    (space / "data/demo/az/seeds.csv").write_text("text,label\n")
    told = refused(space, cells=["demo/sl", "demo/az"])
    assert told.startswith(f"cell demo/az has no data in {ADDRESS} at main: commit and push it; there are demo/sl")


def test_a_cell_that_is_only_at_the_revision_passes(space: Path) -> None:
    for file in (space / "data/demo/sl").iterdir():
        file.unlink()
    (space / "data/demo/sl").rmdir()
    check_with(space)


def warned_of(space: Path, caplog: pytest.LogCaptureFixture, **changes: Any) -> list[str]:
    """Return the lines about texts here that are not those of the revision."""
    caplog.clear()
    check_with(space, **changes)
    return [message for message in caplog.messages if message.startswith("data/")]


def without_recording(space: Path) -> None:
    (space / RECORDING).unlink()
    commit(space)


SEEDS, RECORDING = "data/demo/sl/seeds.csv", "data/demo/sl/recording.jsonl"


def other(name: str) -> str:
    """Return the warning that a file here is not that of the revision."""
    return (
        f"{name} here are not what main has in {ADDRESS}, and the run reads the latter; commit and push what it is to "
        "read, or name another revision"
    )


@pytest.mark.parametrize("name", [SEEDS, "data/demo/task.yaml", "data/demo/sl/test.csv.dvc"])
def test_texts_here_that_are_not_those_of_the_revision_are_a_warning_until_they_are_committed(
    space: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    if name.endswith(".dvc"):
        set_remote(space)
        (space / name).write_text("outs:\n- md5: 1f3c\n  path: test.csv\n")
        commit(space)
    assert warned_of(space, caplog) == []
    (space / name).write_text((space / name).read_text() + "\n")
    assert warned_of(space, caplog) == [other(name)]
    commit(space)
    assert warned_of(space, caplog) == []


def test_a_table_that_is_only_here_is_a_warning_where_git_would_take_it(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_recording(space)
    (space / RECORDING).write_text("{}\n")
    (space / "data/demo/sl/notes.txt").write_text("which no step reads")
    assert warned_of(space, caplog, **SERVED) == [other(RECORDING)]
    (space / ".gitignore").write_text("recording.jsonl\n")
    assert warned_of(space, caplog, **SERVED) == []


def test_a_table_that_is_only_at_the_revision_is_a_warning(space: Path, caplog: pytest.LogCaptureFixture) -> None:
    (space / SEEDS).unlink()
    assert warned_of(space, caplog) == [other(SEEDS)]


def test_what_dvc_keeps_is_not_compared_but_what_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = build_workspace(tmp_path / "ws")
    (root / "data/demo/sl.dvc").write_text("outs:\n- md5: 1f3c.dir\n  path: sl\n")
    (root / "data/demo/.gitignore").write_text("/sl\n")
    set_remote(root)
    served(root, monkeypatch)
    (root / SEEDS).write_text("text,label\n")
    assert warned_of(root, caplog) == []
    (root / "data/demo/sl.dvc").write_text("outs:\n- md5: 2a4d.dir\n  path: sl\n")
    assert warned_of(root, caplog) == [other("data/demo/sl.dvc")]


def test_a_workspace_without_git_is_compared_with_what_the_revision_has(
    tmp_path: Path, space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_recording(space)
    copied = tmp_path / "copied"
    shutil.copytree(space, copied, ignore=shutil.ignore_patterns(".git"))
    (copied / RECORDING).write_text("{}\n")
    assert warned_of(copied, caplog, **SERVED) == []
    (copied / SEEDS).write_text("text,label\n")
    assert warned_of(copied, caplog, **SERVED) == [other(SEEDS)]


@pytest.mark.parametrize("pointer", ["data.dvc", "data/demo.dvc", "data/demo/sl.dvc"])
def test_what_dvc_keeps_counts_as_there_once_a_remote_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pointer: str
) -> None:
    root = build_workspace(tmp_path / "ws")
    folder = root / pointer.removesuffix(".dvc")
    folder.rename(tmp_path / "moved")
    (root / pointer).parent.mkdir(exist_ok=True)
    (root / pointer).write_text("outs: []\n")
    told = refused(served(root, monkeypatch))
    assert told.startswith(f"cell demo/sl: DVC keeps what {pointer} names, and no remote of DVC is set")
    set_remote(root)
    check_with(commit(root))


def set_remote(root: Path, url: str = "s3://bucket/dvc", *more: str) -> None:
    (root / ".dvc").mkdir(exist_ok=True)
    lines = ["[core]", "remote = s", "['remote \"s\"']", f"url = {url}", *more]
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        pytest.param(["/home/jana/dvc"], "remote /home/jana/dvc in {} is a folder of this machine", id="folder"),
        pytest.param(["file:///home/jana/dvc"], "file:///home/jana/dvc in {} is a folder of this machine", id="file"),
        pytest.param(["ssh://jana@host/dvc"], "ssh://host/dvc in {} is reached by ssh://, for which", id="ssh"),
        pytest.param(["gs://bucket/dvc"], "gs://bucket/dvc in {} is reached by gs://, for which", id="no client"),
        pytest.param(
            ["s3://bucket/dvc", "endpointurl = http://localhost:9000"],
            "s3://bucket/dvc in {} has the endpointurl http://localhost:9000, which is this machine",
            id="endpoint",
        ),
        pytest.param(
            ["remote://t/dvc", "['remote \"t\"']", "url = s3://bucket", "endpointurl = http://127.0.0.1:9000"],
            "s3://bucket/dvc in {} has the endpointurl http://127.0.0.1:9000, which is this machine",
            id="endpoint of another remote",
        ),
        pytest.param(["http://[::1]:8000/dvc"], "http://[::1]:8000/dvc in {} is this machine, and to a", id="http"),
    ],
)
def test_a_remote_that_no_pod_reaches_is_refused(space: Path, remote: list[str], message: str) -> None:
    set_remote(space, *remote)
    commit(space)
    told = refused(space)
    assert message.format(f"{ADDRESS} at main") in told and "jana@" not in told
    assert "`dvc remote modify s " in told and told.endswith("then commit .dvc/config and push the commit")


@pytest.mark.parametrize(
    "remote",
    [
        pytest.param(["https://store.example.org/dvc"], id="http"),
        pytest.param(["s3://bucket/dvc", "endpointurl = http://minio.storage:9000"], id="endpoint in the cluster"),
    ],
)
def test_a_remote_that_pods_may_reach_passes(space: Path, remote: list[str], caplog: pytest.LogCaptureFixture) -> None:
    set_remote(space, *remote)
    commit(space)
    check_with(space)
    assert caplog.text == ""


def test_a_remote_of_the_person_alone_is_none_to_pods(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_remote(space)
    config = (space / ".dvc" / "config").read_text()
    (space / ".dvc" / "config").write_text("")
    (tmp_path / "of-jana").mkdir()
    (tmp_path / "of-jana" / "config").write_text(config)
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "of-jana"))
    commit(space)
    check_with(space)
    assert "no remote of DVC is set" in caplog.text


def test_a_run_that_neither_reads_nor_writes_the_remote_may_have_any(space: Path) -> None:
    set_remote(space, "/home/jana/dvc")
    commit(space)
    check_with(space, "ablate")


def test_a_table_that_dvc_keeps_wants_a_remote_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_workspace(tmp_path / "ws")
    (root / "data/demo/sl/test.csv").rename(root / "data/demo/sl/test.csv.dvc")
    assert "DVC keeps what data/demo/sl/test.csv.dvc names" in refused(served(root, monkeypatch))


def test_a_cell_that_dvc_keeps_is_among_those_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_workspace(tmp_path / "ws")
    (root / "data/demo/az.dvc").write_text("outs: []\n")
    told = refused(served(root, monkeypatch), cells=["demo/cs"])
    assert "there are demo/az, demo/sl" in told


def test_without_a_remote_it_warns_that_nothing_is_kept(space: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_with(space)
    assert "no remote of DVC is set" in caplog.text and "nothing is kept of this run" in caplog.text
    caplog.clear()
    set_remote(space)
    commit(space)
    check_with(space)
    assert caplog.text == ""


def test_a_repository_out_of_reach_is_a_warning_and_data_here_are_looked_at(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = "http://gitea.git.invalid:3000/texts.git"
    check_with(space, cluster__repository=address)
    assert "only data/ here was looked at, and not whether main has it: cannot read" in caplog.text
    told = refused(space, cluster__repository=address, cells=["demo/az"])
    assert told.startswith("cell demo/az has no data in") and told.endswith("data; there are demo/sl")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        pytest.param("wrong", "refused the user or the token", id="wrong token"),
        pytest.param(TOKEN, "there is no such repository", id="no repository"),
    ],
)
def test_a_repository_that_says_no_is_refused(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch, token: str, message: str
) -> None:
    monkeypatch.setattr(inputs, "THIS_MACHINE", set())  # where the server of this test is
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", token)
    with git_server(tmp_path / "served") as server:
        assert message in refused(space, cluster__repository=f"{server.url}/nosuch.git")


def test_a_repository_that_the_daemon_of_git_does_not_show_is_refused(
    space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "THIS_MACHINE", set())
    with git_daemon(space.parent) as url:
        check_with(space, cluster__repository=f"{url}/{space.name}")
        told = refused(space, cluster__repository=f"{url}/nosuch.git")
    assert told.startswith(
        f"cannot read {url}/nosuch.git: there is no such repository, or its server does not let that"
    )


def test_a_token_that_only_the_pods_have_is_a_warning(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inputs, "THIS_MACHINE", set())
    monkeypatch.delenv("GIT_TOKEN", raising=False)
    with git_server(tmp_path / "served") as server:
        check_with(space, cluster__repository=f"{server.url}/texts.git")
    assert "only data/ here was looked at" in caplog.text


@pytest.mark.parametrize(
    ("address", "message"),
    [
        pytest.param("/tmp/nosuch", "/tmp/nosuch is a folder of this machine, which no pod has", id="path"),
        pytest.param("file:///tmp/nosuch", "is a folder of this machine", id="file"),
        pytest.param("git@git.example.org:texts.git", "is reached by ssh, for which the pods have no client", id="scp"),
        pytest.param("ssh://git@git.example.org/texts.git", "is reached by ssh", id="ssh"),
        pytest.param("http://localhost:3000/texts.git", "is this machine, and to a pod the pod itself", id="localhost"),
    ],
)
def test_a_repository_that_no_pod_reaches_is_refused(space: Path, address: str, message: str) -> None:
    assert message in refused(space, cluster__repository=address)


def test_this_folder_is_refused_as_a_repository(space: Path) -> None:
    assert f"{space} is a folder of this machine" in refused(space, cluster__repository=str(space))


def test_a_task_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_workspace(tmp_path / "ws")
    (root / "data/demo/task.yaml").write_text("name: [demo\n")
    told = refused(served(root, monkeypatch))
    assert told.startswith(f"in {ADDRESS} at main: data/demo/task.yaml:2: not YAML")
    write_yaml(root / "data/demo/task.yaml", {**TASK, "languages": ["az"]})
    commit(root)
    assert "cell demo/sl: data/demo/task.yaml" in (told := refused(root)) and told.endswith("the languages az")


def test_a_recorded_teacher_needs_its_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = build_workspace(tmp_path / "ws")
    (root / "data/demo/sl/recording.jsonl").unlink()
    assert "replays data/demo/sl/recording.jsonl, which is not in" in refused(served(root, monkeypatch))
    check_with(root, **SERVED, cluster__teacher=ON_DEMAND)


def test_a_password_in_the_address_is_refused_and_not_shown(space: Path) -> None:
    told = refused(space, cluster__repository="https://jana:very-secret@git.example.org/texts.git")
    assert "leave it out" in told and "very-secret" not in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"train__students": ["lora"], "cluster__size": "cpu"}, "train.students has lora", id="LoRA without GPU"
        ),
        pytest.param(
            {**IN_PROCESS, "cluster__size": "cpu"},
            "teacher.kind: vllm runs the LLM in the pod of `generate`, and cluster.size: cpu gives it no GPU",
            id="vLLM without GPU",
        ),
        pytest.param(
            {"cluster__teacher": ON_DEMAND}, "which teacher.kind: recorded never asks", id="recorded teacher scaled up"
        ),
        pytest.param({**SERVED, "teacher__url": "http://127.0.0.1:8000/v1"}, "is this machine", id="teacher here"),
        pytest.param(
            {**SERVED, "cluster__teacher": {**ON_DEMAND, "namespace": "other"}},
            "is a Service in namespace polydistill, and cluster.teacher scales up teacher in namespace other",
            id="other namespace",
        ),
        pytest.param(
            {**SERVED, "teacher__url": "http://teacher:8000/v1", "cluster__teacher": ON_DEMAND},
            "is a Service in namespace kubeflow",
            id="no namespace",
        ),
        pytest.param(
            {**SERVED, "teacher__model": None, "cluster__teacher": ON_DEMAND},
            "teacher.model is null, and what cluster.teacher serves stands in its manifest alone",
            id="no model",
        ),
        pytest.param(
            {**SERVED, "teacher__revision": None, "cluster__teacher": ON_DEMAND},
            "set it to REVISION of the overlay's teacher-model",
            id="no revision",
        ),
        pytest.param(
            {
                **SERVED,
                "cluster__teacher": ON_DEMAND,
                "train__students": ["linear", "icl"],
                "train__icl__teacher": asked_at(SERVED["teacher__url"]),
            },
            "train.icl.teacher.model is null",
            id="icl asks the same without its model",
        ),
        pytest.param(
            {**SERVED, "teacher__key_file": "~/key"},
            "teacher.key_file is a file of this machine, which no pod has; set it to null, and put the key into a "
            "secret: `kubectl -n kubeflow create secret generic polydistill-teacher",
            id="key file",
        ),
        pytest.param(
            {**IN_PROCESS, "train__students": ["linear", "icl"]},
            "teacher.kind: vllm is no server, which icl asks",
            id="icl asks vLLM",
        ),
        pytest.param(
            {"train__students": ["linear", "icl"], "train__icl__teacher": asked_at("http://localhost:8000/v1")},
            "train.icl.teacher.url: http://localhost:8000/v1 is this machine",
            id="icl asks this machine",
        ),
        pytest.param({"train__students": ["icl"]}, "icl alone, with which no service can answer", id="icl alone"),
        pytest.param(
            {"train__students": ["encoder"], "train__encoder__model": "/home/jana/xlm-r"},
            "train.encoder.model: /home/jana/xlm-r is a folder of this machine",
            id="folder of weights",
        ),
        pytest.param(
            {
                "train__students": ["encoder"],
                "train__encoder__model": "/models/xlm-r",
                "cluster__model_cache": None,
            },
            "pods have /models only where cluster.model_cache names a volume claim",
            id="volume of weights",
        ),
        pytest.param({"measure__embedding_model": "a/b"}, "measure.embedding_model: the image", id="embeddings"),
        pytest.param(
            {"filter__checks": ["similar_meaning"], "filter__mark": [], "filter__similar_meaning__model": "a/b"},
            "filter.checks has similar_meaning: the image",
            id="embeddings in filter",
        ),
        pytest.param({"cluster__serving": SERVING}, "without cluster.store nothing is", id="serving without store"),
        pytest.param(
            {"cluster__serving": SERVING, "cluster__store": STORE, "train__students": ["linear", "lora"]},
            "whose answers need PyTorch, which the image of the service lacks",
            id="LoRA served",
        ),
        pytest.param({"cluster__store": "gs://bucket"}, "only s3:// has been made to work", id="store"),
        pytest.param(
            {"cluster__registry": "https://registry.example.org/team"},
            "write registry.example.org/team",
            id="registry",
        ),
    ],
)
def test_what_cannot_go_well_is_refused(space: Path, changes: dict[str, Any], message: str) -> None:
    assert message in refused(space, **changes)


def test_a_teacher_outside_of_the_cluster_is_nobodys_namespace(space: Path) -> None:
    check_with(space, **{**SERVED, "teacher__url": "https://llm.example.org/v1"}, cluster__teacher=ON_DEMAND)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        pytest.param(
            {**SERVED, "cluster__teacher": ON_DEMAND, "train__students": ["encoder", "lora"]},
            "encoder and lora train on one more",
            id="GPU beside that of the teacher",
        ),
        pytest.param(
            SERVED,
            "reads as a Service in namespace polydistill, and with cluster.teacher: null no run scales it up",
            id="nobody wakes the teacher",
        ),
        pytest.param({"filter__wrong_language__identifier": "lingua"}, "lingua is in no image", id="lingua"),
        pytest.param(
            {**SERVED, "cluster__teacher": ON_DEMAND, "budget__tokens": 9, "evaluate__zero_shot": False},
            "after a failure there is no second try of generate, and the next run spends it anew; set cluster.scratch",
            id="limit without scratch",
        ),
        pytest.param(
            {**IN_PROCESS, "budget__requests": 9, "evaluate__zero_shot": True},
            "no second try of generate and evaluate,",
            id="limit without scratch in the process",
        ),
    ],
)
def test_what_may_not_go_well_is_a_warning(
    space: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], warning: str
) -> None:
    set_remote(space)
    commit(space)
    check_with(space, **SERVED, cluster__teacher=ON_DEMAND)
    assert caplog.text == ""
    check_with(space, **changes)
    assert warning in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"budget__tokens": 9, "cluster__scratch": "polydistill-scratch"}, id="scratch"),
        pytest.param({}, id="no limit"),
        pytest.param({"budget__prompt_price": 1.0, "budget__completion_price": 2.0}, id="a price is no limit"),
    ],
)
def test_what_a_new_try_does_not_pay_again_is_no_warning(
    space: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    set_remote(space)
    commit(space)
    check_with(space, **SERVED, cluster__teacher=ON_DEMAND, **changes)
    assert caplog.text == ""


def test_retraining_without_a_store_is_a_warning_and_by_the_clock_refused(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_with(space, "distill", scheduled=True)
    assert "every cell is due" not in caplog.text
    check_with(space, "retrain")
    assert "every cell is due at every start" in caplog.text
    assert "every cell is due at every start" in refused(space, "retrain", scheduled=True)
    check_with(space, "retrain", scheduled=True, cluster__store=STORE)


def test_weights_on_the_volume_of_models_pass(space: Path) -> None:
    check_with(space, train__students=["encoder"], train__encoder__model="/models/xlm-r")


# Variants of `ablate`.


def check_variants(root: Path, vary: dict[str, Sequence[Any]], **changes: Any) -> Params:
    """Check an ablation, and return the settings by which its pods are placed."""
    content = settings(**{"cluster__repository": ADDRESS, **changes})
    space = Workspace(root, check(Params, content, "test"))
    each = each_of(space.params, combinations(vary))
    check_run("ablate", space.params, space.cells(), variants=each)
    return for_all(each)


STUDENTS = {"train.students": [["linear"], ["encoder"]]}


def test_every_variant_is_checked(space: Path) -> None:
    with pytest.raises(ParamsError, match="train.students has encoder, which a CPU trains for days"):
        check_variants(space, STUDENTS, cluster__size="cpu")
    with pytest.raises(ParamsError, match="teacher.url: http://localhost:8000/v1 is this machine"):
        urls = [["openai", "http://llm.example.org/v1"], ["openai", "http://localhost:8000/v1"]]
        check_variants(space, {"teacher.kind,teacher.url": urls})


def test_the_pods_of_all_variants_get_what_any_of_them_needs(space: Path) -> None:
    placed = check_variants(space, STUDENTS)
    assert placed.train.students == ["linear", "encoder"]
    assert pod_of("train", placed).image.startswith("polydistill-train:") and pod_of("train", placed).placement.gpus
    placed = check_variants(space, {"teacher.kind,teacher.model": [["recorded", None], ["vllm", "a/b"]]})
    assert pod_of("generate", placed).image.startswith("polydistill-generate:")


def test_a_limit_of_any_variant_holds_for_the_pods_of_all(space: Path, caplog: pytest.LogCaptureFixture) -> None:
    vary = {"teacher.kind,budget.tokens": [["recorded", None], ["openai", 9]], "evaluate.zero_shot": [False, True]}
    placed = check_variants(space, vary, teacher__url="http://llm.example.org/v1")
    assert [pod_of(step, placed).placement.retries for step in ("generate", "evaluate", "filter")] == [0, 0, 2]
    assert "no second try of generate and evaluate" in caplog.text


def test_one_teacher_on_demand_cannot_be_two_models(space: Path) -> None:
    with pytest.raises(ParamsError, match="the variants ask 2 teachers .*, and cluster.teacher scales up one"):
        check_variants(space, {"teacher.model": ["a/b", "c/d"]}, **SERVED, cluster__teacher=ON_DEMAND)
    check_variants(space, {"teacher.model": ["a/b", "c/d"]}, **SERVED)


def test_the_pods_themselves_are_no_variant(space: Path) -> None:
    with pytest.raises(ParamsError, match="--vary cluster.size: the variants run in the same pods"):
        check_variants(space, {"cluster.size": ["cpu", "one-gpu"]})
    with pytest.raises(ParamsError, match="teacher.key_env FIRST and SECOND, and a pod gets its key under one name"):
        check_variants(space, {"teacher.key_env": ["SECOND", "FIRST"]})


def test_an_ablation_promotes_and_keeps_nothing(space: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_variants(space, {"train.students": [["icl"], ["lora"]]}, cluster__serving=SERVING)
    assert caplog.text == ""


def test_the_size_of_an_ablation_is_told() -> None:
    params = check(Params, settings(cells=["demo/sl", "demo/az"]), "test")
    each = each_of(params, combinations({"train.runs": [1, 2]}))
    # 2 cells, 1 student, 2 sources, 2 sizes: 8 trainings a run.
    assert told_size(each) == "2 variants in 2 cells, 4 chains of steps with at most 24 trainings"


def test_all_reasons_are_told_at_once(space: Path) -> None:
    told = refused(space, train__students=["encoder"], cluster__size="cpu", cluster__teacher=ON_DEMAND)
    assert len(told.splitlines()) == 2
