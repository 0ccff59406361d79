"""Decides what to ask next, until each label has its usable texts or no further request is allowed.

Nothing here depends on the order in which replies come: a label's requests are settled in the order of their numbers,
and what is asked depends on what is settled alone. So an interrupted run goes on to the same texts.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polydistill.generate.rules import Rules
from polydistill.near import NearIndex
from polydistill.params import GenerateParams
from polydistill.prompts import Purpose, render
from polydistill.replies import NOTED, TEXTS_SCHEMA, VERDICTS_SCHEMA, Verdict, read_texts, read_verdicts
from polydistill.strategies import Strategy
from polydistill.task import Label, Task, language_name
from polydistill.teachers import ChatRequest, Failure, Outcome
from polydistill.text import fold


@dataclass(frozen=True)
class RequestPlan:
    """What the requests of a cell say, and how many there may be."""

    task: Task
    language: str
    strategy: Strategy
    params: GenerateParams
    structured: bool
    """Whether replies are asked for in JSON; else as plain lines."""

    @property
    def per_request(self) -> int:
        """Texts to ask for in one request."""
        return self.params.texts_per_request

    @property
    def fewest(self) -> int:
        """Requests a label where every text is usable."""
        return math.ceil(self.params.texts_per_label / self.per_request)

    @property
    def most(self) -> int:
        """Requests a label with all the topping up that is allowed."""
        return math.ceil(self.fewest * (1 + self.params.top_up) - 1e-9)

    def generation(self, label: Label, number: int, accepted: Sequence[str]) -> ChatRequest:
        """Return a label's request of that number; `accepted` as `Strategy.guide` wants it."""
        guidance = self.strategy.guide(label, number, accepted)
        content = self._render(
            "generate",
            label,
            seeds=[seed.text for seed in guidance.seeds],
            count=self.per_request,
            attributes=guidance.attributes[: self.per_request],
            avoid=guidance.avoid,
        )
        about: dict[str, Any] = {"seeds": [seed.id for seed in guidance.seeds]}
        if guidance.attributes:
            about["attributes"] = guidance.attributes[: self.per_request]
        if guidance.avoid:
            about["avoid"] = guidance.avoid
        return ChatRequest(
            id=f"generate/{label.name}/{number}",
            purpose="generate",
            content=content,
            temperature=self.params.temperature,
            seed=self.params.seed + number,
            schema=TEXTS_SCHEMA if self.structured else None,
            count=self.per_request,
            about=about,
        )

    def revision(self, label: Label, number: int, texts: Sequence[str]) -> ChatRequest:
        """Return the request for verdicts on the texts of a reply."""
        return ChatRequest(
            id=f"revise/{label.name}/{number}",
            purpose="revise",
            content=self._render("revise", label, texts=texts),
            temperature=0.0,
            seed=self.params.seed,
            schema=VERDICTS_SCHEMA if self.structured else None,
            count=len(texts),
        )

    def shape(self, purpose: Purpose, count: int) -> ChatRequest:
        """Return a request that says nothing, but whose reply is to be read like that of `purpose`."""
        schema = {"generate": TEXTS_SCHEMA, "revise": VERDICTS_SCHEMA}[purpose] if self.structured else None
        return ChatRequest("", purpose, "", 0.0, 0, schema, count)

    def _render(self, purpose: Purpose, label: Label, **values: Any) -> str:
        return render(
            purpose,
            task=self.task,
            language=self.language,
            language_name=language_name(self.language),
            structured=self.structured,
            label=label,
            **values,
        )


@dataclass
class Part:
    """What came of one request for texts: `verdicts` is None until they are there, or for ever without a judge."""

    texts: list[str]
    digest: str
    verdicts: list[Verdict] | None = None
    verdicts_digest: str | None = None
    unreadable: str | None = None
    """Why there are no texts, where there are none."""


@dataclass
class Judging:
    """What the judge said, and how often it contradicts the rules."""

    verdicts: Counter[str] = field(default_factory=Counter)
    accepts_what_rules_reject: Counter[str] = field(default_factory=Counter)
    faults_language_that_rules_accept: int = 0

    def add(self, verdict: Verdict, rule: str | None) -> None:
        """Count a verdict on a text in which the rules found `rule` at fault, None for nothing."""
        self.verdicts[verdict.decision or "none"] += 1
        if verdict.decision == "accept" and rule is not None:
            self.accepts_what_rules_reject[rule] += 1
        if "language" in verdict.faulted and rule != "wrong_language":
            self.faults_language_that_rules_accept += 1


