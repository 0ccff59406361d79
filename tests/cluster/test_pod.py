import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from commands import wait_for
from kube_server import deployment, kube_server, workflow
from polydistill.cluster.due import VERDICT, read_verdict
from polydistill.cluster.pod import fetch_bento, monitor
from polydistill.cluster.registry import read_registry
from polydistill.cluster.shipping import Shipper, read_shipped
from polydistill.cluster.store import Store, open_store
from polydistill.cluster.teacher import HOLDERS
from polydistill.errors import DataError, ParamsError, PolydistillError
from polydistill.files import digest
from polydistill.package import run_package
from polydistill.params import PackageParams
from polydistill.serve import rehearse, running
from polydistill.traffic import Answer, TrafficLog, to_lines
from promotions import TEXTS, Run, new_winner
from s3_server import BUCKET, S3

ROOT = Path(__file__).parents[2]
SL, HR = "clinic/sl", "clinic/hr"
BIG = 1 << 30


@pytest.fixture(scope="module")
def winner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a winner, to be copied."""
    return new_winner(tmp_path_factory.mktemp("trained"), SL, TEXTS)


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "polydistill.cluster.pod", *map(str, arguments)]
    return subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(*arguments: object, **environment: str) -> tuple[int, str]:
    """Return the exit code and what stands on stderr."""
    process = start(*arguments, **environment)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def promoted(store_url: str, work: Path, winner: Path, name: str = "spring") -> Run:
    of = Run(store_url, work, name)
    of.win(winner, SL)
    of.promote()
    return of


# fetch-bento


def test_the_promoted_bento_is_fetched(store_url: str, winner: Path, tmp_path: Path) -> None:
    of = promoted(store_url, tmp_path, winner)
    code, said = run("fetch-bento", "--store", store_url, "--to", tmp_path / "srv")
    assert (code, "SHA-256 as it should be" in said) == (0, True)
    assert digest(tmp_path / "srv") == digest(of.work / "bento")
    assert sorted(entry.name for entry in (tmp_path / "srv").iterdir()) == ["bento.yaml", "src"]


def test_a_roll_out_fetches_the_bento_that_it_names_and_not_a_later_one(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    first = promoted(store_url, tmp_path, winner)
    before = read_registry(open_store(store_url))[0].bento
    assert before is not None
    promoted(store_url, tmp_path, winner, "summer")
    named = {"BENTO_URL": before.url, "BENTO_DIGEST": before.digest}
    fetch_bento(store_url, tmp_path / "srv", named, 0.01)
    assert digest(tmp_path / "srv") == digest(first.work / "bento")


def test_what_was_in_the_folder_goes_and_the_folder_itself_stays(store_url: str, winner: Path, tmp_path: Path) -> None:
    of, srv = promoted(store_url, tmp_path, winner), tmp_path / "srv"
    (srv / "src/old").mkdir(parents=True)
    (srv / "bento.yaml").write_text("half")
    before = srv.stat().st_ino
    fetch_bento(store_url, srv, {}, 0.01)
    assert digest(srv) == digest(of.work / "bento")
    assert srv.stat().st_ino == before  # a volume cannot be replaced


def test_of_a_bento_that_was_changed_nothing_is_left_to_serve(store_url: str, winner: Path, tmp_path: Path) -> None:
    promoted(store_url, tmp_path, winner)
    store = open_store(store_url)
    store.write(store.paths("bentos")[0], b"evil")
    code, said = run("fetch-bento", "--store", store_url, "--to", tmp_path / "srv")
    assert code == 2
    assert said.startswith("error: ") and "is not what was put there" in said and len(said.splitlines()) == 1
    assert list((tmp_path / "srv").iterdir()) == []


def test_where_none_is_promoted_yet_it_waits_for_the_first(store_url: str, winner: Path, tmp_path: Path) -> None:
    arguments = ("fetch-bento", "--store", store_url, "--to", tmp_path / "srv", "--every-s", "0.05")
    process = start(*arguments)
    assert process.stderr is not None
    assert process.stderr.readline() == f"no bento is promoted yet in {store_url}; waiting for the first\n"
    of = promoted(store_url, tmp_path, winner)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert digest(tmp_path / "srv") == digest(of.work / "bento")


def test_sigterm_ends_the_waiting(store_url: str, tmp_path: Path) -> None:
    process = start("fetch-bento", "--store", store_url, "--to", tmp_path / "srv")
    assert process.stderr is not None
    process.stderr.readline()
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        pytest.param({"BENTO_URL": "s3://other/b.tar", "BENTO_DIGEST": "0"}, "is not in the store", id="elsewhere"),
        pytest.param({"BENTO_URL": "s3://other/b.tar"}, "go together", id="no digest"),
    ],
)
def test_a_bento_that_is_named_wrongly_is_refused(
    store_url: str, tmp_path: Path, environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(ParamsError, match=reason):
        fetch_bento(store_url, tmp_path / "srv", environment, 0.01)


@pytest.mark.slow
def test_bentoml_serves_what_was_fetched(store_url: str, tmp_path: Path) -> None:
    new_winner(tmp_path, SL, TEXTS)
    bento = tmp_path / "bento"
    run_package(tmp_path / "winners", tmp_path / "cards", bento, PackageParams(name="polydistill"))
    store = open_store(store_url)
    path, sha = store.upload_folder(bento, "bentos")
    fetch_bento(store_url, tmp_path / "srv", {"BENTO_URL": f"{store_url}/{path}", "BENTO_DIGEST": sha}, 0.01)
    assert digest(tmp_path / "srv") == digest(bento)
    with running(tmp_path / "srv") as url:
        assert len(rehearse(url, tmp_path / "winners")) == 40


# ship-traffic


def answer(text: str, label: str = "book", at: datetime | None = None, cell: str = SL) -> Answer:
    task, language = cell.split("/")
    time = (at or datetime.now(UTC)).isoformat(timespec="milliseconds")
    return Answer(task=task, language=language, text=text, label=label, probability=0.9, time=time)


def shipped(store_url: str) -> list[str]:
    """Return the texts in the store, in order."""
    return [row.text for row in read_shipped(open_store(store_url), datetime.now(UTC) - timedelta(days=1))]


def used(path: Path) -> int:
    """Return the bytes that a file takes up on the disk."""
    return path.stat().st_blocks * 512


def shipper(store_url: str, path: Path, piece_bytes: int = BIG, most_waiting: int = BIG) -> Shipper:
    return Shipper(path, open_store(store_url), piece_bytes, most_waiting)


def test_each_line_is_shipped_once_while_the_service_writes(store_url: str, tmp_path: Path) -> None:
    traffic = TrafficLog(tmp_path / "traffic.jsonl")
    ships = shipper(store_url, tmp_path / "traffic.jsonl")
    ships.ship()
    assert shipped(store_url) == []
    traffic.append([answer("a"), answer("b")])
    ships.ship()
    ships.ship()
    traffic.append([answer("č")])
    ships.ship()
    assert shipped(store_url) == ["a", "b", "č"]


def test_there_need_be_no_log_yet(store_url: str, tmp_path: Path) -> None:
    ships = shipper(store_url, tmp_path / "traffic.jsonl")
    ships.ship()
    TrafficLog(tmp_path / "traffic.jsonl").append([answer("a")])
    ships.ship()
    assert shipped(store_url) == ["a"]


def test_a_line_that_is_being_written_waits_until_it_is_whole(store_url: str, tmp_path: Path) -> None:
    path, ships = tmp_path / "traffic.jsonl", shipper(store_url, tmp_path / "traffic.jsonl")
    line = to_lines([answer("b")])
    path.write_text(to_lines([answer("a")]) + line[:20])
    ships.ship()
    assert shipped(store_url) == ["a"]
    with path.open("a") as file:
        file.write(line[20:])
    ships.ship()
    assert shipped(store_url) == ["a", "b"]


def test_what_is_shipped_takes_up_no_space_and_the_service_writes_on(store_url: str, tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    traffic, ships = TrafficLog(path), shipper(store_url, path)
    for i in range(3):
        traffic.append([answer(f"{i}-{j}" + "x" * 5_000) for j in range(200)])
        assert used(path) > 1_000_000
        ships.ship()
        assert used(path) <= 8_192
    assert [text.rstrip("x") for text in shipped(store_url)] == [f"{i}-{j}" for i in range(3) for j in range(200)]


def test_large_traffic_goes_in_pieces_of_whole_lines(store_url: str, s3: S3, tmp_path: Path) -> None:
    TrafficLog(tmp_path / "traffic.jsonl").append([answer(str(i)) for i in range(100)])
    shipper(store_url, tmp_path / "traffic.jsonl", piece_bytes=1_000).ship()
    assert len(open_store(store_url).paths("traffic")) > 10
    assert shipped(store_url) == [str(i) for i in range(100)]


def test_a_sidecar_that_starts_again_goes_on(store_url: str, tmp_path: Path) -> None:
    traffic = TrafficLog(tmp_path / "traffic.jsonl")
    for text in "abc":
        traffic.append([answer(text)])
        shipper(store_url, tmp_path / "traffic.jsonl").ship()
    assert shipped(store_url) == ["a", "b", "c"]


class Yesterday(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) - timedelta(days=1)


@pytest.mark.parametrize("arrived", [True, False])
def test_a_sidecar_that_is_ended_while_it_ships_ships_no_line_twice_not_even_at_midnight(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    traffic = TrafficLog(tmp_path / "traffic.jsonl")
    traffic.append([answer("a")])
    write = Store.write

    def ended(store: Store, path: str, content: bytes) -> None:
        if arrived:
            write(store, path, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", ended)
        patch.setattr("polydistill.cluster.shipping.datetime", Yesterday)
        with pytest.raises(KeyboardInterrupt):
            shipper(store_url, tmp_path / "traffic.jsonl").ship()
    traffic.append([answer("b")])
    shipper(store_url, tmp_path / "traffic.jsonl").ship()
    assert shipped(store_url) == ["a", "b"]


def test_two_pods_do_not_write_over_each_other(store_url: str, tmp_path: Path) -> None:
    for name in "ab":
        path = tmp_path / name / "traffic.jsonl"
        TrafficLog(path).append([answer(name)])
        shipper(store_url, path).ship()
    assert sorted(shipped(store_url)) == ["a", "b"]


def test_a_log_that_was_begun_anew_is_shipped_from_its_beginning(store_url: str, tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    for text in ("a long text, so that the next log is shorter", "b"):
        path.unlink(missing_ok=True)
        TrafficLog(path).append([answer(text)])
        shipper(store_url, path).ship()
    assert sorted(shipped(store_url)) == ["a long text, so that the next log is shorter", "b"]


def test_where_the_store_takes_nothing_lines_wait_and_the_oldest_go_before_the_disk_is_full(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "traffic.jsonl"
    traffic = TrafficLog(path)
    line = len(to_lines([answer("000" + "x" * 4_000)]))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        refused = shipper(store_url, path, most_waiting=100 * line)
        for start in range(0, 300, 50):
            traffic.append([answer(f"{i:03}" + "x" * 4_000) for i in range(start, start + 50)])
            with pytest.raises(PolydistillError, match="refuses the credentials"):
                refused.ship()
            assert used(path) < 110 * line
    shipper(store_url, path, most_waiting=100 * line).ship()
    assert [text[:3] for text in shipped(store_url)] == [f"{i:03}" for i in range(200, 300)]
    assert sum(record.args[0] for record in caplog.records if "are lost" in record.msg) == 200  # type: ignore[index,misc]


def test_at_sigterm_the_rest_is_shipped(store_url: str, tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    traffic = TrafficLog(path)
    traffic.append([answer("a")])
    process = start("ship-traffic", "--log", path, "--store", store_url, "--every-s", "0.05")
    wait_for(lambda: bool(open_store(store_url).paths("traffic")), process)
    process.send_signal(signal.SIGSTOP)  # so that these lines are there when it hears of SIGTERM, and not before
    traffic.append([answer(str(i)) for i in range(1_000)])
    process.terminate()
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert shipped(store_url) == ["a", *map(str, range(1_000))]


@pytest.mark.slow
def test_a_sidecar_that_is_killed_again_and_again_ships_each_line_once(store_url: str, tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    traffic = TrafficLog(path)
    written = 0
    for _ in range(4):
        process = start("ship-traffic", "--log", path, "--store", store_url, "--every-s", "0.01")
        before = len(open_store(store_url).paths("traffic"))
        while len(open_store(store_url).paths("traffic")) < before + 3:
            traffic.append([answer(str(written))])
            written += 1
        process.kill()
        process.communicate()
    shipper(store_url, path).ship()
    assert shipped(store_url) == [str(i) for i in range(written)]


def test_a_store_that_does_not_answer_does_not_end_the_sidecar(store_url: str, tmp_path: Path) -> None:
    TrafficLog(tmp_path / "traffic.jsonl").append([answer("a")])
    arguments = ("ship-traffic", "--log", tmp_path / "traffic.jsonl", "--store", store_url, "--every-s", "0.05")
    process = start(*arguments, AWS_SECRET_ACCESS_KEY="wrong")
    assert process.stderr is not None
    said = [process.stderr.readline() for _ in range(2)]
    assert all(line.endswith("; the lines wait\n") and "refuses the credentials" in line for line in said)
    process.terminate()
    _, last = process.communicate(timeout=60)
    assert process.returncode == 1
    assert last.splitlines()[-1].startswith("error: ")


def test_a_damaged_state_is_said(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "traffic.jsonl.shipped").write_text("{}")
    with pytest.raises(DataError, match=r"traffic.jsonl.shipped is damaged; delete the pod"):
        shipper(store_url, tmp_path / "traffic.jsonl")


# monitor


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a folder with params.yaml, as a ConfigMap has it."""
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    return tmp_path / "workspace"


