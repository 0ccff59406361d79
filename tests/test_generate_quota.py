"""The quota alone: what it asks next and what it counts, with a teacher made of a function."""

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chat_server import ENGLISH, sentence
from polydistill.checks import Context
from polydistill.generate import open_plan
from polydistill.generate.quota import Quota, label_and_number
from polydistill.generate.rules import Rules
from polydistill.params import GenerateParams, check
from polydistill.records import Record, Source
from polydistill.task import Task
from polydistill.teachers import ChatRequest, Failure, Outcome, Reply
from spaces import FACETS, SEEDS, TASK, filter_params, settings

SEED_RECORDS = [Record(text, label, "sl", "seed", Source()) for label in SEEDS for text in SEEDS[label]]
YES = {"language": True, "label": True, "natural": True, "decision": "accept", "text": "", "reason": ""}
NO = {**YES, "label": False, "decision": "reject", "reason": "of another label"}

Answer = Callable[[ChatRequest], Outcome]


def open_quota(**changes: Any) -> Quota:
    params = check(GenerateParams, settings()["generate"] | {"self_revision": False} | changes, "test")
    rules = Rules.open(filter_params(), Context("sl", ["sl"], [seed.text for seed in SEED_RECORDS]))
    plan = open_plan(Task.model_validate(TASK | {"facets": FACETS}), "sl", SEED_RECORDS, params, structured=True)
    return Quota(plan, rules, lambda request: request.digest("tape", ""))


def run(quota: Quota, answer: Answer, *, seed: int | None = None) -> list[ChatRequest]:
    """Ask all there is, some at once; with a seed, replies come in a random order. Return what was asked."""
    chance = random.Random(seed)
    asked: list[ChatRequest] = []
    under_way: list[ChatRequest] = []
    while True:
        most = 6 if seed is None else chance.randint(1, 12)
        while len(under_way) < most and (request := quota.next()):
            asked.append(request)
            under_way.append(request)
        if not under_way:
            return asked
        request = under_way.pop(0 if seed is None else chance.randrange(len(under_way)))
        quota.take(request, answer(request))


def texts_reply(texts: Sequence[str]) -> Reply:
    return Reply(json.dumps({"texts": list(texts)}, ensure_ascii=False), "stop")


def verdicts_reply(verdicts: Sequence[dict[str, Any]]) -> Reply:
    numbered = [{"number": number, **verdict} for number, verdict in enumerate(verdicts, start=1)]
    return Reply(json.dumps({"verdicts": numbered}, ensure_ascii=False), "stop")


def first_text(request: ChatRequest) -> int:
    """Return the number of a sentence from which on no other request takes any."""
    label, number = label_and_number(request.id)
    return 10_000 * list(SEEDS).index(label) + 100 * number


def good(request: ChatRequest) -> Outcome:
    if request.purpose == "revise":
        return verdicts_reply([YES] * request.count)
    first = first_text(request)
    return texts_reply([sentence(first + place) for place in range(request.count)])


def hostile(request: ChatRequest) -> Outcome:
    """Answer badly more often than well, the same to the same request."""
    chance, first = random.Random(request.id), first_text(request)
    if chance.random() < 0.15:
        return chance.choice([Failure("HTTP 500"), Reply("sorry"), Reply("{", "length"), Reply("", fault="refusal")])
    if request.purpose == "revise":
        repair = {**YES, "natural": False, "decision": "repair", "text": sentence(50_000 + first)}
        said = [YES, YES, YES, NO, repair, {**YES, "language": False}]
        return verdicts_reply([chance.choice(said) for _ in range(request.count)])
    texts = [sentence(first + place) for place in range(request.count)]
    bad = ["Da.", " ".join(slot.split("/")[0] for slot in ENGLISH), sentence(7), sentence(7).upper(), SEEDS["book"][0]]
    return texts_reply([chance.choice([text, text, chance.choice(bad)]) for text in texts[: chance.randint(1, 9)]])


def outcome_of(quota: Quota) -> Any:
    of_labels = [
        (label.accepted, label.digests, label.unusable, label.unreadable, label.lost, label.issued, label.settled)
        for label in quota.labels.values()
    ]
    judging = quota.judging
    return (
        of_labels,
        judging.verdicts,
        judging.accepts_what_rules_reject,
        judging.faults_language_that_rules_accept,
    )


@pytest.mark.parametrize("strategy", ["plain", "diverse"])
@pytest.mark.parametrize("self_revision", [False, True])
def test_flawless_replies_take_no_request_too_many(strategy: str, self_revision: bool) -> None:
    quota = open_quota(
        strategy=strategy, self_revision=self_revision, texts_per_label=60, texts_per_request=10, top_up=3
    )
    asked = Counter(request.purpose for request in run(quota, good, seed=1))
    assert asked == ({"generate": 12, "revise": 12} if self_revision else {"generate": 12})
    assert [len(label.accepted) for label in quota.labels.values()] == [60, 60]
    assert not any(label.missing or label.lost for label in quota.labels.values())
    assert quota.total == sum(asked.values())


