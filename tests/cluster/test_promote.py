import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kfp import dsl

from components.champions.component import champions as champions_component
from components.promote.component import promote as promote_component
from polydistill.classifier import winner_cells
from polydistill.cluster.challenge import card_of, winner_of
from polydistill.cluster.champions import merged, read_champions, run_champions
from polydistill.cluster.registry import MOST_HISTORY, REGISTRY, Registry, read_registry
from polydistill.cluster.store import open_store
from polydistill.errors import DataError, PolydistillError
from polydistill.files import digest, read_json, read_yaml
from polydistill.package import run_package
from polydistill.params import PackageParams, load_params, to_struct
from promotions import JUNE, MAY, TEXTS, Run, data, new_winner, write_challenge
from s3_server import S3

ROOT = Path(__file__).parents[2]
SL, SW, AZ = "clinic/sl", "clinic/sw", "clinic/az"


@pytest.fixture(scope="module")
def winner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a winner, to be copied."""
    return new_winner(tmp_path_factory.mktemp("trained"), SL, TEXTS)


def registry(store_url: str) -> Registry:
    return read_registry(open_store(store_url))[0]


def served(store_url: str, target: Path) -> dict[str, str]:
    """Return for each cell of the promoted bento which run its winner is of."""
    bento = registry(store_url).bento
    assert bento is not None
    open_store(store_url).fetch_folder(bento.url.removeprefix(f"{store_url}/"), bento.digest, target)
    of_cell = {
        file.parent.relative_to(target / "src/winners").as_posix(): read_json(file)["teacher"][0]
        for file in target.glob("src/winners/*/*/winner.json")
    }
    shutil.rmtree(target)
    return of_cell


def test_what_wins_is_promoted_with_its_bento(store_url: str, winner: Path, tmp_path: Path) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    run.win(winner, SW)
    content = run.promote()
    assert list(content["promoted"]) == [SL, SW] and content["not_promoted"] == {}
    assert content["bento"].keys() == {"url", "digest", "version"}
    assert content["bento"]["version"].startswith("polydistill:")
    assert served(store_url, tmp_path / "served") == {SL: "spring", SW: "spring"}
    champion = registry(store_url).champions[SL]
    assert (champion.run, champion.student, champion.data) == ("spring", "linear", data())
    assert run.rebuilt == 0


def test_of_what_was_promoted_the_known_answers_are_passed_on(store_url: str, winner: Path, tmp_path: Path) -> None:
    first = Run(store_url, tmp_path, "spring")
    first.win(winner, SL)
    first.win(winner, SW)
    first.promote()
    second = Run(store_url, tmp_path, "summer")
    second.win(winner, SL)
    second.lose(SW)
    second.promote()
    passed_on = second.work / "promoted/winners"
    assert winner_cells(passed_on) == [SL]
    assert read_json(passed_on / SL / "known_answers.json") == read_json(winner / "known_answers.json")


def test_champions_come_back_as_they_were_promoted(store_url: str, winner: Path, tmp_path: Path) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    run.promote()
    run_champions(store_url, tmp_path / "back", [])
    assert digest(tmp_path / "back" / SL / "winner") == digest(run.work / "winners" / SL)
    assert digest(tmp_path / "back" / SL / "card") == digest(run.work / "cards" / SL)


def test_the_reference_is_kept_by_itself_so_that_the_monitor_fetches_no_model(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    run.promote()
    reference = registry(store_url).champions[SL].reference
    open_store(store_url).fetch_folder(reference.path, reference.digest, tmp_path / "reference")
    assert sorted(file.name for file in (tmp_path / "reference").iterdir()) == ["reference.parquet", "winner.json"]


def test_where_nothing_won_the_champions_stay(store_url: str, winner: Path, tmp_path: Path, s3: S3) -> None:
    first = Run(store_url, tmp_path, "spring")
    first.win(winner, SL)
    first.promote()
    before, objects = registry(store_url), s3.keys()
    second = Run(store_url, tmp_path, "summer")
    second.lose(SL)
    content = second.promote()
    assert (content["promoted"], content["not_promoted"]) == ({}, {SL: "it is worse"})
    assert content["reason"] == "no challenger won, so the champions stay"
    assert "| clinic/sl | no | it is worse |" in (second.work / "promoted/promoted.md").read_text()
    assert (registry(store_url).model_copy(update={"lost": {}}), s3.keys()) == (before, objects)


def test_where_nothing_won_what_is_promoted_is_passed_on_to_be_rolled_out(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    first = Run(store_url, tmp_path, "spring")
    first.win(winner, SL)
    wanted = first.promote()
    second = Run(store_url, tmp_path, "summer")
    second.lose(SL)
    content = second.promote()
    assert (content["bento"], content["serial"]) == (wanted["bento"], 1)


def test_a_challenger_that_lost_is_kept_in_mind_until_another_wins(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    spring = Run(store_url, tmp_path, "spring")
    for cell in (SL, SW):
        spring.win(winner, cell)
    spring.promote()
    summer = Run(store_url, tmp_path, "summer")
    summer.lose(SL)
    summer.win(winner, SW)
    summer.promote()
    (lost,) = registry(store_url).lost.items()
    assert (lost[0], lost[1].run, lost[1].data) == (SL, "summer", data().digest)
    shutil.rmtree(summer.work / "promoted")
    summer.promote()
    assert registry(store_url).lost == dict([lost])
    autumn = Run(store_url, tmp_path, "autumn")
    autumn.win(winner, SL)
    autumn.promote()
    assert registry(store_url).lost == {}


def test_a_challenger_that_lost_to_a_champion_of_yesterday_is_not(store_url: str, winner: Path, tmp_path: Path) -> None:
    spring = Run(store_url, tmp_path, "spring")
    spring.win(winner, SL)
    spring.promote()
    early, late = Run(store_url, tmp_path, "early"), Run(store_url, tmp_path, "late")
    early.win(winner, SL, data("b", JUNE))
    late.lose(SL)
    early.promote()
    late.promote()
    assert registry(store_url).lost == {}


def test_the_champions_of_other_cells_serve_on(store_url: str, winner: Path, tmp_path: Path) -> None:
    first = Run(store_url, tmp_path, "spring")
    for cell in (SL, SW, AZ):
        first.win(winner, cell)
    first.promote()
    second = Run(store_url, tmp_path, "summer")
    second.win(winner, SL)
    second.lose(SW)
    second.promote()
    assert served(store_url, tmp_path / "served") == {SL: "summer", SW: "spring", AZ: "spring"}
    assert second.rebuilt == 0
    latest, earliest = registry(store_url).history
    assert (latest.run, list(latest.cells), earliest.run) == ("summer", [SL], "spring")
    assert latest.cells[SL].replaced == earliest.cells[SL].winner


def test_a_run_that_tries_again_promotes_nothing_twice(store_url: str, winner: Path, tmp_path: Path) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    content, before = run.promote(), digest(run.work / "promoted")
    shutil.rmtree(run.work / "promoted")
    assert run.promote() == content
    assert digest(run.work / "promoted") == before
    assert registry(store_url).serial == 1


def test_a_run_that_tries_again_late_does_not_undo_a_later_one(store_url: str, winner: Path, tmp_path: Path) -> None:
    first, second = Run(store_url, tmp_path, "spring"), None
    first.win(winner, SL)
    first.promote()
    second = Run(store_url, tmp_path, "summer")
    second.win(winner, SL)
    second.promote()
    first.promote()
    assert registry(store_url).champions[SL].run == "summer"


def test_a_cell_that_another_run_promotes_meanwhile_stays_and_is_taken_into_the_bento(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    one, other = Run(store_url, tmp_path, "one"), Run(store_url, tmp_path, "other")
    one.win(winner, SL)
    other.win(winner, SW)
    other.promote()
    one.promote()
    assert one.rebuilt == 1
    assert served(store_url, tmp_path / "served") == {SL: "one", SW: "other"}
    assert {cell: champion.run for cell, champion in registry(store_url).champions.items()} == {SL: "one", SW: "other"}


@pytest.mark.parametrize(
    ("of_late", "takes"),
    [
        pytest.param(data("b", JUNE), "late", id="later data"),
        pytest.param(data("a", MAY), "early", id="the same data"),
        pytest.param(data("b", None), "early", id="nobody knows"),
    ],
)
def test_of_two_runs_that_promote_one_cell_the_later_data_win(
    store_url: str, winner: Path, tmp_path: Path, of_late: object, takes: str
) -> None:
    early, late = Run(store_url, tmp_path, "early"), Run(store_url, tmp_path, "late")
    early.win(winner, SL, data("a", MAY))
    late.win(winner, SL, of_late)
    late.win(winner, SW, of_late)
    early.promote()
    content = late.promote()
    assert served(store_url, tmp_path / "served") == {SL: takes, SW: "late"}
    assert (SL in content["not_promoted"]) == (takes == "early")
    if takes == "early":
        said = "another run has promoted this cell meanwhile, and its data are no older"
        assert content["not_promoted"][SL] == said


def test_where_others_were_first_everywhere_nothing_is_promoted(store_url: str, winner: Path, tmp_path: Path) -> None:
    early, late = Run(store_url, tmp_path, "early"), Run(store_url, tmp_path, "late")
    for run in (early, late):
        run.win(winner, SL)
        content = run.promote()
    assert content["promoted"] == {}
    assert registry(store_url).serial == 1
    assert content["bento"] == read_json(early.work / "promoted/promoted.json")["bento"]


def test_another_run_may_promote_at_the_last_moment(store_url: str, winner: Path, tmp_path: Path) -> None:
    one, second, third = (Run(store_url, tmp_path, name) for name in ("one", "second", "third"))
    for run, cell in ((one, SL), (second, SW), (third, AZ)):
        run.win(winner, cell)
    second.promote()

    def rebuild(winners: Path, cards: Path, folder: Path) -> None:
        Run.rebuild(one, winners, cards, folder)
        third.promote()

    one.rebuild = rebuild  # type: ignore[method-assign]
    one.promote()
    assert one.rebuilt == 2
    assert served(store_url, tmp_path / "served") == {SL: "one", SW: "second", AZ: "third"}


def test_a_run_gives_up_where_others_promote_without_end(
    store_url: str, winner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    monkeypatch.setattr("polydistill.cluster.store.Store.swap", lambda *_: False)
    with pytest.raises(PolydistillError, match="other runs promoted 50 times meanwhile; run this step again"):
        run.promote()
    assert not (run.work / "promoted").exists()


def test_of_a_run_that_is_killed_before_the_swap_nothing_is_promoted_and_the_next_try_completes_it(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    run.package()
    killed = """