class LabelQuota:
    """One label on its way to its usable texts."""

    def __init__(self, label: Label, plan: RequestPlan, rules: Rules) -> None:
        self.label, self.plan, self.rules = label, plan, rules
        self.issued = self.settled = 0  # requests for texts: sent, and done with in the order of their numbers
        self.parts: dict[int, Part] = {}  # of requests that are not settled
        self.accepted: list[str] = []
        self.unreadable: Counter[str] = Counter()  # why replies hold no text
        self.unusable: Counter[str] = Counter()  # why texts are not accepted
        self.not_in_reply = 0  # texts that replies with some texts lack
        self.digests: list[tuple[str, str | None]] = []  # of each settled request, and of the one for its verdicts
        self._accepted_after: list[int] = []
        self._folded: set[str] = set()
        self._near = NearIndex(rules.nearness)

    @property
    def missing(self) -> int:
        """Usable texts that are wanted still."""
        return max(0, self.plan.params.texts_per_label - len(self.accepted))

    @property
    def lost(self) -> Counter[str]:
        """Why requests and texts came to nothing, the most frequent reasons first."""
        not_in_reply = Counter({"not_in_reply": self.not_in_reply})
        return Counter(dict((self.unreadable + self.unusable + not_in_reply).most_common()))

    @property
    def wanted(self) -> int:
        """How many requests there must be in all, as far as what is settled tells."""
        return min(self.plan.most, self.settled + math.ceil(self.missing / self.plan.per_request))

    def next(self) -> ChatRequest | None:
        """Return the next request for texts that can be sent now."""
        number, ahead = self.issued, self.plan.strategy.ahead
        if number >= self.wanted:
            return None
        seen = 0 if ahead is None else max(0, number - ahead + 1)
        if seen > self.settled:
            return None
        known = self.accepted[: self._accepted_after[seen - 1]] if seen else []
        self.issued += 1
        return self.plan.generation(self.label, number, known)

    def settle(self, judging: Judging) -> None:
        """Count in all parts whose turn it is."""
        judged = self.plan.params.self_revision
        while (part := self.parts.get(self.settled)) and (part.unreadable or part.verdicts is not None or not judged):
            del self.parts[self.settled]
            if part.unreadable:
                self.unreadable[part.unreadable] += 1
            else:
                self.not_in_reply += self.plan.per_request - len(part.texts)
            for position, text in enumerate(part.texts):
                verdict = part.verdicts[position] if part.verdicts is not None else None
                self._count(text, verdict, judging)
            self.digests.append((part.digest, part.verdicts_digest))
            self.settled += 1
            self._accepted_after.append(len(self.accepted))

    def _count(self, text: str, verdict: Verdict | None, judging: Judging) -> None:
        fault = self.rules.first_fault(text)
        if verdict is not None:
            judging.add(verdict, fault)
            if verdict.repaired:
                text = verdict.repaired
                fault = self.rules.first_fault(text)
        reason = fault or self._reason(text, verdict)
        if reason is not None:
            self.unusable[reason] += 1
            return
        self.accepted.append(text)
        self._folded.add(fold(text))
        self._near.add(text)

    def _reason(self, text: str, verdict: Verdict | None) -> str | None:
        """Return why a text that is fine by itself is not usable, in the words of `filter`."""
        wanted = self.rules.reasons
        if "no_verdict" in wanted and verdict is not None and verdict.decision is None:
            return "no_verdict"
        if "judge_rejected" in wanted and verdict is not None and verdict.decision == "reject":
            return "judge_rejected"
        if "exact_duplicate" in wanted and fold(text) in self._folded:
            return "exact_duplicate"
        return "near_duplicate" if "near_duplicate" in wanted and self._near.most_similar(text) else None


class Quota:
    """The requests of a cell, as a source for `teachers.ask`: verdicts first, then texts of all labels in turn.

    Attributes:
        labels: How each label stands.
        judging: What the judge said so far.
    """

    def __init__(
        self,
        plan: RequestPlan,
        rules: Rules,
        digest: Callable[[ChatRequest], str],
    ) -> None:
        """Begin with nothing asked.

        Args:
            plan: What the requests say.
            rules: What makes a text unusable.
            digest: Tells under which digest the journal keeps the reply to a request.
        """
        self.plan, self.digest = plan, digest
        self.labels = {label.name: LabelQuota(label, plan, rules) for label in plan.task.labels}
        self.judging = Judging()
        self._revisions: deque[ChatRequest] = deque()
        self._turns = deque(self.labels.values())

    @property
    def total(self) -> int:
        """How many requests there will be, as far as what is settled tells."""
        per_part = 2 if self.plan.params.self_revision else 1
        return per_part * sum(label.wanted for label in self.labels.values())

    def next(self) -> ChatRequest | None:
        """Return the next request that can be sent now."""
        if self._revisions:
            return self._revisions.popleft()
        for _ in range(len(self._turns)):
            label = self._turns[0]
            self._turns.rotate(-1)
            if request := label.next():
                return request
        return None

    def stands(self, request: ChatRequest, latest: Mapping[str, int]) -> bool:
        """Say whether what came of a request must stay as it is, since prompts that were answered depend on it.

        Args:
            request: The request.
            latest: The highest number that was answered in each series of requests, as the journal has it.
        """
        ahead = self.plan.strategy.ahead
        name, number = label_and_number(request.id)
        return ahead is not None and latest.get(f"generate/{name}", -1) >= number + ahead

    def take(self, request: ChatRequest, outcome: Outcome) -> None:
        """Read what came of a request, and settle what can be."""
        name, number = label_and_number(request.id)
        label = self.labels[name]
        if request.purpose == "generate":
            part = label.parts[number] = _read_part(request, outcome, self.digest(request))
            if part.texts and self.plan.params.self_revision:
                self._revisions.append(self.plan.revision(label.label, number, part.texts))
        else:
            part = label.parts[number]
            part.verdicts, part.verdicts_digest = verdicts_of(request, outcome), self.digest(request)
        label.settle(self.judging)


def _read_part(request: ChatRequest, outcome: Outcome, digest: str) -> Part:
    if isinstance(outcome, Failure):
        return Part([], digest, unreadable="request_failed")
    read = read_texts(request, outcome)
    if read.texts:
        return Part(read.texts, digest)
    return Part([], digest, unreadable=next((fault for fault in read.faults if fault not in NOTED), "empty"))


def verdicts_of(request: ChatRequest, outcome: Outcome) -> list[Verdict]:
    """Return a verdict on each text of a request for verdicts; without a reply there is none, and none is accepted."""
    if isinstance(outcome, Failure):
        return [Verdict(None, None, (), outcome.cause)] * request.count
    return read_verdicts(request, outcome).verdicts


def label_and_number(id: str) -> tuple[str, int]:
    """Take a request's id apart; the label may hold slashes itself."""
    label, _, number = id.partition("/")[2].rpartition("/")
    return label, int(number)