def test_what_the_checks_remove_is_topped_up() -> None:
    def half_bad(request: ChatRequest) -> Outcome:
        first = first_text(request)
        return texts_reply([sentence(first + n) if n % 2 else "Da." for n in range(request.count)])

    quota = open_quota(texts_per_label=40, texts_per_request=10, top_up=3)
    asked = run(quota, half_bad)
    assert {name: len(label.accepted) for name, label in quota.labels.items()} == {"book": 40, "hours": 40}
    assert len(asked) == 16
    assert {name: label.unusable for name, label in quota.labels.items()} == {
        "book": {"too_short": 40},
        "hours": {"too_short": 40},
    }


@pytest.mark.parametrize(
    ("texts_per_label", "texts_per_request", "top_up", "most"),
    [
        pytest.param(50, 10, 0, 5, id="none"),
        pytest.param(50, 10, 0.2, 6, id="a fifth"),
        pytest.param(50, 10, 0.1, 6, id="a part of a request is one"),
        pytest.param(500, 10, 0.1, 55, id="no float makes it one more"),
        pytest.param(30, 10, 2, 9, id="three times as many"),
        pytest.param(5, 10, 0, 1, id="fewer wanted than a request gives"),
        pytest.param(11, 10, 0, 2, id="one more"),
    ],
)
@pytest.mark.parametrize("strategy", ["plain", "diverse"])
def test_the_bound_holds(strategy: str, texts_per_label: int, texts_per_request: int, top_up: float, most: int) -> None:
    quota = open_quota(
        strategy=strategy, texts_per_label=texts_per_label, texts_per_request=texts_per_request, top_up=top_up
    )
    asked = run(quota, lambda request: Reply("no idea", "stop"), seed=3)
    assert Counter(label_and_number(request.id)[0] for request in asked) == {"book": most, "hours": most}
    label = quota.labels["book"]
    assert (label.missing, label.lost) == (texts_per_label, {"no_json": most})


def test_a_small_try_asks_what_the_large_run_begins_with() -> None:
    tried = run(open_quota(texts_per_label=5, texts_per_request=10), good)
    assert [request.count for request in tried] == [10, 10]
    assert set(map(str, tried)) < set(map(str, run(open_quota(texts_per_label=20, texts_per_request=10), good)))


def test_a_shortfall_has_its_reasons() -> None:
    replies = {
        0: texts_reply(["Da.", sentence(1), sentence(2), sentence(2)]),
        1: texts_reply([sentence(3)]),
        2: Failure("HTTP 500"),
        3: Reply("", fault="refusal"),
        4: texts_reply([SEEDS["hours"][0], "", sentence(1).upper(), sentence(4)]),
    }
    quota = open_quota(texts_per_label=10, texts_per_request=4, top_up=0.5)
    run(quota, lambda request: replies[label_and_number(request.id)[1]])
    label = quota.labels["book"]
    assert label.accepted == [sentence(n) for n in (1, 2, 3, 4)]
    assert label.missing == 6
    assert label.lost == {
        "not_in_reply": 4,  # three in the second reply, and the empty one in the last
        "exact_duplicate": 2,
        "too_short": 1,
        "copied_seed": 1,
        "request_failed": 1,
        "refusal": 1,
    }
    assert next(iter(label.lost)) == "not_in_reply"


@pytest.mark.parametrize("self_revision", [False, True])
@pytest.mark.parametrize("strategy", ["plain", "diverse"])
def test_nothing_depends_on_the_order_in_which_replies_come(strategy: str, self_revision: bool) -> None:
    changes = {"strategy": strategy, "self_revision": self_revision, "top_up": 1.5}
    quotas = [open_quota(texts_per_label=30, texts_per_request=5, **changes) for _ in range(20)]
    asked = [run(quota, hostile, seed=seed or None) for seed, quota in enumerate(quotas)]
    assert len({tuple(request.id for request in requests) for requests in asked}) > 1
    by_id = [sorted(requests, key=lambda request: request.id) for requests in asked]
    assert all(requests == by_id[0] for requests in by_id)
    assert all(outcome_of(quota) == outcome_of(quotas[0]) for quota in quotas)
    assert 0 < len(quotas[0].labels["book"].accepted) < 40


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strategy", ["plain", "diverse"])
def test_no_request_is_sent_that_is_not_needed(strategy: str, seed: int) -> None:
    quota = open_quota(strategy=strategy, texts_per_label=20, texts_per_request=4, top_up=4)
    run(quota, hostile, seed=seed)
    for label in quota.labels.values():
        assert label.settled == label.issued == label.wanted
        # Without the last reply there would have been texts missing.
        assert label.missing == 0 or label.issued == quota.plan.most
        assert len(label.accepted) < 20 + 4


def test_a_request_that_failed_counts_as_an_empty_one() -> None:
    quotas = [open_quota(texts_per_label=4, texts_per_request=2, top_up=1) for _ in range(2)]
    for quota, nothing in zip(quotas, (Failure("HTTP 500", refused=True), Reply("")), strict=True):
        run(quota, lambda request, nothing=nothing: nothing if request.id.endswith("/0") else good(request))
    assert [list(quota.labels["book"].lost) for quota in quotas] == [["request_failed"], ["empty"]]
    assert quotas[0].labels["book"].accepted == quotas[1].labels["book"].accepted
    assert [quota.labels["book"].missing for quota in quotas] == [0, 0]