import os, signal, sys
from pathlib import Path
from polydistill.cluster.promote import run_promote
from polydistill.cluster.store import Store
Store.swap = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
folders = (Path(sys.argv[2], name) for name in ("bento", "winners", "cards", "challenges", "champions", "promoted"))
run_promote(sys.argv[1], "spring", *folders, None)
"""
    done = subprocess.run([sys.executable, "-c", killed, store_url, str(run.work)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert registry(store_url) == Registry()
    assert open_store(store_url).paths("bentos")  # it came so far
    run.promote()
    assert served(store_url, tmp_path / "served") == {SL: "spring"}


@pytest.mark.slow
def test_processes_that_promote_at_once_lose_no_promotion(store_url: str, tmp_path: Path) -> None:
    tasks, runs = ("one", "two", "three"), 6
    processes = [
        subprocess.Popen(
            [sys.executable, ROOT / "tests/promotions.py", store_url, tmp_path, task, str(runs), str(len(tasks))],
            env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        )
        for task in tasks
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    wanted = {f"{task}/l{i}": f"{task}-{i}" for task in tasks for i in range(runs)}
    found = registry(store_url)
    assert {cell: champion.run for cell, champion in found.champions.items()} == wanted
    assert found.serial == len(wanted)
    assert {promotion.run for promotion in found.history} == set(wanted.values())
    assert [promotion.serial for promotion in found.history] == list(range(len(wanted), 0, -1))
    assert served(store_url, tmp_path / "served") == wanted


def test_the_history_is_bounded_and_old_bentos_stay_to_go_back_to(store_url: str, winner: Path, tmp_path: Path) -> None:
    first = Run(store_url, tmp_path, "first")
    first.win(winner, SL)
    first.promote()
    store = open_store(store_url)
    found, version = read_registry(store)
    (entry,) = found.history
    many = [entry.model_copy(update={"run": f"run-{i}"}) for i in range(MOST_HISTORY - 1)]
    store.swap(REGISTRY, found.model_copy(update={"history": [*many, entry]}).to_bytes(), version)
    last = Run(store_url, tmp_path, "last")
    last.win(winner, SL)
    last.promote()
    after = registry(store_url).history
    assert (len(after), after[0].run, after[-1].run) == (MOST_HISTORY, "last", f"run-{MOST_HISTORY - 2}")
    assert entry.bento.url.removeprefix(f"{store_url}/") in store.paths("bentos")


def test_without_a_store_a_run_ends_with_its_bento(winner: Path, tmp_path: Path) -> None:
    run = Run(None, tmp_path, "spring")
    run.win(winner, SL)
    content = run.promote()
    assert (content["promoted"], content["bento"]) == ({}, {})
    assert content["not_promoted"][SL].startswith("no store is set (cluster.store)")


def test_a_winner_that_is_not_the_one_that_won_is_refused(store_url: str, winner: Path, tmp_path: Path) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    other = new_winner(tmp_path / "other", SL, {"book": ["Naročam se."], "cancel": ["Odpovedujem."]})
    write_challenge(run.work / "challenges" / SL, other)
    with pytest.raises(DataError, match=r"clinic/sl is not the challenger that won clinic/sl; run `challenge` again"):
        run.promote()
    assert registry(store_url) == Registry()


def test_a_champion_that_is_damaged_in_the_store_is_marked_and_cannot_be_merged(
    store_url: str, winner: Path, tmp_path: Path
) -> None:
    run = Run(store_url, tmp_path, "spring")
    run.win(winner, SL)
    run.win(winner, SW)
    run.promote()
    open_store(store_url).write(registry(store_url).champions[SL].winner.path, b"")
    with pytest.raises(DataError, match="the champion of clinic/sl cannot serve any longer"):
        run_champions(store_url, tmp_path / "of another cell", [SW])  # before that run has paid for anything
    assert not (tmp_path / "of another cell").exists()
    later = Run(store_url, tmp_path, "summer", cells=[SL])
    assert "is not what was put there" in read_json(later.work / "champions" / SL / "damaged.json")["reason"]
    with (
        pytest.raises(DataError, match="the champion of clinic/sl cannot serve any longer: .*train that cell again"),
        merged([], later.work / "champions", "winner"),
    ):
        pass
    later.win(winner, SL)
    with merged([later.work / "winners" / SL], later.work / "champions", "winner") as folder:
        assert sorted(file.parent.name for file in folder.glob("*/*/winner.json")) == ["sl", "sw"]


@pytest.mark.parametrize("kind", ["winner", "card"])
def test_victors_take_the_place_of_champions(store_url: str, winner: Path, tmp_path: Path, kind: str) -> None:
    first = Run(store_url, tmp_path, "spring")
    first.win(winner, SL)
    first.win(winner, SW)
    first.promote()
    later = Run(store_url, tmp_path, "summer")
    later.win(winner, SW)
    later.win(winner, AZ)
    victors = [later.work / f"{kind}s" / cell for cell in (SW, AZ)]
    with merged(victors, later.work / "champions", kind) as folder:  # type: ignore[arg-type]
        of = {cell: (folder / cell).resolve() for cell in (AZ, SL, SW)}
        assert len(list(folder.glob("*/*"))) == 3
    assert of == {AZ: victors[1], SW: victors[0], SL: later.work / "champions" / SL / kind}


def artifact(path: Path) -> dsl.Artifact:
    return dsl.Artifact(name=path.name, uri=str(path))


def test_the_components_promote_a_real_bento(store_url: str, tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.cluster is not None
    cluster = to_struct(params.cluster.model_copy(update={"store": store_url}))
    for cell in (SL, SW):  # one run a cell, both begin with no champion
        work = tmp_path / cell
        champions_component.python_func(cluster, [SL], artifact(work / "champions"), artifact(work / "registry"))
        assert read_champions(work / "registry") == read_champions(work / "champions")
        new_winner(work, cell, TEXTS)
        write_challenge(work / "challenged", work / "winners" / cell)
        shutil.copytree(work / "winners" / cell, winner_of(work / "challenged"))
        shutil.copytree(work / "cards" / cell, card_of(work / "challenged"))
    # That of the second run has to be built again anyway, since the first promotes meanwhile.
    first = tmp_path / SL
    run_package(first / "winners", first / "cards", first / "bento", PackageParams(name="polydistill"))
    for cell in (SL, SW):
        work = tmp_path / cell
        promote_component.python_func(
            f"run-{cell}",
            cluster,
            {"name": "polydistill"},
            artifact(work / "bento"),
            [artifact(work / "challenged")],
            artifact(work / "champions"),
            artifact(work / "promoted"),
            artifact(work / "summary"),
        )
        assert f"| {cell} | yes | it is first |" in (work / "summary").read_text()
    bento = read_json(tmp_path / SW / "promoted/promoted.json")["bento"]
    open_store(store_url).fetch_folder(
        bento["url"].removeprefix(f"{store_url}/"), bento["digest"], tmp_path / "rebuilt"
    )
    facts = read_yaml(tmp_path / "rebuilt/bento.yaml")
    assert bento["version"] == f"{facts['name']}:{facts['version']}"
    cells = (tmp_path / "rebuilt/src/winners").glob("*/*/winner.json")
    assert sorted(file.parent.name for file in cells) == ["sl", "sw"]