def ship(store_url: str, path: Path, rows: list[Answer]) -> None:
    TrafficLog(path).append(rows)
    shipper(store_url, path).ship()


def asked(labels: str, at: datetime) -> list[Answer]:
    """Return an answer a letter, b or c, to the texts of the reference."""
    texts = [*TEXTS["book"], *TEXTS["cancel"]]
    rows = enumerate(labels)
    return [answer(texts[i % 40], {"b": "book", "c": "cancel"}[label], at) for i, label in rows]


def verdict_on(store_url: str, cell: str = SL) -> dict[str, Any]:
    found = open_store(store_url).read(VERDICT)
    assert found is not None
    of_cell: dict[str, Any] = json.loads(found[0])["cells"][cell]
    return of_cell


@pytest.mark.parametrize(
    ("labels", "retrain"),
    [
        pytest.param("bc" * 60, False, id="as it was"),
        pytest.param("b" * 110 + "c" * 10, True, id="drift"),
        pytest.param("bc", None, id="little traffic"),
    ],
)
def test_the_monitor_leaves_its_verdict_in_the_store(
    store_url: str, winner: Path, tmp_path: Path, workspace: Path, labels: str, retrain: bool | None
) -> None:
    promoted(store_url, tmp_path, winner)
    ship(store_url, tmp_path / "traffic.jsonl", asked(labels, datetime.now(UTC) + timedelta(seconds=1)))
    monitor(store_url, workspace, 7)
    assert verdict_on(store_url)["retrain"] is retrain
    verdict = read_verdict(open_store(store_url))
    assert verdict is not None and verdict.cells[SL].retrain is retrain
    assert datetime.now(UTC) - verdict.time < timedelta(minutes=5)