def test_without_verdicts_no_text_is_accepted() -> None:
    def silent_judge(request: ChatRequest) -> Outcome:
        return good(request) if request.purpose == "generate" else Failure("HTTP 500")

    quota = open_quota(self_revision=True, texts_per_label=4, texts_per_request=2, top_up=1)
    asked = run(quota, silent_judge)
    assert Counter(request.purpose for request in asked) == {"generate": 8, "revise": 8}
    assert quota.labels["book"].unusable == {"no_verdict": 8}
    assert quota.judging.verdicts == {"none": 16}


def test_a_repaired_text_passes_the_rules_again() -> None:
    repaired = iter(["Da.", SEEDS["book"][0], sentence(1), sentence(2), sentence(2), "Dober dan, pošljite mi račun."])

    def answer(request: ChatRequest) -> Outcome:
        if request.purpose == "generate":
            return good(request) if "/book/" in request.id else Failure("not of interest")
        repair = {**YES, "natural": False, "decision": "repair"}
        return verdicts_reply([{**repair, "text": next(repaired)} for _ in range(request.count)])

    quota = open_quota(self_revision=True, texts_per_label=6, texts_per_request=6)
    run(quota, answer)
    label = quota.labels["book"]
    assert label.accepted == [sentence(1), sentence(2), "Dober dan, pošljite mi račun."]
    assert label.unusable == {"too_short": 1, "copied_seed": 1, "exact_duplicate": 1}
    assert quota.judging.verdicts == {"repair": 6}


def test_how_the_judge_contradicts_the_rules_is_counted() -> None:
    english = [" ".join(slot.split("/")[i] for slot in ENGLISH) for i in range(2)]
    texts = ["Da.", english[0], sentence(1), sentence(2), english[1]]
    foreign = {**YES, "language": False, "decision": "reject", "reason": "English"}

    def answer(request: ChatRequest) -> Outcome:
        if request.purpose == "generate":
            return texts_reply(texts) if "/book/" in request.id else Failure("not of interest")
        return verdicts_reply([YES, YES, foreign, YES, foreign])

    quota = open_quota(self_revision=True, texts_per_label=5, texts_per_request=5)
    run(quota, answer)
    assert quota.judging.verdicts == {"accept": 3, "reject": 2}
    assert quota.judging.accepts_what_rules_reject == {"too_short": 1, "wrong_language": 1}
    assert quota.judging.faults_language_that_rules_accept == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_diverse_strategy_sees_exactly_the_texts_of_the_requests_that_are_settled(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = open_quota(strategy="diverse", texts_per_label=20, texts_per_request=2, top_up=1)
    seen: dict[tuple[str, int], list[str]] = {}
    guide, ahead = quota.plan.strategy.guide, quota.plan.strategy.ahead
    assert ahead is not None

    def spy(label: Any, number: int, accepted: Sequence[str]) -> Any:
        seen[label.name, number] = list(accepted)
        return guide(label, number, accepted)

    monkeypatch.setattr(quota.plan.strategy, "guide", spy)
    run(quota, good, seed=seed)
    for (name, number), accepted in seen.items():
        written = [good(ChatRequest(f"generate/{name}/{n}", "generate", "", 0, 0, {}, 2)) for n in range(number)]
        texts = [text for reply in written for text in json.loads(getattr(reply, "text", ""))["texts"]]
        assert accepted == texts[: 2 * max(0, number - ahead + 1)]
    assert len(seen) == 20


def test_verdicts_are_asked_for_before_more_texts_are() -> None:
    quota = open_quota(self_revision=True, texts_per_label=40, texts_per_request=2)
    first = quota.next()
    assert first is not None
    quota.take(first, good(first))
    following = [quota.next(), quota.next()]
    assert [request.id for request in following if request] == ["revise/book/0", "generate/hours/0"]


def test_labels_take_turns() -> None:
    quota = open_quota(texts_per_label=6, texts_per_request=2)
    asked = run(quota, good)
    assert [request.id for request in asked] == [f"generate/{label}/{n}" for n in range(3) for label in SEEDS]


def test_a_request_tells_its_seeds_and_is_the_same_in_every_run() -> None:
    quota = open_quota(texts_per_label=20, texts_per_request=2, seeds_per_request=1)
    asked = [request for request in run(quota, good) if "/book/" in request.id]
    by_id = {record.id: record.text for record in SEED_RECORDS}
    for request in asked:
        assert request.about is not None
        (seed,) = request.about["seeds"]
        assert f'- "{by_id[seed]}"' in request.content
    assert {request.about["seeds"][0] for request in asked if request.about} == {
        record.id for record in SEED_RECORDS if record.label == "book"
    }
    again = open_quota(texts_per_label=20, texts_per_request=2, seeds_per_request=1)
    assert [request for request in run(again, good) if "/book/" in request.id] == asked


def test_a_label_may_hold_slashes() -> None:
    assert label_and_number("revise/science/technology/4") == ("science/technology", 4)
