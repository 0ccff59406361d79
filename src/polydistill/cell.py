"""What there is to say of one cell (a task in one language): card.json, for the report and the model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polydistill.errors import DataError
from polydistill.files import read_json
from polydistill.params import TrainSource

Interval = tuple[float, float]
N = TypeVar("N", int, float)


class Facts(BaseModel):
    """A part of a card, never changed after reading; what a step's file says beyond it is left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TaskFacts(Facts):
    """The task, as task.yaml describes it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    instruction: str


class LabelFacts(Facts):
    """A label, and what became of the texts generated for it."""

    name: str
    description: str
    accepted: int
    rejected: int


class Counts(Facts):
    """How many texts there are; `human` may be 0."""

    seeds: int
    human: int
    test: int
    generated: int
    accepted: int
    rejected: int
    kept_leaks: int
    """Accepted texts that give the test set away, as params.yaml allows: no score can be trusted then."""


class ScoreIntervals(Facts):
    """The interval of each score, low then high."""

    accuracy: Interval
    macro_f1: Interval


class Group(Facts):
    """How many texts, replies or requests share a reason."""

    reason: str
    count: int


class Explained(Group):
    """The same, with what the reason means; nothing where its name says all."""

    meaning: str


class TeacherFacts(Facts):
    """The teacher: the `model` that wrote the texts, and the scores of the one that answered the test texts zero-shot.

    Without scores `note` says why.
    """

    kind: str
    model: str | None
    revision: str | None
    zero_shot_model: str | None
    accuracy: float | None
    macro_f1: float | None
    interval: ScoreIntervals | None
    abstained: int | None
    note: str


class FinalScores(Facts):
    """Scores on the test texts of the student trained on all `size` accepted texts."""

    size: int
    accuracy: float
    macro_f1: float
    interval: ScoreIntervals


class Spread(Facts):
    """A score over repeated runs."""

    mean: float
    std: float
    interval: Interval


class CurvePoint(Facts):
    """Accuracy over `runs` trainings on `size` texts of one source, and macro-F1 beside it."""

    source: TrainSource
    size: int
    runs: int
    mean: float
    std: float
    interval: Interval
    macro_f1: Spread


class Beside(Facts):
    """How much more accurate one side is than another on the same test texts; `p_value`: of there being no difference.

    A true difference of `detectable_gap` such a test set would show four times out of five; None: not even the largest.
    """

    difference: float
    interval: Interval
    p_value: float
    detectable_gap: float | None


class PairFacts(Beside):
    """Two final students beside each other; `difference` is the first less the second."""

    students: tuple[str, str]

    def seen_from(self, student: str) -> float:
        """Return how much more accurate this student of the two is than the other."""
        return self.difference if self.students[0] == student else -self.difference


class BreakEvenFacts(Facts):
    """From how many synthetic texts on a student is better than the teacher; `low` and `high` bound that size.

    `size` None: at no size that was tried; `high` None: perhaps beyond those; `low` None: surely beyond those.
    """

    size: int | None
    low: int | None
    high: int | None
    told: str


class StudentFacts(Facts):
    """Scores of a kind of student, and how it stands beside the teacher, where that has answered."""

    final: FinalScores
    against_teacher: Beside | None
    break_even: BreakEvenFacts | None
    curve: list[CurvePoint]
    restarted: int
    """Trainings that collapsed, and were begun again."""
    collapsed: int
    """Those of them that stayed so."""
    subset: str
    """How the texts of a point of the curve were chosen, as `train.subset` names it."""

    @property
    def overtakes_teacher_at(self) -> int | None:
        """From how many synthetic texts on its mean accuracy is above the teacher's."""
        return self.break_even.size if self.break_even else None


class Spent(Facts):
    """What asking the teacher took; None where it is not known.

    `seconds` are those of the requests added up, many of which run at once. Tokens and cost are those of the replies.
    """

    requests: int
    retries: int
    failed: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    seconds: float | None


