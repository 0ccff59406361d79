import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import polydistill
from polydistill.errors import DataError, ParamsError
from polydistill.params import STRATEGIES, GenerateParams, check
from polydistill.records import Record, Source
from polydistill.strategies import Strategy, open_strategy
from polydistill.strategies._crowd import WINDOW
from polydistill.strategies.diverse import AVOID
from polydistill.task import Task
from spaces import TASK, settings

FACETS = {
    "lengths": ["short", "long"],
    "registers": ["formal", "casual"],
    "speakers": ["parent", "student"],
    "topics": {"book": ["dentist", "check-up", "vaccination"], "hours": ["weekend", "laboratory"]},
}
# No two of these share much; the next three are one text but for a word.
VARIED = ["Zob me boli.", "Kdaj pridem k vam?", "Sestra ima vročino", "Ušesa so zamašena", "Prosim, takoj!"]
CROWD = ["Rad bi termin za torek.", "Rad bi termin za petek.", "Rad bi termin za soboto."]


def strategy(name: str, n_seeds: int = 10, facets: Any = FACETS, **params: Any) -> Strategy:
    task = Task.model_validate({**TASK, "facets": facets})
    seeds = [
        Record(f"{label} {i}", label, "sl", "seed", Source("seeds.csv", i))
        for label in task.label_names
        for i in range(n_seeds)
    ]
    section = {**settings()["generate"], "strategy": name, "seeds_per_request": None, "top_up": 0, **params}
    return open_strategy(task, "sl", seeds, GenerateParams.model_validate(section))


BOOK, HOURS = Task.model_validate(TASK).labels


def shown(of: Strategy, number: int) -> list[str]:
    return [seed.text for seed in of.guide(BOOK, number, ()).seeds]


def avoided(accepted: Sequence[str]) -> tuple[str, ...]:
    return strategy("diverse").guide(BOOK, 9, accepted).avoid


@pytest.mark.parametrize("name", ["best", "base", "_base", "", "Plain"])
def test_a_strategy_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match=f"strategy: '{name}' is no strategy; there are diverse, plain"):
        check(GenerateParams, {**settings()["generate"], "strategy": name}, "params.yaml")


def run_with_strategy(tmp_path: Path, file: str, name: str) -> subprocess.CompletedProcess[str]:
    """Put one more strategy into a copy of the library, and ask it for guidance."""
    package = tmp_path / "polydistill"
    shutil.copytree(Path(polydistill.__file__).parent, package)
    (package / "strategies" / file).write_text(
        "from polydistill.strategies import Guidance\n"
        f"class {name}:\n"
        "    ahead = None\n"
        "    def __init__(self, task, language, seeds, params): pass\n"
        "    def guide(self, label, number, accepted): return Guidance((), ('three words',))\n"
    )
    section = {**settings()["generate"], "strategy": file.removesuffix(".py")}
    code = (
        "from polydistill.errors import PolydistillError\n"
        "from polydistill.params import GenerateParams, check\n"
        "from polydistill.strategies import open_strategy\n"
        "try:\n"
        f"    strategy = open_strategy(None, 'sl', [], check(GenerateParams, {section}, 'params.yaml'))\n"
        "    print(strategy.guide(None, 0, ()).attributes)\n"
        "except PolydistillError as exc:\n"
        "    print(exc)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(("file", "name"), [("terse.py", "Terse"), ("few_words.py", "FewWords")])
def test_a_new_strategy_is_one_file(tmp_path: Path, file: str, name: str) -> None:
    assert run_with_strategy(tmp_path, file, name).stdout == "('three words',)\n"


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        pytest.param("terse.py", "Brief", "strategies/terse.py holds no class Terse", id="another class"),
        pytest.param("my-mix.py", "MyMix", "'my-mix' is no strategy; there are diverse, plain", id="no name in Python"),
    ],
)
def test_a_file_that_is_no_strategy_is_told(tmp_path: Path, file: str, name: str, message: str) -> None:
    assert message in run_with_strategy(tmp_path, file, name).stdout


def test_diverse_says_what_to_run_where_the_task_has_no_facets() -> None:
    with pytest.raises(DataError, match=r"task demo has no facets.*run `polydistill facets`.*`polydistill prepare`"):
        strategy("diverse", facets=None)


@pytest.mark.parametrize("name", STRATEGIES)
def test_guidance_depends_on_its_arguments_alone(name: str) -> None:
    used, fresh = strategy(name, seeds_per_request=3), strategy(name, seeds_per_request=3)
    for number in range(5):
        used.guide(HOURS, number, CROWD)
    assert used.guide(BOOK, 7, CROWD) == fresh.guide(BOOK, 7, CROWD)


@pytest.mark.parametrize("name", STRATEGIES)
def test_another_request_label_language_or_seed_is_guided_otherwise(name: str) -> None:
    one = shown(strategy(name), 0)
    assert one != shown(strategy(name), 1)
    assert one != shown(strategy(name, seed=2), 0)
    assert one != [seed.text.replace("hours", "book") for seed in strategy(name).guide(HOURS, 0, ()).seeds]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_request_shows_seeds_of_its_label_once_each(name: str) -> None:
    for number in range(20):
        seeds = strategy(name, seeds_per_request=4).guide(HOURS, number, ()).seeds
        assert {seed.label for seed in seeds} == {"hours"}
        assert len(seeds) == len(set(seeds)) == 4


