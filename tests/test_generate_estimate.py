"""The plan of a run before anything is sent, on numbers that can be worked out by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from build import build_prepared
from chat_server import chat_server
from polydistill.errors import DataError
from polydistill.generate import run_generate
from polydistill.generate.estimate import Estimate, estimate_generate, estimate_table, tokens
from polydistill.params import Params, check
from spaces import settings

# 30, 60 and 90 bytes, which are 10, 20 and 30 tokens.
SEEDS = {"book": ["a" * 30, "a" * 60], "hours": ["a" * 90]}


def estimate(prepared: Path, **changes: Any) -> list[Estimate]:
    params = check(Params, settings(**changes), "test")
    return estimate_generate(prepared, params.generate, params.budget)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    return build_prepared(tmp_path / "prepared", SEEDS)


def test_requests_follow_from_the_quota(prepared: Path) -> None:
    size = {"generate__texts_per_label": 50, "generate__texts_per_request": 10, "generate__top_up": 0.5}
    generate, revise = estimate(prepared, **size)
    assert (generate.purpose, generate.requests, generate.most) == ("generate", 10, 16)  # 5 a label, 8 at most
    assert (revise.purpose, revise.requests, revise.most) == ("revise", 10, 16)
    assert [row.purpose for row in estimate(prepared, generate__self_revision=False)] == ["generate"]


def test_tokens_follow_from_the_lengths_of_prompts_and_seeds(prepared: Path) -> None:
    size = {"generate__texts_per_label": 6, "generate__texts_per_request": 2}
    generate, revise = estimate(prepared, **size)
    # Three requests a label for 2 texts; a text is as long as the label's seeds (15 and 30 tokens), with 4 around it.
    assert generate.completion_tokens == 3 * 2 * (15 + 4) + 3 * 2 * (30 + 4)
    assert revise.completion_tokens == 6 * 2 * 45
    longer = build_prepared(prepared.parent / "longer", {"book": ["a" * 330, "a" * 360], "hours": ["a" * 390]})
    with_longer, judged_longer = estimate(longer, **size)
    # Each prompt for texts shows all seeds of the label, each prompt for verdicts two texts of their lengths.
    assert with_longer.prompt_tokens - generate.prompt_tokens == pytest.approx(3 * (100 + 100) + 3 * 100, abs=1)
    assert judged_longer.prompt_tokens - revise.prompt_tokens == pytest.approx(3 * (100 + 100) + 3 * (100 + 100), abs=1)


@pytest.mark.parametrize(("text", "count"), [("", 0), ("abc", 1), ("čšž", 2), ("ไทย", 3), ("\ud800", 1 / 3)])
def test_a_token_is_three_bytes(text: str, count: float) -> None:
    assert tokens(text) == pytest.approx(count)


def test_cost_and_time_are_there_where_prices_and_a_rate_are(prepared: Path) -> None:
    generate, revise = estimate(prepared)
    assert [generate.cost, generate.seconds, revise.cost, revise.seconds] == [None] * 4
    known = {"budget__prompt_price": 2, "budget__completion_price": 8, "budget__tokens_per_s": 10}
    for row in estimate(prepared, **known):
        assert row.cost == pytest.approx((2 * row.prompt_tokens + 8 * row.completion_tokens) / 1_000_000)
        assert row.seconds == pytest.approx(row.completion_tokens / 10)


def test_the_estimate_is_near_what_a_run_sends(prepared: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        changes = {"teacher__kind": "openai", "teacher__url": server.url, "generate__self_revision": False}
        params = check(Params, settings(**changes), "test")
        (row,) = estimate_generate(prepared, params.generate, params.budget)
        assert server.count() == 0
        sections = (params.generate, params.filter, params.teacher, params.budget)
        run_generate(prepared, Path("none"), tmp_path / "generated", *sections)
        prompts = [body["messages"][0]["content"] for body in server.chats()[1:]]
    assert row.requests == len(prompts) == 4
    assert row.prompt_tokens == math.ceil(sum(len(prompt.encode()) / 3 + 20 for prompt in prompts))


def test_the_table_sums_the_cells() -> None:
    rows = [
        Estimate("generate", 10, 16, 1000, 2000, 1.25, 60.0),
        Estimate("revise", 10, 16, 3000, 500, 0.5, 30.0),
    ]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(estimate_table({"demo/sl": rows, "demo/az": rows[:1]}))
    lines = shown.get().splitlines()
    assert "all 30 48 5,000 4,500 3.00 2.5 min" in [" ".join(line.split()) for line in lines]


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    rows = [Estimate("generate", 1, 1, 1, 1, 1.0, None), Estimate("revise", 1, 1, 1, 1, None, 1.0)]
    table = estimate_table({"demo/sl": rows})
    assert [column.footer for column in table.columns[-2:]] == ["–", "–"]


def test_a_strategy_that_lacks_its_facets_says_so_beforehand(prepared: Path) -> None:
    with pytest.raises(DataError, match="has no facets, which generate.strategy `diverse` combines; run `polydistill"):
        estimate(prepared, generate__strategy="diverse")
