"""Texts at a revision: real git repositories, a real git server that wants a token, a real S3 server behind DVC."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_server import READER, TOKEN, USER, GitServer, bare, commit_all, git, git_server
from polydistill.cluster.fetch import run_fetch, run_load
from polydistill.cluster.git import parse_address
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import digest, read_json
from s3_server import BUCKET, S3

TASK = "name: clinic\nlanguages: [sl, sw]\n"
SEEDS = {"sl": "text,label\nDober dan,greeting\n", "sw": "text,label\nHabari,greeting\n"}


def write_cells(root: Path) -> None:
    for language, seeds in SEEDS.items():
        folder = root / "data" / "clinic" / language
        folder.mkdir(parents=True)
        (folder / "seeds.csv").write_text(seeds, "utf-8")
        (folder / "test.csv").write_text("text,label\n" + f"test {language},greeting\n", "utf-8")
    (root / "data" / "clinic" / "task.yaml").write_text(TASK, "utf-8")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A checkout with two cells, all of it in git."""
    root = tmp_path / "workspace"
    write_cells(root)
    git(root, "init", "--quiet")
    commit_all(root)
    return root


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "served") as served:
        yield served


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_USERNAME", USER)
    monkeypatch.setenv("GIT_TOKEN", TOKEN)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GIT_USERNAME", raising=False)
    monkeypatch.delenv("GIT_TOKEN", raising=False)