def test_answers_of_an_earlier_champion_or_of_long_ago_do_not_count(
    store_url: str, winner: Path, tmp_path: Path, workspace: Path
) -> None:
    promoted(store_url, tmp_path, winner)
    rows = asked("b" * 110 + "c" * 10, datetime.now(UTC) - timedelta(hours=1))
    ship(store_url, tmp_path / "traffic.jsonl", rows)
    monitor(store_url, workspace, 7)
    assert verdict_on(store_url)["texts"] == 0


def test_only_so_many_days_count(store_url: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    rows = [answer(f"{days} days ago", at=now - timedelta(days=days)) for days in (0, 2, 8)]
    ship(store_url, tmp_path / "traffic.jsonl", rows)
    since = now - timedelta(days=7)
    assert [row.text for row in read_shipped(open_store(store_url), since)] == ["0 days ago", "2 days ago"]


def test_pieces_of_earlier_days_are_not_even_read(store_url: str) -> None:
    store, now = open_store(store_url), datetime.now(UTC)
    for days in (3, 9):
        day = now - timedelta(days=days)
        store.write(f"traffic/{day:%Y-%m-%d}/x-0.jsonl", to_lines([answer(f"{days}", at=now)]).encode())
    assert [row.text for row in read_shipped(store, now - timedelta(days=7))] == ["3"]


def test_a_line_that_a_crash_tore_does_not_end_the_monitor(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    line = to_lines([answer("a")])
    open_store(store_url).write(f"traffic/{datetime.now(UTC):%Y-%m-%d}/x-0.jsonl", (line[:30] + line + line).encode())
    assert shipped(store_url) == ["a"]
    assert f"1 lines in {store_url}/traffic are none of the service's log" in caplog.text


def test_where_nothing_is_promoted_there_is_nothing_to_monitor(store_url: str, workspace: Path) -> None:
    code, said = run("monitor", "--store", store_url, "--workspace", workspace)
    assert (code, said) == (0, f"nothing is promoted yet in {store_url}, so there is nothing to monitor\n")
    assert open_store(store_url).read(VERDICT) is None


@pytest.mark.parametrize("damaged", [None, b"no tar"], ids=["missing", "damaged"])
def test_a_reference_that_cannot_be_used_ends_the_monitor_for_its_cell_alone(
    store_url: str, winner: Path, tmp_path: Path, workspace: Path, s3: S3, damaged: bytes | None
) -> None:
    promoted(store_url, tmp_path, winner)
    second = Run(store_url, tmp_path, "summer")
    second.win(new_winner(tmp_path / "trained", HR, TEXTS), HR)
    second.promote()
    break_reference(store_url, s3, SL, damaged)
    at = datetime.now(UTC) + timedelta(seconds=1)
    rows = asked("b" * 110 + "c" * 10, at)
    ship(store_url, tmp_path / "traffic.jsonl", [*rows, *(row.model_copy(update={"language": "hr"}) for row in rows)])
    code, said = run("monitor", "--store", store_url, "--workspace", workspace)
    assert code == 0, said
    assert f"{SL}: nothing concluded, its reference cannot be used: {store_url}/" in said
    assert "which has no winner" not in said
    verdict = read_verdict(open_store(store_url))
    assert verdict is not None
    assert {cell: of.retrain for cell, of in verdict.cells.items()} == {SL: None, HR: True}
    (reason,) = verdict.cells[SL].reasons
    assert reason.startswith("its reference cannot be used: ") and "put " in reason
    assert verdict_on(store_url, SL)["texts"] == verdict_on(store_url, HR)["texts"] == 120


def test_where_no_reference_can_be_used_the_monitor_fails_and_the_verdict_says_so(
    store_url: str, winner: Path, tmp_path: Path, workspace: Path, s3: S3
) -> None:
    promoted(store_url, tmp_path, winner)
    break_reference(store_url, s3, SL, None)
    code, said = run("monitor", "--store", store_url, "--workspace", workspace)
    assert code == 2
    assert "error: nothing was monitored: of each of the 1 cells the reference cannot be used" in said
    verdict = read_verdict(open_store(store_url))
    assert verdict is not None and verdict.cells[SL].retrain is None


def break_reference(store_url: str, s3: S3, cell: str, content: bytes | None) -> None:
    """Overwrite what the monitor needs of a champion; None: delete it."""
    path = read_registry(open_store(store_url))[0].champions[cell].reference.path
    if content is None:
        s3.client().delete_object(Bucket=BUCKET, Key=f"{store_url.removeprefix(f'{s3.bucket}/')}/{path}")
    else:
        open_store(store_url).write(path, content)


def test_the_verdict_repeats_no_text(store_url: str, winner: Path, tmp_path: Path, workspace: Path) -> None:
    promoted(store_url, tmp_path, winner)
    ship(store_url, tmp_path / "traffic.jsonl", asked("bc" * 60, datetime.now(UTC) + timedelta(seconds=1)))
    monitor(store_url, workspace, 7)
    found = open_store(store_url).read(VERDICT)
    assert found is not None and b"termin" not in found[0] and b"obisk" not in found[0]


# the command line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(["fetch-bento"], 2, "Missing option '--store'", id="no store"),
        pytest.param(
            ["monitor", "--store", "s3://b/p", "--workspace", "/nowhere"], 2, "error: /nowhere", id="no params"
        ),
        pytest.param(["fetch-bento", "--store", "/tmp", "--to", "x"], 2, "error: `/tmp` is no object", id="no url"),
        pytest.param(["sing"], 2, "No such command 'sing'", id="unknown"),
    ],
)
def test_wrong_input_is_said_without_a_traceback(arguments: list[str], code: int, said: str) -> None:
    found, stderr = run(*arguments)
    assert (found, said in stderr, "Traceback" in stderr) == (code, True, False)


def test_release_teacher_lets_go_for_runs_that_are_over(tmp_path: Path) -> None:
    with kube_server() as kube:
        kube.add(deployment("polydistill", "teacher", replicas=1))
        held = {"spring": "2999-01-01T00:00:00+00:00", "autumn": "2026-01-01T00:00:00+00:00"}
        kube.edit("polydistill", "teacher", {"metadata": {"annotations": {HOLDERS: json.dumps(held)}}})
        kube.workflows = [workflow("kubeflow", "spring", "Failed")]
        command = ["release-teacher", "--namespace=polydistill", "--deployment=teacher"]
        environment = {"KUBECONFIG": str(kube.kubeconfig(tmp_path / "kubeconfig"))}
        assert run(*command, **environment) == (
            0,
            "autumn had not let go of the teacher, and no longer holds it: its time is up\n",
        )
        assert kube.get("polydistill", "teacher")["spec"]["replicas"] == 1
        assert run(*command, "--runs-namespace=kubeflow", **environment) == (
            0,
            "spring had not let go of the teacher, and no longer holds it: its Workflow has ended: Failed\n",
        )
        assert kube.get("polydistill", "teacher")["spec"]["replicas"] == 0