class Asked(Spent):
    """What the requests of one purpose took: `failures` are the causes of the frequent failures."""

    purpose: str
    failures: list[Group]
    faults: list[Explained]
    """What is wrong with replies; not each of these makes a reply useless."""


class Shortfall(Facts):
    """A label with fewer usable texts than wanted, and what became of the rest."""

    label: str
    missing: int
    reasons: list[Explained]


class JudgeFacts(Facts):
    """What the teacher said of its own texts, and how often it contradicts the rules."""

    accept: int
    repair: int
    reject: int
    none: int
    """Texts without a readable verdict, which count as rejected."""
    accepts_what_rules_reject: list[Explained]
    faults_language_that_rules_accept: int

    @property
    def judged(self) -> int:
        """The texts that were put before the judge."""
        return self.accept + self.repair + self.reject + self.none

    def share(self, count: int) -> float | None:
        """Return what share of the judged texts these are."""
        return count / self.judged if self.judged else None


class GenerationFacts(Facts):
    """How texts were asked for, and what did not come of it; `wanted` and `usable` are texts of all labels."""

    strategy: str
    structured: bool
    """Whether replies were asked for in JSON; else as plain lines."""
    wanted: int
    usable: int
    unreadable: list[Explained]
    shortfall: list[Shortfall]
    judge: JudgeFacts | None


class Example(Facts):
    """A text that a check found; `detail` is what the check or the judge said of it."""

    text: str
    label: str
    detail: str


class Found(Explained):
    """The texts that one check rejected, or only marked."""

    examples: list[Example]


class Agreement(Facts):
    """How many texts two checks both found, and how many each of them; several checks may find a text."""

    checks: tuple[str, str]
    texts: int
    found: tuple[int, int]


class AgreementFacts(Facts):
    """How far the checks that look at each text by itself agree; those `alone` share no text with another."""

    pairs: list[Agreement]
    alone: list[Group]


class ChecksFacts(Facts):
    """Which checks the texts went through: neither is sure to, the first for want of a model of the language."""

    language: bool
    self_revision: bool


class MeasureIntervals(Facts):
    """The interval of a measure on each side and of the difference, None where there are too few texts."""

    synthetic: Interval | None
    human: Interval | None
    difference: Interval | None


class Measure(Facts):
    """A measure of diversity on both sides; `difference` is synthetic less human, `meaning` says how to read it."""

    synthetic: float | None
    human: float | None
    difference: float | None
    intervals: MeasureIntervals
    meaning: str

    @property
    def differs(self) -> bool:
        """Whether the sides differ by more than chance explains."""
        bounds = self.intervals.difference
        return bounds is not None and not bounds[0] <= 0 <= bounds[1]


class Apart(Facts):
    """How far the sides lie apart in one respect; `meaning` says how to read it."""

    value: float | None
    interval: Interval | None
    meaning: str


class LabelDiversity(Facts):
    """What is told of the diversity of one label, from `n` texts of each side."""

    n: int
    measures: dict[str, Measure]
    apart: dict[str, Apart]


class DriftTest(Facts):
    """Whether the sides differ in one thing: how far, `what` that is, and how often chance alone moves it as far."""

    question: str
    what: str
    effect: float
    interval: Interval | None
    limit: float
    p_value: float
    verdict: Literal["none", "small", "important"]


class DriftFacts(Facts):
    """All tests of drift, and one verdict over them; the `questions` are those that the tests belong to."""

    verdict: Literal["none", "small", "important"]
    significance: float
    tests: dict[str, DriftTest]
    questions: dict[str, str]


class Gate(Facts):
    """A value beside its limit; `passed` is None where it could not be measured."""

    action: Literal["off", "warn", "stop"]
    value: float | None
    limit: float
    bound: Literal["at least", "at most"]
    passed: bool | None
    meaning: str
    examples: list[Example]

    @property
    def outcome(self) -> Literal["stopped", "warned", "passed", "not measured", "off"]:
        """What came of it, in a word or two."""
        if self.action == "off":
            return "off"
        if self.passed is None:
            return "not measured"
        if self.passed:
            return "passed"
        return "stopped" if self.action == "stop" else "warned"

    @property
    def unjudged(self) -> bool:
        """Whether it is to stop the run, and could not be measured."""
        return self.action == "stop" and self.passed is None


