"""What there is to say of one cell (a task in one language): card.json, for the report and the model card."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polydistill.errors import DataError
from polydistill.files import read_json

Interval = tuple[float, float]


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


class ScoreIntervals(Facts):
    """The interval of each score, low then high."""

    accuracy: Interval
    macro_f1: Interval


class Group(Facts):
    """How many texts or replies share a reason."""

    reason: str
    count: int


class TeacherFacts(Facts):
    """The teacher: the `model` that wrote the texts, and the scores of the one that answered the test texts zero-shot.

    Without scores `note` says why.
    """

    kind: str
    model: str | None
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

    source: Literal["synthetic", "human"]
    size: int
    runs: int
    mean: float
    std: float
    interval: Interval
    macro_f1: Spread


class StudentFacts(Facts):
    """Scores of a kind of student; it is better than the teacher from `overtakes_teacher_at` synthetic texts on."""

    final: FinalScores
    overtakes_teacher_at: int | None
    curve: list[CurvePoint]


class GenerationFacts(Facts):
    """What generation could not deliver: replies that could not be read, and texts missing, by label."""

    unreadable: int
    unreadable_reasons: list[Group]
    shortfall: dict[str, int]


class Example(Facts):
    """A rejected text; `detail` is what the filter or the judge said of it."""

    text: str
    label: str
    detail: str


class Rejection(Group):
    """The texts rejected for one reason, which `meaning` explains."""

    meaning: str
    examples: list[Example]


class ChecksFacts(Facts):
    """Which checks the texts went through: neither is sure to, the first for want of a model of the language."""

    language: bool
    self_revision: bool


class Measure(Facts):
    """A measure of diversity on both sides; `meaning` says how to read it."""

    synthetic: float | None
    human: float | None
    meaning: str


class DriftTest(Facts):
    """A test of whether a property is distributed otherwise in the two sides; None where there is no p-value."""

    test: str
    statistic: float | None
    p_value: float | None
    differs: bool | None


class DiversityFacts(Facts):
    """Synthetic text beside `n` texts that people wrote: human texts, or the seeds where there are no others."""

    compared_with: Literal["human", "seed"]
    n: int
    measures: dict[str, Measure]
    drift: dict[str, DriftTest]


class ValidationScores(Facts):
    """Scores on the `n` validation texts, which decide the winner; of equals the smaller model wins."""

    accuracy: float
    macro_f1: float
    n: int
    bytes: int


class WinnerFacts(Facts):
    """The student that ships, and why."""

    student: str
    metric: str
    reason: str
    validation: dict[str, ValidationScores]
    digests: dict[str, str]


class Card(Facts):
    """Everything that the report page and the model card say of one cell."""

    schema_version: Literal[1] = 1
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
    generation: GenerationFacts
    checks: ChecksFacts
    rejected: list[Rejection]
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
    def winning(self) -> StudentFacts:
        """The scores of the student that ships."""
        return self.students[self.winner.student]


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