@pytest.mark.parametrize("name", STRATEGIES)
def test_more_seeds_than_there_are_means_all(name: str) -> None:
    assert sorted(shown(strategy(name, n_seeds=3, seeds_per_request=9), 0)) == ["book 0", "book 1", "book 2"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_label_without_seeds_is_guided_without(name: str) -> None:
    assert strategy(name, n_seeds=0).guide(BOOK, 3, ()).seeds == ()


def test_plain_shows_all_seeds_and_nothing_else() -> None:
    plain = strategy("plain", n_seeds=10)
    guidance = plain.guide(BOOK, 4, CROWD)
    assert sorted(seed.text for seed in guidance.seeds) == [f"book {i}" for i in range(10)]
    assert (plain.ahead, guidance.attributes, guidance.avoid) == (None, (), ())


@pytest.mark.parametrize(
    ("n_seeds", "per_request", "size"),
    [
        pytest.param(10, None, 5, id="half of ten"),
        pytest.param(3, None, 2, id="two rather than one"),
        pytest.param(1, None, 1, id="one is all"),
        pytest.param(10, 3, 3, id="three of ten"),
        pytest.param(7, 7, 7, id="all"),
        pytest.param(6, 4, 4, id="four of six"),
    ],
)
def test_diverse_shows_each_seed_equally_often(n_seeds: int, per_request: int | None, size: int) -> None:
    diverse = strategy("diverse", n_seeds=n_seeds, seeds_per_request=per_request)
    counts: Counter[str] = Counter({f"book {i}": 0 for i in range(n_seeds)})
    for number in range(40):
        seeds = shown(diverse, number)
        assert len(seeds) == len(set(seeds)) == size
        counts.update(seeds)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_no_combination_comes_again_before_all_have_come() -> None:
    diverse = strategy("diverse", texts_per_request=5)
    lines = [line for number in range(10) for line in diverse.guide(BOOK, number, ()).attributes]
    once, again = lines[:24], lines[24:48]
    assert len(lines) == 50
    assert len(set(once)) == 3 * 2 * 2 * 2
    assert sorted(once) == sorted(again)
    assert once != again


def test_a_combination_names_one_value_of_each_facet() -> None:
    line = strategy("diverse").guide(HOURS, 0, ()).attributes[0]
    values = dict(part.split(": ") for part in line.split("; "))
    assert list(values) == ["topic", "speaker", "register", "length"]
    assert values["topic"] in FACETS["topics"]["hours"]
    assert values["length"] in FACETS["lengths"]


def test_each_topic_goes_through_the_other_facets_in_an_order_of_its_own() -> None:
    diverse = strategy("diverse", texts_per_request=24)
    orders: dict[str, list[str]] = {}
    for line in diverse.guide(BOOK, 0, ()).attributes:
        topic, others = line.split("; ", 1)
        orders.setdefault(topic, []).append(others)
    assert len({tuple(order) for order in orders.values()}) == len(orders) == 3


def test_topics_come_equally_often() -> None:
    diverse = strategy("diverse", texts_per_request=5)
    counts: Counter[str] = Counter()
    for number in range(3):
        counts.update(line.split("; ")[0] for line in diverse.guide(BOOK, number, ()).attributes)
    assert counts == {"topic: dentist": 5, "topic: check-up": 5, "topic: vaccination": 5}


def test_the_crowd_is_avoided_first_and_by_one_of_it() -> None:
    avoid = avoided([VARIED[0], CROWD[0], VARIED[1], CROWD[1], VARIED[2], CROWD[2], *VARIED[3:]])
    assert avoid[0] in CROWD
    assert sorted(avoid[1:]) == sorted(VARIED)


def test_of_two_crowds_each_is_named() -> None:
    other = ["Kdaj odprete v soboto?", "Kdaj odprete v nedeljo?", "Kdaj odprete v petek?"]
    avoid = avoided([*VARIED, *CROWD, *other])
    assert {avoid[0] in CROWD, avoid[1] in CROWD} == {True, False}
    assert {avoid[0] in other, avoid[1] in other} == {True, False}


def test_a_few_close_texts_are_a_denser_crowd_than_many_with_a_little_in_common() -> None:
    loose = ["prosim " + "".join(chr(0x4E00 + 12 * i + j) for j in range(12)) for i in range(30)]
    assert avoided([*loose, *CROWD])[0] in CROWD


def test_no_more_is_avoided_than_fits_and_the_newest_are_among_it() -> None:
    words = ["aaaaaa", "bbbbbb", "cccccc", "dddddd", "eeeeee", "ffffff", "gggggg", "hhhhhh", "iiiiii", "jjjjjj"]
    avoid = avoided(words)
    assert len(avoid) == AVOID
    assert avoid[-3:] == ("jjjjjj", "iiiiii", "hhhhhh")


def test_only_recent_texts_are_compared() -> None:
    avoid = avoided([*CROWD, *(chr(0x4E00 + i) * 6 for i in range(WINDOW))])
    assert not set(avoid) & set(CROWD)


def test_what_is_avoided_is_the_same_after_a_run_and_after_a_resume() -> None:
    texts = [f"{CROWD[i % 3]} {VARIED[i % 5]} {i * i}" for i in range(3 * WINDOW)]
    running = strategy("diverse")
    for number in range(0, 60, 7):
        accepted = texts[: number * 10]
        assert running.guide(BOOK, number, accepted) == strategy("diverse").guide(BOOK, number, accepted)
    for accepted in (texts[:30], texts[30:70]):
        assert running.guide(BOOK, 3, accepted) == strategy("diverse").guide(BOOK, 3, accepted)


@pytest.mark.parametrize("accepted", [[], [""], ["?", "?"], ["ok", "ok", "ok"]])
def test_few_or_odd_texts_do_no_harm(accepted: list[str]) -> None:
    assert avoided(accepted) == tuple(dict.fromkeys(accepted))