class DiversityFacts(Facts):
    """Synthetic text beside `n` texts that people wrote: human texts, or the seeds where there are no others."""

    compared_with: Literal["human", "seed"]
    n: int
    measures: dict[str, Measure]
    apart: dict[str, Apart]
    labels: dict[str, LabelDiversity]
    drift: DriftFacts
    gates: dict[str, Gate]

    @property
    def verdict(self) -> Literal["stopped", "warned", "passed", "not judged"]:
        """What the gates come to: the worst of their outcomes; one that stops and was not measured is no pass."""
        outcomes = {"warned" if gate.unjudged else gate.outcome for gate in self.gates.values()}
        for outcome in ("stopped", "warned", "passed"):
            if outcome in outcomes:
                return outcome
        return "not judged"


class ValidationScores(Facts):
    """Scores on the `n` validation texts, which decide the winner with what serving costs.

    `difference` is that of the score which decides, less the best one's, with its interval; those that are not
    `separable` from the best one are ranked by cost. `ms_a_text` is None where there was one candidate alone.
    """

    accuracy: float
    macro_f1: float
    n: int
    bytes: int
    ms_a_text: float | None
    difference: float
    interval: Interval
    separable: bool


class WinnerFacts(Facts):
    """The student that ships, and why; `no_candidates` are those that no service can answer with alone."""

    student: str
    metric: str
    reason: str
    no_candidates: list[str]
    validation: dict[str, ValidationScores]
    digests: dict[str, str]


class Card(Facts):
    """Everything that the report page and the model card say of one cell."""

    schema_version: Literal[4] = 4
    task: TaskFacts
    language: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]
    language_name: str
    labels: list[LabelFacts]
    counts: Counts
    removed: list[Group]
    warnings: list[str]
    confidence: float
    teacher: TeacherFacts
    students: dict[str, StudentFacts]
    pairs: list[PairFacts]
    generation: GenerationFacts
    asked: list[Asked]
    checks: ChecksFacts
    rejected: list[Found]
    marked: list[Found]
    agreement: AgreementFacts
    diversity: DiversityFacts
    winner: WinnerFacts

    @model_validator(mode="after")
    def _winner_has_scores(self) -> Self:
        if self.winner.student not in self.students:
            raise ValueError(f"the winner {self.winner.student} is not among the students that were evaluated")
        return self

    @property
    def name(self) -> str:
        """The cell as params.yaml names it."""
        return f"{self.task.name}/{self.language}"

    @property
    def spent(self) -> Spent:
        """What asking the teacher took over all purposes."""
        return total(self.asked)

    @property
    def winning(self) -> StudentFacts:
        """The scores of the student that ships."""
        return self.students[self.winner.student]


def total(parts: Sequence[Spent]) -> Spent:
    """Return what all parts took together; what is not known of one is not known of the sum."""
    return Spent(
        requests=sum(part.requests for part in parts),
        retries=sum(part.retries for part in parts),
        failed=sum(part.failed for part in parts),
        prompt_tokens=_sum([part.prompt_tokens for part in parts]),
        completion_tokens=_sum([part.completion_tokens for part in parts]),
        cost=_sum([part.cost for part in parts]),
        seconds=_sum([part.seconds for part in parts]),
    )


def _sum(numbers: Sequence[N | None]) -> N | None:
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(numbers) else None


def read_card(path: Path) -> Card:
    """Read a card.json.

    Raises:
        DataError: If it is missing, or is no card of this version; the message names the key.
    """
    try:
        return Card.model_validate(read_json(path))
    except ValidationError as exc:
        error = exc.errors()[0]
        key = ".".join(map(str, error["loc"])) or "the file"
        raise DataError(f"{path}: {key}: {error['msg']}; run `polydistill card` again") from exc