def dvc(folder: Path, *arguments: str) -> None:
    """Run DVC as a user does."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = os.environ | {"DVC_NO_ANALYTICS": "true"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def use_dvc(workspace: Path, remote: str, *tracked: str) -> None:
    """Give files or folders to DVC, push them to its remote, and commit what points at them."""
    dvc(workspace, "init", "--quiet")
    dvc(workspace, "remote", "add", "--quiet", "--default", "storage", remote)
    if tracked:
        git(workspace, "rm", "--quiet", "-r", "--cached", *tracked)
        dvc(workspace, "add", "--quiet", *tracked)
        dvc(workspace, "push", "--quiet")
    commit_all(workspace, "to DVC")


def files_in(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): digest(file) for file in folder.rglob("*") if file.is_file()}


def cell_files(workspace: Path, *cells: str) -> dict[str, str]:
    """Return the files that `run_fetch` writes for cells, beside fetch.json."""
    of_all = files_in(workspace / "data")
    return {name: of for name, of in of_all.items() if name == "clinic/task.yaml" or name.startswith(cells)}


def without_facts(data: Path) -> dict[str, str]:
    return {name: of for name, of in files_in(data).items() if name != "fetch.json"}


def test_the_cells_are_those_of_the_revision(workspace: Path, tmp_path: Path) -> None:
    first = git(workspace, "rev-parse", "HEAD")
    git(workspace, "tag", "v1")
    before = (workspace / "data/clinic/sl/seeds.csv").read_text("utf-8")
    (workspace / "data/clinic/sl/seeds.csv").write_text(before + "Zdravo,greeting\n", "utf-8")
    second = commit_all(workspace)
    repository = bare(workspace, tmp_path / "texts.git").as_uri()

    got = {}
    for revision in ("main", "v1", first, first[:10], ""):
        (row,) = run_fetch(repository, revision, ["clinic/sl"], tmp_path / "data")
        facts = read_json(tmp_path / "data/fetch.json")
        assert row == {"cell": "clinic/sl", "commit": facts["commit"], "digest": facts["cells"]["clinic/sl"]}
        seeds = (tmp_path / "data/clinic/sl/seeds.csv").read_text("utf-8")
        got[revision] = (facts["commit"], "Zdravo" in seeds, row["digest"])
        assert facts["committed_at"] == "2026-03-01T12:00:00+00:00"
    assert got["main"] == got[""] and got["v1"] == got[first] == got[first[:10]]
    assert got["main"][:2] == (second, True) and got["v1"][:2] == (first, False)
    assert got["main"][2] != got["v1"][2]


def test_the_digest_of_a_cell_changes_with_what_the_steps_read_and_with_nothing_else(
    workspace: Path, tmp_path: Path
) -> None:
    def digests() -> dict[str, str]:
        cells = run_fetch(str(workspace), "", ["clinic/sl", "clinic/sw"], tmp_path / "data")
        return {row["cell"]: row["digest"] for row in cells}

    before = digests()
    (workspace / "data/clinic/sl/notes.txt").write_text("ask Ana", "utf-8")
    assert digests() == before
    (workspace / "data/clinic/sl/recording.jsonl").write_text("{}\n", "utf-8")
    after = digests()
    assert after["clinic/sl"] != before["clinic/sl"] and after["clinic/sw"] == before["clinic/sw"]
    (workspace / "data/clinic/task.yaml").write_text(TASK + "instruction: greet\n", "utf-8")
    assert digests()["clinic/sw"] != before["clinic/sw"]


@pytest.mark.parametrize(
    "tracked",
    [
        pytest.param(["data/clinic/sl", "data/clinic/sw"], id="folders"),
        pytest.param(["data/clinic/sl/seeds.csv", "data/clinic/sl/test.csv", "data/clinic/sw"], id="files"),
        pytest.param(["data"], id="all"),
    ],
)
def test_what_dvc_keeps_comes_from_its_remote(
    workspace: Path, tmp_path: Path, store_url: str, tracked: list[str]
) -> None:
    wanted = cell_files(workspace, "clinic/sl")
    use_dvc(workspace, store_url, *tracked)
    repository = str(bare(workspace, tmp_path / "texts.git"))
    run_fetch(repository, "main", ["clinic/sl"], tmp_path / "data")
    assert without_facts(tmp_path / "data") == wanted


def test_nothing_is_read_of_other_cells(workspace: Path, tmp_path: Path, s3: S3, store_url: str) -> None:
    use_dvc(workspace, store_url, "data/clinic/sl", "data/clinic/sw")
    repository = str(bare(workspace, tmp_path / "texts.git"))
    (md5,) = re.findall(r"md5: (\w+)\.dir", (workspace / "data/clinic/sw.dvc").read_text("utf-8"))
    folder = store_url.removeprefix(f"{s3.bucket}/")
    s3.client().delete_object(Bucket=BUCKET, Key=f"{folder}/files/md5/{md5[:2]}/{md5[2:]}.dir")
    run_fetch(repository, "main", ["clinic/sl"], tmp_path / "data")
    with pytest.raises(DataError, match=r"^cannot read data/clinic/sw from DVC's .* does not hold all of that"):
        run_fetch(repository, "main", ["clinic/sw"], tmp_path / "data")


def found(repository: str, workspace: Path, cell: str = "clinic/sl") -> dict[str, str]:
    """Return what `run_fetch` finds of a cell."""
    (row,) = run_fetch(repository, "main", [cell], workspace.parent / "found")
    return row


def load(repository: str, row: dict[str, str], data: Path) -> str:
    return run_load(repository, row["cell"], row["commit"], row["digest"], data)


def test_what_else_is_committed_changes_nothing_of_what_is_found_of_a_cell(workspace: Path, store_url: str) -> None:
    use_dvc(workspace, store_url, "data/clinic/sl")
    before = found(str(workspace), workspace)
    assert before["commit"] == git(workspace, "rev-parse", "HEAD")
    for file in ("params.yaml", "data/clinic/sw/seeds.csv", "dvc.lock"):
        (workspace / file).write_text("text,label\nJambo,greeting\n" if file.endswith("csv") else "{}\n", "utf-8")
        commit_all(workspace, file)
    assert found(str(workspace), workspace) == before
    assert found(str(workspace), workspace, "clinic/sw")["commit"] == git(workspace, "rev-parse", "HEAD~1")


@pytest.mark.parametrize(
    "file",
    ["data/clinic/sl/seeds.csv", "data/clinic/sl/notes.txt", "data/clinic/task.yaml", ".dvc/config"],
)
def test_the_commit_of_a_cell_is_the_last_that_changed_what_is_read_of_it(
    workspace: Path, file: str, tmp_path: Path
) -> None:
    dvc(workspace, "init", "--quiet")
    commit_all(workspace, "init")
    with (workspace / file).open("a", encoding="utf-8") as changed:
        changed.write("\n")
    commit = commit_all(workspace, file)
    (workspace / "params.yaml").touch()
    commit_all(workspace, "another")
    row = found(str(workspace), workspace)
    assert row["commit"] == commit
    assert load(str(workspace), row, tmp_path / "data") == row["digest"]


@pytest.mark.parametrize("tracked", ["data", "data/clinic", "data/clinic/sl", "data/clinic/task.yaml"])
@pytest.mark.parametrize("folder", ["", "texts"])
def test_the_commit_of_a_cell_that_dvc_keeps_is_that_of_its_dvc_file(
    tmp_path: Path, store_url: str, tracked: str, folder: str
) -> None:
    top = tmp_path / "top"
    write_cells(top / folder)
    git(top, "init", "--quiet")
    commit_all(top)
    use_dvc(top, store_url, str(Path(folder, tracked)))
    changed = top / folder / ("data/clinic/task.yaml" if tracked.endswith("yaml") else "data/clinic/sl/seeds.csv")
    changed.write_text(changed.read_text("utf-8") + "\n", "utf-8")
    dvc(top, "add", "--quiet", str(Path(folder, tracked)))
    dvc(top, "push", "--quiet")
    kept = commit_all(top, "changed")
    (top / "params.yaml").touch()
    commit_all(top, "another")
    row = found(f"{top}#{folder}" if folder else str(top), top)
    assert row["commit"] == kept
    assert load(f"{top}#{folder}" if folder else str(top), row, tmp_path / "data") == row["digest"]


def test_a_cell_that_could_not_be_read_at_its_commit_is_loaded_at_that_of_the_run(
    workspace: Path, tmp_path: Path
) -> None:
    (workspace / "dvc.yaml").write_text("stages: [", "utf-8")
    (workspace / "data/clinic/sl/test.csv").write_text("text,label\nJutri,greeting\n", "utf-8")
    commit_all(workspace, "broken")
    with pytest.raises(DataError, match=r"^cannot list the cells: .*dvc\.yaml"):
        found(str(workspace), workspace)
    (workspace / "dvc.yaml").write_text("stages: {}\n", "utf-8")
    commit = commit_all(workspace, "mended")
    row = found(str(workspace), workspace)
    assert row["commit"] == commit
    assert load(str(workspace), row, tmp_path / "data") == row["digest"]


def test_a_cell_that_links_to_what_changed_is_loaded_at_the_commit_of_the_run(workspace: Path, tmp_path: Path) -> None:
    seeds = workspace / "data/clinic/sl/seeds.csv"
    seeds.rename(workspace / "seeds.csv")
    seeds.symlink_to("../../../seeds.csv")
    commit_all(workspace, "a link")
    (workspace / "seeds.csv").write_text("text,label\nZdravo,greeting\n", "utf-8")
    commit = commit_all(workspace, "other seeds")
    row = found(str(workspace), workspace)
    assert row["commit"] == commit
    assert load(str(workspace), row, tmp_path / "data") == row["digest"]


def test_a_cell_that_a_stage_of_dvc_makes_is_loaded_at_the_commit_of_the_run(
    workspace: Path, tmp_path: Path, store_url: str
) -> None:
    git(workspace, "rm", "--quiet", "-r", "--cached", "data/clinic/sl")
    dvc(workspace, "init", "--quiet")
    dvc(workspace, "remote", "add", "--quiet", "--default", "storage", store_url)
    dvc(workspace, "stage", "add", "--quiet", "--run", "--name", "split", "--outs-persist", "data/clinic/sl", "true")
    dvc(workspace, "push", "--quiet")
    commit_all(workspace, "made")
    (workspace / "data/clinic/sl/seeds.csv").write_text("text,label\nZdravo,greeting\n", "utf-8")
    dvc(workspace, "commit", "--quiet", "--force")
    dvc(workspace, "push", "--quiet")
    commit = commit_all(workspace, "made anew")
    row = found(str(workspace), workspace)
    assert row["commit"] == commit
    assert load(str(workspace), row, tmp_path / "data") == row["digest"]


def test_the_commit_of_a_cell_after_a_merge_is_one_that_has_the_merged_texts(workspace: Path, tmp_path: Path) -> None:
    git(workspace, "checkout", "--quiet", "-b", "more")
    (workspace / "data/clinic/sl/human.csv").write_text("text,label\nHvala,thanks\n", "utf-8")
    commit_all(workspace, "human texts")
    git(workspace, "checkout", "--quiet", "main")
    (workspace / "data/clinic/sl/seeds.csv").write_text("text,label\nZdravo,greeting\n", "utf-8")
    commit_all(workspace, "seeds")
    git(workspace, "merge", "--quiet", "--no-edit", "more")
    row = found(str(workspace), workspace)
    assert load(str(workspace), row, tmp_path / "data") == row["digest"]
    assert without_facts(tmp_path / "data") == cell_files(workspace, "clinic/sl")


@pytest.mark.parametrize("revision", ["main", ""])
def test_the_data_of_a_cell_are_loaded_as_they_were_found_though_the_branch_went_on(
    workspace: Path, tmp_path: Path, store_url: str, revision: str
) -> None:
    wanted = cell_files(workspace, "clinic/sl")
    if revision:
        use_dvc(workspace, store_url, "data/clinic/sl")
    rows = run_fetch(str(workspace), revision, ["clinic/sw", "clinic/sl"], tmp_path / "fetched")
    if revision:
        git(workspace, "rm", "--quiet", "data/clinic/sl.dvc")
        commit_all(workspace, "later")
    assert load(str(workspace), rows[1], tmp_path / "data") == rows[1]["digest"]
    assert without_facts(tmp_path / "data") == wanted
    assert read_json(tmp_path / "data/fetch.json")["cells"] == {"clinic/sl": rows[1]["digest"]}


def test_data_that_changed_meanwhile_are_not_loaded(workspace: Path, tmp_path: Path) -> None:
    (row,) = run_fetch(str(workspace), "", ["clinic/sl"], tmp_path / "fetched")
    (workspace / "data/clinic/sl/seeds.csv").write_text("text,label\nZdravo,greeting\n", "utf-8")
    with pytest.raises(
        DataError,
        match=r"^data/clinic/sl of .* as it lies there is not what `fetch` found: .*again$",
    ):
        load(str(workspace), row, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_second_call_writes_the_same_bytes(workspace: Path, tmp_path: Path) -> None:
    run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data")
    before = files_in(tmp_path / "data")
    (tmp_path / f".data.partial-{os.getpid()}").mkdir()  # of a call that was killed
    run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data")
    assert files_in(tmp_path / "data") == before
    assert not list(tmp_path.glob(".data.partial-*"))


def test_a_folder_is_read_as_it_lies(workspace: Path, tmp_path: Path) -> None:
    (workspace / "data/clinic/sl/human.csv").write_text("text,label\nnew,greeting\n", "utf-8")
    run_fetch(str(workspace), "", ["clinic/sl"], tmp_path / "data")
    assert without_facts(tmp_path / "data") == cell_files(workspace, "clinic/sl")
    facts = read_json(tmp_path / "data/fetch.json")
    assert facts["commit"] is None and facts["committed_at"] is None


@pytest.mark.parametrize("own_dvc", [pytest.param(False, id="dvc-above"), pytest.param(True, id="dvc-of-its-own")])
def test_a_workspace_may_be_a_folder_of_the_repository(
    workspace: Path, tmp_path: Path, store_url: str, own_dvc: bool
) -> None:
    whole = tmp_path / "whole"
    (whole / "models").mkdir(parents=True)
    git(whole, "init", "--quiet")
    (workspace / "data").rename(whole / "models/data")
    home = whole / "models" if own_dvc else whole
    dvc(home, "init", "--quiet", *(["--subdir"] if own_dvc else []))
    dvc(home, "remote", "add", "--quiet", "--default", "storage", store_url)
    wanted = cell_files(whole / "models", "clinic/sl")
    dvc(whole / "models", "add", "--quiet", "data/clinic/sl")
    dvc(home, "push", "--quiet")
    commit_all(whole)
    repository = str(bare(whole, tmp_path / "whole.git"))
    run_fetch(f"{repository}#models", "main", ["clinic/sl"], tmp_path / "data")
    assert without_facts(tmp_path / "data") == wanted
    with pytest.raises(ParamsError, match=r"whole\.git has no folder classifiers at"):
        run_fetch(f"{repository}#classifiers", "main", ["clinic/sl"], tmp_path / "data")


def test_a_token_opens_a_repository_and_is_told_to_nobody_else(
    workspace: Path, tmp_path: Path, server: GitServer, token: None, caplog: pytest.LogCaptureFixture
) -> None:
    bare(workspace, server.folder / "texts.git")
    caplog.set_level("DEBUG")
    run_fetch(f"{server.url}/texts.git", "main", ["clinic/sl"], tmp_path / "data")
    assert without_facts(tmp_path / "data") == cell_files(workspace, "clinic/sl")
    assert server.commands and all(TOKEN not in command for command in server.commands)
    assert TOKEN not in caplog.text
    assert all(TOKEN.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({}, "it asks for a user and a token, and was given none", id="none"),
        pytest.param(
            {"GIT_USERNAME": USER, "GIT_TOKEN": "no$uch`token"}, "it refused the user or the token", id="wrong"
        ),
        pytest.param({"GIT_TOKEN": TOKEN}, "it refused the user or the token", id="no-user"),
    ],
)
def test_a_repository_that_is_not_opened_says_what_is_wanting(
    workspace: Path,
    tmp_path: Path,
    server: GitServer,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    told: str,
) -> None:
    bare(workspace, server.folder / "texts.git")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PolydistillError) as failed:
        run_fetch(f"{server.url}/texts.git", "main", ["clinic/sl"], tmp_path / "data")
    first, second, *more = str(failed.value).splitlines()
    assert first.startswith(f"cannot read {server.url}/texts.git: {told}")
    assert second.startswith("set GIT_USERNAME and GIT_TOKEN in the environment; for pods put") and len(more) == 1
    assert given.get("GIT_TOKEN", "no token") not in str(failed.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        pytest.param({}, "no keys are given", id="none"),
        pytest.param(
            {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "sesame"}, "it refused the keys", id="wrong"
        ),
    ],
)
def test_a_remote_that_is_not_opened_says_what_is_wanting(
    workspace: Path,
    tmp_path: Path,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, str],
    told: str,
) -> None:
    use_dvc(workspace, store_url, "data/clinic/sl")
    repository = str(bare(workspace, tmp_path / "texts.git"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
        if name in keys:
            monkeypatch.setenv(name, keys[name])
    with pytest.raises(PolydistillError) as failed:
        run_fetch(repository, "main", ["clinic/sl"], tmp_path / "data")
    assert str(failed.value).startswith(f"cannot read data/clinic/sl from DVC's remote {store_url}: {told}")
    assert "polydistill-storage" in str(failed.value) and "sesame" not in str(failed.value)


def test_data_without_a_remote_say_how_to_set_one(workspace: Path, tmp_path: Path) -> None:
    dvc(workspace, "init", "--quiet")
    git(workspace, "rm", "--quiet", "-r", "--cached", "data/clinic/sl")
    dvc(workspace, "add", "--quiet", "data/clinic/sl")
    commit_all(workspace)
    with pytest.raises(DataError, match=r"(?s)^cannot read data/clinic/sl.*no remote of DVC is set.*\ndvc remote add"):
        run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data")


@pytest.mark.parametrize(
    ("repository", "revision", "cells", "told"),
    [
        pytest.param("{}", "main", ["clinic/hr"], r"^cell clinic/hr is not in .* holds clinic/sl, clinic", id="cell"),
        pytest.param("{}", "", ["clinic/hr"], r"^cell clinic/hr is not in .* holds clinic/sl, clinic", id="as-it-lies"),
        pytest.param("{}", "main", ["../etc"], r"^cell \.\./etc is not in", id="no-cell"),
        pytest.param("{}", "v9", ["clinic/sl"], r"^revision v9 is not in .*, which has main, v1$", id="revision"),
        pytest.param("{}", "--help", ["clinic/sl"], r"^revision --help is not in", id="no-revision"),
        pytest.param(
            "{}/x",
            "main",
            ["clinic/sl"],
            r"(?s)^cannot read (.*): there is no .*\n.*: git ls-remote \1$",
            id="repository",
        ),
        pytest.param("http://[x", "main", ["clinic/sl"], r"^repository `.*`: wanted is a git URL", id="address"),
        pytest.param("{}#../x", "main", ["clinic/sl"], r"^repository `.*`: wanted is a git URL", id="folder"),
        pytest.param(
            "http://127.0.0.1:9/x.git", "main", ["clinic/sl"], r"^cannot read .*: it cannot be reached", id="down"
        ),
        pytest.param(
            "git://127.0.0.1:9/x.git",
            "main",
            ["clinic/sl"],
            r"^cannot read git://.*: it cannot be reached \(fatal: unable to connect to 127\.0\.0\.1:9: Connection ref",
            id="daemon-down",
        ),
    ],
)
def test_wrong_input_is_said_with_what_there_is(
    workspace: Path, tmp_path: Path, repository: str, revision: str, cells: list[str], told: str
) -> None:
    git(workspace, "tag", "v1")
    with pytest.raises(PolydistillError, match=told):
        run_fetch(repository.format(workspace), revision, cells, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        pytest.param("https://ana:sesame@example.org/x.git", "https://example.org/x.git", id="password"),
        pytest.param("https://sesame@example.org/x.git", "https://example.org/x.git", id="user-alone"),
        pytest.param("http://ana:ses/sesame@example.org/x.git", "http://example.org/x.git", id="slash"),
        pytest.param("http://ana:ses@sesame@example.org/x.git", "http://example.org/x.git", id="at"),
        pytest.param("http://ana:ses#sesame@example.org/x.git#f", "http://example.org/x.git#f", id="hash"),
        pytest.param("http://ana:ses?sesame@example.org/x.git", "http://example.org/x.git", id="question-mark"),
        pytest.param("http://example.org/x.git?private_token=sesame", "http://example.org/x.git", id="parameter"),
        pytest.param("ssh://ana:sesame@example.org/x.git", "ssh://example.org/x.git", id="ssh"),
        pytest.param("ssh://ana:ses/sesame@example.org/x.git", "ssh://example.org/x.git", id="ssh-slash"),
        pytest.param("ana:sesame@example.org:x.git", "example.org:x.git", id="no-scheme"),
        pytest.param("ana:ses://sesame@example.org:x.git", "example.org:x.git", id="no-scheme-slashes"),
        pytest.param("sesame@example.org/x.git", "example.org/x.git", id="scheme-forgotten"),
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path, address: str, shown: str) -> None:
    with pytest.raises(ParamsError, match="GIT_TOKEN") as failed:
        run_fetch(address, "main", ["clinic/sl"], tmp_path / "data")
    assert str(failed.value).startswith(f"repository {shown} is given with ")
    assert "sesame" not in str(failed.value)


@pytest.mark.parametrize(
    ("address", "over_ssh"),
    [
        ("https://example.org:8443/team/x.git#classifiers", False),
        ("ssh://git@example.org:22/x.git", True),
        ("git@example.org:team/x.git", True),
        ("example.org:x.git", True),
        ("file:///srv/a:b@c.git", False),
        ("/srv/a:b@c.git", False),
    ],
)
def test_addresses_without_a_password_are_taken(address: str, over_ssh: bool) -> None:
    parsed = parse_address(address)
    assert str(parsed) == address and parsed.over_ssh == over_ssh


@pytest.mark.parametrize("address", ["git@example.org:x.git", "ssh://git@example.org/x.git"])
def test_a_machine_without_ssh_is_told_of_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("git", "sh"):
        (programs / program).symlink_to(str(shutil.which(program)))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(PolydistillError) as failed:
        run_fetch(address, "main", ["clinic/sl"], tmp_path / "data")
    first, second, *_ = str(failed.value).splitlines()
    assert first.startswith(f"cannot read {address}: there is no ssh here")
    assert second.startswith("the image has no ssh client and pods have no key: name the repository by https://")


def test_a_password_in_the_address_of_the_remote_is_not_repeated(workspace: Path, tmp_path: Path) -> None:
    use_dvc(workspace, str(tmp_path / "storage"), "data/clinic/sl")
    dvc(workspace, "remote", "modify", "storage", "url", "ssh://ana:ses/sesame@127.0.0.1:9/dvc")
    commit_all(workspace)
    with pytest.raises(PolydistillError) as failed:
        run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data")
    assert str(failed.value).startswith("cannot list the cells of DVC's remote ssh://127.0.0.1:9/dvc: ")
    assert "sesame" not in str(failed.value)


def test_cells_that_dvc_has_not_brought_are_said_to_be_there(workspace: Path, tmp_path: Path) -> None:
    use_dvc(workspace, str(tmp_path / "storage"), "data/clinic/sl")
    shutil.rmtree(workspace / "data/clinic/sl")
    with pytest.raises(DataError, match=r"^cell clinic/sl is not in .* itself, but kept by DVC; run `dvc pull` there$"):
        run_fetch(str(workspace), "", ["clinic/sl"], tmp_path / "data")
    with pytest.raises(ParamsError, match=r"^cell clinic/hr is not in .* holds clinic/sl, clinic/sw;"):
        run_fetch(str(workspace), "", ["clinic/hr"], tmp_path / "data")


@pytest.mark.parametrize("with_remote", [True, False])
def test_a_user_who_may_not_push_is_told_before_a_run_that_keeps_something(
    workspace: Path, tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch, with_remote: bool
) -> None:
    if with_remote:
        use_dvc(workspace, str(tmp_path / "storage"), "data/clinic/sl")
    repository = bare(workspace, server.folder / "texts.git")
    before = git(repository, "for-each-ref")
    url = f"{server.url}/texts.git"
    monkeypatch.setenv("GIT_USERNAME", USER)
    for token in (TOKEN, READER):
        monkeypatch.setenv("GIT_TOKEN", token)
        run_fetch(url, "main", ["clinic/sl"], tmp_path / "data", will_push=token == TOKEN)
    if with_remote:
        with pytest.raises(PolydistillError) as failed:
            run_fetch(url, "main", ["clinic/sl"], tmp_path / "other", will_push=True)
        told = f"cannot add a branch, for what is kept of the run, to {url}: the user may not do that"
        assert str(failed.value).startswith(told) and not (tmp_path / "other").exists()
    else:
        run_fetch(url, "main", ["clinic/sl"], tmp_path / "other", will_push=True)
    assert git(repository, "for-each-ref") == before


@pytest.mark.parametrize(
    ("reads", "url", "told"),
    [
        pytest.param(True, None, "it refused the keys, or they may not do that", id="reader"),
        pytest.param(False, "s3://nosuchbucket/dvc", "there is no such bucket", id="bucket"),
        pytest.param(False, "ssh://example.org/dvc", "there is no client for such storage here", id="client"),
    ],
)
def test_a_remote_that_takes_nothing_is_told_before_a_run_that_keeps_something(
    workspace: Path,
    tmp_path: Path,
    s3: S3,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    reads: bool,
    url: str | None,
    told: str,
) -> None:
    use_dvc(workspace, store_url, *(["data/clinic/sl"] if reads else []))
    if url:
        dvc(workspace, "remote", "modify", "storage", "url", url)
        commit_all(workspace)
    else:
        for name, value in s3.reader.items():
            monkeypatch.setenv(name, value)
    before = s3.keys()
    run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data")
    with pytest.raises(PolydistillError) as failed:
        run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "other", will_push=True)
    of = f"cannot write what is to be kept of the run to DVC's remote {url or store_url}: "
    assert str(failed.value).startswith(of + told) and not (tmp_path / "other").exists()
    assert s3.keys() == before


def test_what_is_written_to_try_the_remote_is_nothing_to_dvc(
    workspace: Path, tmp_path: Path, s3: S3, store_url: str
) -> None:
    use_dvc(workspace, store_url, "data/clinic/sl")
    before = s3.keys()
    for _ in range(2):
        run_fetch(str(workspace), "main", ["clinic/sl"], tmp_path / "data", will_push=True)
    (new,) = set(s3.keys()) - set(before)
    folder = f"{store_url.removeprefix(f'{s3.bucket}/')}/files/md5"
    assert new == f"{folder}/polydistill-may-write"
    s3.client().put_object(Bucket=BUCKET, Key=f"{folder}/ab/{'c' * 30}", Body=b"what nothing names any more")
    dvc(workspace, "gc", "--workspace", "--cloud", "--force")
    assert s3.keys() == sorted([*before, new])
    shutil.rmtree(workspace / ".dvc/cache")
    shutil.rmtree(workspace / "data/clinic/sl")
    dvc(workspace, "pull", "--quiet")
    assert (workspace / "data/clinic/sl/seeds.csv").is_file()
