"""Says what a run will ask and cost before anything is sent; the numbers of tokens are estimates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from rich.box import SIMPLE
from rich.table import Table

from polydistill.files import read_json, require_input
from polydistill.generate import open_plan
from polydistill.generate.quota import RequestPlan
from polydistill.params import BudgetParams, GenerateParams
from polydistill.records import Record, read_records
from polydistill.task import Label, Task
from polydistill.teachers import ChatRequest

# Tokens of multilingual models: about four bytes of English each, fewer of most other languages.
_BYTES_PER_TOKEN = 3.0
_TEMPLATE_TOKENS = 20
# What JSON puts around a text, and what a verdict takes that accepts.
_TOKENS_AROUND_TEXT = 4
_TOKENS_PER_VERDICT = 45


@dataclass(frozen=True)
class Estimate:
    """What the requests of one purpose will take; `requests` if all texts are usable, `most` at the bound.

    Tokens, cost (None without prices) and seconds (None without a rate) are those of `requests`.
    """

    purpose: str
    requests: int
    most: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float | None


def estimate_generate(prepared: Path, params: GenerateParams, budget: BudgetParams) -> list[Estimate]:
    """Return an estimate for each purpose of `generate` in a cell; nothing is sent, and no teacher is needed."""
    facts = read_json(require_input(prepared / "prepare.json", "prepare"))
    task = Task.model_validate(facts["task"])
    seeds = read_records(prepared / "seeds.parquet")
    plan = open_plan(task, facts["language"], seeds, params, structured=True)
    prompt = text = judged = 0.0
    for label in task.labels:
        of_label = [tokens(seed.text) for seed in seeds if seed.label == label.name]
        text_tokens = mean(of_label) if of_label else 20.0
        text += (text_tokens + _TOKENS_AROUND_TEXT) * plan.per_request
        # Until texts are accepted a request names none to avoid, so these are the shortest prompts there will be.
        prompt += request_tokens(plan.generation(label, 0, []))
        judged += request_tokens(plan.revision(label, 0, _stand_ins(label, seeds, plan)))
    rows = [_estimate("generate", plan, prompt, text, budget)]
    if params.self_revision:
        verdicts = float(_TOKENS_PER_VERDICT * plan.per_request * len(task.labels))
        rows.append(_estimate("revise", plan, judged, verdicts, budget))
    return rows


def tokens(text: str) -> float:
    """Return about how many tokens a text has."""
    return len(text.encode(errors="replace")) / _BYTES_PER_TOKEN


def request_tokens(request: ChatRequest) -> float:
    """Return about how many prompt tokens a request has."""
    return tokens(request.content) + _TEMPLATE_TOKENS


def _stand_ins(label: Label, seeds: Sequence[Record], plan: RequestPlan) -> list[str]:
    """Return seeds in the place of the texts that are to be written: they are about as long."""
    texts = [seed.text for seed in seeds if seed.label == label.name] or [label.description]
    return [texts[i % len(texts)] for i in range(plan.per_request)]


def _estimate(
    purpose: str, plan: RequestPlan, prompt_round: float, completion_round: float, budget: BudgetParams
) -> Estimate:
    """Scale what one request a label takes to all requests."""
    prompt, completion = math.ceil(prompt_round * plan.fewest), math.ceil(completion_round * plan.fewest)
    return Estimate(
        purpose,
        plan.fewest * len(plan.task.labels),
        plan.most * len(plan.task.labels),
        prompt,
        completion,
        budget.cost_of(prompt, completion),
        completion / budget.tokens_per_s if budget.tokens_per_s else None,
    )


def estimate_table(cells: Mapping[str, Sequence[Estimate]]) -> Table:
    """Return the estimates of cells, by their names, as a table for a terminal, with the sum beneath."""
    rows = [row for of_cell in cells.values() for row in of_cell]
    numbers = ("requests", "most", "prompt_tokens", "completion_tokens")
    sums = [sum(getattr(row, name) for row in rows) for name in numbers]
    caption = "tokens are estimates; `at most` counts the topping up that is allowed"
    table = Table(caption=caption, caption_justify="left", show_footer=True, box=SIMPLE, pad_edge=False)
    table.add_column("cell", footer="all", no_wrap=True)
    table.add_column("purpose")
    for header, total in zip(("requests", "at most", "prompt tokens", "reply tokens"), sums, strict=True):
        table.add_column(header, justify="right", min_width=max(map(len, header.split())), footer=f"{total:,}")
    table.add_column("cost", justify="right", footer=_cost(_sum([row.cost for row in rows])))
    table.add_column("time", justify="right", footer=_time(_sum([row.seconds for row in rows])))
    for cell, of_cell in cells.items():
        for row in of_cell:
            counts = [f"{getattr(row, name):,}" for name in numbers]
            table.add_row(cell, row.purpose, *counts, _cost(row.cost), _time(row.seconds))
    return table


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _cost(cost: float | None) -> str:
    return "–" if cost is None else f"{cost:,.2f}" if cost >= 0.01 else f"{cost:.4f}"


def _time(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 60:,.1f} min"
