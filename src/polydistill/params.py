"""The settings of params.yaml: one section a step, each value checked, each field description its documentation."""

import difflib
import pkgutil
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from polydistill.errors import ParamsError
from polydistill.files import read_yaml

CellName = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*/[A-Za-z0-9-]+$", description="task/language, such as clinic/sl")
]
NAME = r"^[a-z0-9][a-z0-9_-]*$"
Name = Annotated[str, Field(pattern=NAME)]
StudentKind = Literal["linear", "encoder", "lora", "icl"]

ACROSS_CELLS = (
    *("winners", "cards", "report", "bento", "served", "monitored", "monitored-traffic"),
    *("ablations", "pipelines"),
)
"""The folders of work/ that hold all cells; the others are named after tasks."""


def _files_in(folder: str) -> tuple[str, ...]:
    files = pkgutil.iter_modules([str(Path(__file__).parent / folder)])
    return tuple(sorted(file.name for file in files if re.fullmatch("[a-z][a-z0-9_]*", file.name)))


STRATEGIES = _files_in("strategies")
"""The files in strategies/, one a strategy."""

CHECKS = _files_in("checks")
"""The files in checks/, one a check."""

SIZES = Path(__file__).parent / "cluster" / "sizes.yaml"
"""What pods get by `cluster.size`."""

MAX_SEED = 2**31
"""Leaves room below 2**32, where numpy's and scikit-learn's seeds end, for the number of the run that is added."""

# What stands here by mistake may be a password or a key, which no error may repeat.
_OF_URLS = dict.fromkeys(("url", "endpoint", "store", "registry"), "@?#")
_PERHAPS_SECRET = _OF_URLS | dict.fromkeys(("key_env", "key_file", "token_file"), "")


class Section(BaseModel):
    """A section of params.yaml: strict types, no unknown key, never changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class VLLMParams(Section):
    """Section `teacher.vllm`: the engine in this process."""

    tensor_parallel_size: int = Field(ge=1, description="GPUs that share one copy of the model.")
    quantization: str | None = Field(description="Quantisation, such as fp8 or awq; null: as the model was saved.")
    max_model_len: int | None = Field(
        ge=1, description="Longest prompt and reply together (tokens); null: the model's."
    )
    gpu_memory_utilization: float = Field(gt=0, le=1, description="Share of each GPU's memory that the engine takes.")


class TeacherParams(Section):
    """Section `teacher`: the LLM that writes training texts."""

    kind: Literal["recorded", "openai", "vllm"] = Field(
        description="`recorded`: replays data/<task>/<language>/recording.jsonl; `openai`: asks a server with its API; "
        "`vllm`: runs the model in this process."
    )
    url: str | None = Field(
        pattern=r"^https?://[^@?#\s]+$",
        description="Base URL of the server, such as http://host:8000/v1; no user, password or query in it.",
    )
    model: str | None = Field(
        description="Model name at the server; null takes the only model that the server lists. For `vllm` its name at "
        "the Hugging Face hub, or a folder."
    )
    revision: str | None = Field(description="Revision of the model, for the record; for `vllm` also what is loaded.")
    key_env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="The name of the environment variable that holds the API key, such as OPENAI_API_KEY.",
    )
    key_file: str | None = Field(
        min_length=1, description="File that holds the API key, such as a mounted secret; goes before `key_env`."
    )
    concurrency: int = Field(ge=1, le=1024, description="Requests under way at once.")
    timeout_s: float = Field(gt=0, description="Seconds that one try of a request may take.")
    total_timeout_s: float = Field(gt=0, description="Seconds that a request may take with all tries and pauses.")
    tries: int = Field(
        ge=1,
        le=20,
        description="Tries of a request that finds the server busy or out of reach; one after which the server says "
        "when to come back (Retry-After) does not count.",
    )
    max_tokens: int = Field(ge=1, description="Longest reply (tokens).")
    vllm: VLLMParams = Field(description="Settings of the engine, for kind `vllm`.")

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if self.kind == "openai" and self.url is None:
            raise ValueError("kind `openai` needs `url`, the base URL of the server")
        if self.kind == "vllm" and self.model is None:
            raise ValueError("kind `vllm` needs `model`, a name at the Hugging Face hub or a folder")
        return self


class BudgetParams(Section):
    """Section `budget`: hard limits on what a journal (a cell's by strategy, or zero-shot) may cost in all runs."""

    requests: int | None = Field(ge=0, description="Most requests to send, each try counted; null: no limit.")
    tokens: int | None = Field(ge=0, description="Most tokens, of prompts and replies together; null: no limit.")
    cost: float | None = Field(ge=0, description="Most money, in the currency of the prices; null: no limit.")
    prompt_price: float | None = Field(ge=0, description="Price of a million prompt tokens; null: not known.")
    completion_price: float | None = Field(ge=0, description="Price of a million tokens of replies; null: not known.")
    tokens_per_s: float | None = Field(
        gt=0, description="Tokens of replies that the server writes in a second, for the estimate of `--plan`."
    )

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> Self:
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ValueError("prompt_price and completion_price go together; 0 is a price")
        if self.cost is not None and self.prompt_price is None:
            raise ValueError("a limit on `cost` needs prompt_price and completion_price")
        return self

    def cost_of(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Return what the tokens cost, None where they or the prices are not known."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        if prompt_tokens is None or completion_tokens is None:
            return None
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1_000_000


class NearParams(Section):
    """When two texts count as nearly the same."""

    similarity: float = Field(
        gt=0, le=1, description="Jaccard similarity of character 3-grams from which two texts are near."
    )
    one_word: bool = Field(description="Whether texts are near too where they are the same but for one word.")


class LeakParams(NearParams):
    """When a text gives a test text away."""

    min_held: int = Field(
        ge=3, description="A text leaks that holds a test text, or is a piece of one, of so many letters or more."
    )


class PrepareParams(Section):
    """Section `prepare`."""

    seeds_per_label: int = Field(
        ge=0, description="Human examples a label that guide generation; further ones only validate students."
    )
    allow_leaks: list[CellName] = Field(
        description="Cells whose test texts may stand among the seeds, and be given away by what `filter` keeps; "
        "anywhere else that stops the run."
    )
    test_leak: LeakParams = Field(description="Human texts that give a test text away are left out.")


def _strategy(name: str) -> str:
    if name not in STRATEGIES:
        raise ValueError(f"{name!r} is no strategy; there are {', '.join(STRATEGIES)}")
    return name


class GenerateParams(Section):
    """Section `generate`."""

    strategy: Annotated[str, AfterValidator(_strategy)] = Field(
        description="`plain`: the seeds alone guide the teacher, as in the paper; `diverse`: varied attributes too, "
        "and texts that it must not repeat."
    )
    texts_per_label: int = Field(ge=1, description="Usable texts wanted per label.")
    texts_per_request: int = Field(ge=1, le=100, description="Texts to ask for in one request.")
    seeds_per_request: int | None = Field(
        ge=1, description="Seeds of the label in one request; null: all (`plain`) or half of them (`diverse`)."
    )
    top_up: float = Field(
        ge=0, le=10, description="Most requests beyond what flawless replies would take, as a share of those."
    )
    temperature: float = Field(ge=0, le=2, description="Sampling temperature of the teacher.")
    self_revision: bool = Field(description="Whether the teacher judges its texts; without a yes one is rejected.")
    seed: int = Field(
        ge=0, le=MAX_SEED, description="Orders the seeds in each prompt; sent to the server with each request."
    )


class WrongLanguageParams(Section):
    """Section `filter.wrong_language`."""

    identifier: Literal["py3langid", "lingua"] = Field(
        description="`py3langid`: fast; `lingua`: slower, needs polydistill[lingua]."
    )
    times_other: float = Field(
        ge=1, description="A text is rejected where an unrelated language is more than so many times likelier."
    )
    times_relative: float = Field(
        ge=1, description="The same for the close relatives together, which are easily taken for the language."
    )
    telltale: float = Field(
        ge=1, description="How many times likelier a word makes a relative that is common there and rare here."
    )


class WrongScriptParams(Section):
    """Section `filter.wrong_script`."""

    min_letters: int = Field(ge=1, description="Texts with fewer letters are not judged.")
    max_latin: float = Field(
        ge=0, le=1, description="Largest share of letters in Latin and other foreign scripts together."
    )
    max_other: float = Field(ge=0, le=1, description="Largest share of letters in foreign scripts other than Latin.")


class MixedLanguageParams(Section):
    """Section `filter.mixed_language`."""

    min_letters: int = Field(ge=1, description="Clauses with fewer letters are not judged.")
    stricter: float = Field(ge=1, description="Factor on times_other and times_relative: a clause is easily misjudged.")


class UnclearLanguageParams(Section):
    """Section `filter.unclear_language`."""

    min_letters: int = Field(ge=0, description="Texts with fewer letters are too short to tell their language.")


class TooShortParams(Section):
    """Section `filter.too_short`."""

    min_chars: int = Field(ge=1, description="Shorter texts are rejected (Unicode code points).")


class TooLongParams(Section):
    """Section `filter.too_long`."""

    max_chars: int = Field(ge=1, description="Longer texts are rejected (Unicode code points).")


class RepetitionParams(Section):
    """Section `filter.repetition`."""

    max_share: float = Field(
        gt=0, le=1, description="Largest share of a text that one word, or a phrase that goes round, may make up."
    )


class SimilarMeaningParams(Section):
    """Section `filter.similar_meaning`."""

    model: str | None = Field(
        min_length=1, description="Sentence-embedding model, a folder or a name at the Hugging Face hub."
    )
    similarity: float = Field(gt=0, le=1, description="Cosine of two embeddings from which texts say the same.")


class DoubtfulLabelParams(Section):
    """Section `filter.doubtful_label`."""

    folds: int = Field(ge=2, le=20, description="Parts of the cross-validation.")
    min_probability: float = Field(gt=0, le=1, description="How sure the student must be of another label.")


def _check_name(name: str) -> str:
    if name not in CHECKS:
        close = difflib.get_close_matches(name, CHECKS, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(CHECKS)}"
        raise ValueError(f"{name!r} is no check; {hint}")
    return name


CheckName = Annotated[str, AfterValidator(_check_name)]


class FilterParams(Section):
    """Section `filter`."""

    checks: list[CheckName] = Field(description="The checks, in the order in which they run.")
    mark: list[CheckName] = Field(description="Those of them that keep the texts they find, and only mark them.")
    too_short: TooShortParams = Field(description="Bound of the check.")
    too_long: TooLongParams = Field(description="Bound of the check.")
    repetition: RepetitionParams = Field(description="Bound of the check.")
    wrong_language: WrongLanguageParams = Field(description="Bounds of the check.")
    wrong_script: WrongScriptParams = Field(description="Bounds of the check.")
    mixed_language: MixedLanguageParams = Field(description="Bounds of the check.")
    unclear_language: UnclearLanguageParams = Field(description="Bound of the check.")
    test_leak: LeakParams = Field(description="Bounds of the check.")
    copied_seed: NearParams = Field(description="Bounds of the check.")
    near_duplicate: NearParams = Field(description="Bounds of the check.")
    similar_meaning: SimilarMeaningParams = Field(description="Model and bound of the check.")
    doubtful_label: DoubtfulLabelParams = Field(description="Setting of the check.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.too_short.min_chars > self.too_long.max_chars:
            raise ValueError(
                f"too_short.min_chars {self.too_short.min_chars} is larger than "
                f"too_long.max_chars {self.too_long.max_chars}"
            )
        for name in ("checks", "mark"):
            names = getattr(self, name)
            if twice := sorted({check for check in names if names.count(check) > 1}):
                raise ValueError(f"{name} names {', '.join(twice)} more than once")
        if "doubtful_label" in self.rejecting[:-1]:
            raise ValueError(
                "checks: doubtful_label, where it rejects, comes last, since it learns from what the others leave; "
                "or name it in mark"
            )
        if "similar_meaning" in self.checks and self.similar_meaning.model is None:
            raise ValueError("similar_meaning.model: name a sentence-embedding model, or take the check out of checks")
        if missing := [check for check in self.mark if check not in self.checks]:
            raise ValueError(f"mark names {', '.join(missing)}, which checks does not list")
        return self

    @property
    def rejecting(self) -> list[str]:
        """The checks that reject, in their order."""
        return [check for check in self.checks if check not in self.mark]


def _action(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare off as false


def _switch(value: Any) -> Any:
    return (
        {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
    )  # as YAML reads on and off


class GateParams(Section):
    """A gate of `measure.gates`."""

    action: Annotated[Literal["off", "warn", "stop"], BeforeValidator(_action)] = Field(
        description="What follows where the limit is not kept: nothing (off), a warning, or the end of the run."
    )
    limit: float = Field(ge=0, le=1, description="Most or, of a measure that should be large, least that passes.")


class GatesParams(Section):
    """Section `measure.gates`: what measured values are too bad."""

    near_duplicates: GateParams = Field(description="Share of the generated texts that repeat another one; most.")
    copied_seeds: GateParams = Field(description="Share of the generated texts that repeat a seed; most.")
    language_purity: GateParams = Field(description="Share of the generated texts not found to be foreign; least.")
    distinct_2_ratio: GateParams = Field(description="Distinct-2 of accepted texts over that of human ones; least.")
    auc: GateParams = Field(description="How well a classifier tells accepted from human texts, 0.5 to 1; most.")
    drift: GateParams = Field(description="Size of a drift of labels or text properties that is not chance; most.")


class MeasureParams(Section):
    """Section `measure`."""

    max_texts: int = Field(
        ge=2, le=2_000, description="Most texts of each side to compare; both sides get the same number."
    )
    seed: int = Field(ge=0, le=MAX_SEED, description="Draws the texts to compare, the intervals and the permutations.")
    embedding_model: str | None = Field(
        min_length=1,
        description="Sentence-embedding model, a folder or a name at the Hugging Face hub; null: none (needs the extra "
        "`embed`).",
    )
    gates: GatesParams = Field(description="What is too bad.")


class LinearParams(Section):
    """Section `train.linear`: naive Bayes and ridge regression on n-grams; of lists cross-validation chooses one."""

    max_char_ngram: list[Annotated[int, Field(ge=2, le=8)]] = Field(
        min_length=1, description="Longest character n-gram, within words; the shortest is 2. Candidates."
    )
    max_word_ngram: int = Field(ge=1, le=3, description="Longest word n-gram.")
    class_weight: list[Literal["none", "balanced"]] = Field(
        min_length=1,
        description="What counts the same in training: each text, `none`, or each label, `balanced`. Candidates.",
    )
    regularization: list[Annotated[float, Field(ge=0.001, le=1000)]] = Field(
        min_length=1, description="Penalty of the ridge regression; larger is stronger. Candidates."
    )
    folds: int = Field(
        ge=2,
        le=20,
        description="Folds of the cross-validation inside the training texts, fewer where a label has fewer texts. It "
        "chooses among candidates, the first where no label has two texts, and calibrates probabilities.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for name in ("max_char_ngram", "class_weight", "regularization"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one more than once: {', '.join(map(str, values))}")
        return self


class EncoderParams(Section):
    """Section `train.encoder`: a Hugging Face encoder, fine-tuned."""

    model: str = Field(min_length=1, description="Sequence classifier: a name at the Hugging Face hub, or a folder.")
    revision: str | None = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit at the hub (40 digits and letters a to f), which a name needs; null for a folder.",
    )
    max_tokens: int = Field(ge=8, le=8192, description="Longer texts are cut (tokens).")
    epochs: int = Field(ge=1, le=1000, description="Most passes through the training texts.")
    min_steps: int = Field(
        ge=0, description="Few texts are passed through more often, until there are so many steps; 0: off."
    )
    batch_size: int = Field(ge=1, le=4096, description="Texts at once; halved where the memory does not suffice.")
    accumulate: int = Field(ge=1, le=1024, description="Batches whose gradients make one step.")
    learning_rate: float = Field(gt=0, description="Largest learning rate, that of the new head.")
    layer_decay: float | None = Field(
        gt=0, le=1, description="Factor on the learning rate from each layer to the one below; null: the same for all."
    )
    warmup: float = Field(
        ge=0, lt=1, description="Share of the steps in which the learning rate rises; then it falls to 0."
    )
    weight_decay: float = Field(ge=0, lt=1, description="Decay of the weight matrices, in each step.")
    label_smoothing: float = Field(ge=0, lt=1, description="Probability taken from the label for all labels; 0: off.")
    r_drop: float = Field(
        ge=0,
        description="Weight of R-Drop, by which two passes with other units dropped are to agree; 0: off, half the "
        "work.",
    )
    held_out: float = Field(
        ge=0,
        lt=1,
        description="Share of each label's training texts that is held out to stop by, where every label has enough; "
        "0: off.",
    )
    patience: int | None = Field(
        ge=1,
        description="The training stops when so many epochs after the warm-up brought nothing on held-out texts; "
        "null: it never does.",
    )
    restarts: int = Field(
        ge=0, le=10, description="Most new attempts, with half the learning rate, where a training collapsed; 0: off."
    )
    length_buckets: bool = Field(description="Whether texts of like length make a batch.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        description="`auto`: bf16 on a GPU that has it, else fp32; fp32 uses TF32 where there is one."
    )
    compile: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = Field(
        description="torch.compile; `auto`: on a GPU in long trainings."
    )
    serve: Literal["int8", "fp32"] = Field(
        description="What the saved student answers with; int8 gives way to fp32 where the two do not agree."
    )


class LoraParams(Section):
    """Section `train.lora`: an instruction-tuned causal LM with low-rank adapters."""

    model: str = Field(min_length=1, description="Causal LM: a name at the Hugging Face hub, or a folder.")
    revision: str | None = Field(
        pattern=r"^[0-9a-f]{40}$",
        description="Commit at the hub (40 digits and letters a to f), which a name needs; null for a folder.",
    )
    rank: int = Field(ge=1, le=1024, description="Rank of the adapters.")
    alpha: float = Field(gt=0, description="Weight of the adapters, times the rank.")
    dropout: float = Field(ge=0, lt=1, description="Share of the adapters' inputs that is left out in training.")
    target_modules: list[str] = Field(min_length=1, description="Names of the modules that get an adapter.")
    epochs: int = Field(ge=1, le=1000, description="Passes through the training texts.")
    batch_size: int = Field(ge=1, le=4096, description="Texts at once; halved where the memory does not suffice.")
    accumulate: int = Field(ge=1, le=1024, description="Batches whose gradients make one step.")
    learning_rate: float = Field(gt=0, description="Largest learning rate.")
    warmup: float = Field(
        ge=0, lt=1, description="Share of the steps in which the learning rate rises; then it falls to 0."
    )
    held_out: float = Field(
        ge=0, lt=1, description="Share of each label's training texts kept back to stop by, where `patience` is set."
    )
    patience: int | None = Field(
        ge=1,
        description="The training stops when so many epochs brought nothing on texts kept back; null: it never does, "
        "and learns from all texts.",
    )
    max_tokens: int = Field(ge=8, le=8192, description="Longer texts are cut (tokens).")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        description="Of the base model; `auto`: bf16 on a GPU that has it, else fp32."
    )
    four_bit: bool = Field(description="Whether the base model is held in 4 bits; needs a GPU and bitsandbytes.")
    gradient_checkpointing: bool = Field(
        description="Whether to compute again what a long text's gradients need, instead of keeping it; less memory, "
        "several times the work."
    )


class IclParams(Section):
    """Section `train.icl`: examples in front of a served LLM."""

    shots: int = Field(ge=1, le=1_000, description="Most examples in a prompt.")
    choose: Literal["random", "similar"] = Field(
        description="`random`: the same for all texts, as many of each label as can be, as in the paper; `similar`: "
        "those most like the text."
    )
    teacher: TeacherParams | None = Field(
        description="The LLM to ask, with the keys of section `teacher`; null: the teacher itself."
    )


TrainSource = Literal["synthetic", "human", "mixed"]


class TrainParams(Section):
    """Section `train`."""

    students: list[StudentKind] = Field(min_length=1, description="Kinds of student to train.")
    sources: list[TrainSource] = Field(
        min_length=1,
        description="What the curves train on: `synthetic`, `human` or half of each, `mixed`; the last two are passed "
        "over in cells without human.csv.",
    )
    sizes: list[Annotated[int, Field(ge=2)]] = Field(
        min_length=1,
        description="Training sizes of the curves (texts); sizes above what there is, or of less than two texts a "
        "label, are passed over.",
    )
    runs: int = Field(ge=1, le=10_000, description="Trainings per source and size, each on a subsample of its own.")
    jobs: int | None = Field(
        ge=1, le=1024, description="Trainings at once; null: as many as the cores, or the memory of the GPU, allow."
    )
    subset: Literal["random", "diverse", "representative"] = Field(
        description="How subsamples of all sources are chosen, label by label: `random`; `diverse`: texts unlike each "
        "other; `representative`: texts that stand for the others."
    )
    seed: int = Field(ge=0, le=MAX_SEED, description="Draws the subsamples.")
    linear: LinearParams | None = Field(description="Settings of the linear student.")
    encoder: EncoderParams | None = Field(description="Settings of the encoder student.")
    lora: LoraParams | None = Field(description="Settings of the LoRA student.")
    icl: IclParams | None = Field(description="Settings of the in-context student.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("students", "sources"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names one more than once: {', '.join(map(str, values))}")
        if missing := [kind for kind in self.students if getattr(self, kind) is None]:
            raise ValueError(f"students names {', '.join(missing)}, so train.{missing[0]} is needed")
        return self


class EvaluateParams(Section):
    """Section `evaluate`."""

    zero_shot: bool = Field(description="Whether the teacher classifies the test texts too, for comparison.")
    confidence: float = Field(gt=0, lt=1, description="Level of the intervals.")


class SelectParams(Section):
    """Section `select`."""

    metric: Literal["accuracy", "macro_f1"] = Field(description="The validation score that decides.")
    confidence: float = Field(
        gt=0, lt=1, description="How sure it must be that one student is better; else the cheaper to serve is chosen."
    )


class PackageParams(Section):
    """Section `package`."""

    name: Name = Field(
        description="Name of the bento, such as polydistill: small letters, digits, - and _, first a letter or a digit."
    )


class ServeParams(Section):
    """Section `serve`."""

    host: str = Field(min_length=1, description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(ge=1, le=65535, description="Port to listen on.")


class MonitorParams(Section):
    """Section `monitor`."""

    min_texts: int = Field(ge=1, description="With fewer texts in a language nothing is concluded.")
    max_label_shift: float = Field(
        ge=0, le=1, description="Largest total-variation distance between label shares then and now that is no drift."
    )
    max_text_shift: float = Field(
        ge=0, le=1, description="Largest Kolmogorov-Smirnov distance of a text property then and now that is no drift."
    )


Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class Toleration(Section):
    """A taint of nodes that pods put up with, as Kubernetes has it."""

    key: str | None = Field(default=None, description="Key of the taint; null: any.")
    operator: Literal["Equal", "Exists"] = Field(default="Exists", description="Whether `value` must be the taint's.")
    value: str | None = Field(default=None, description="Value of the taint, for `Equal`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; null: any."
    )


class Placement(Section):
    """What a pod of a step gets, where it may run, and how often it may try."""

    cpu: Quantity = Field(description="Cores that it is sure of, such as 2 or 500m.")
    cpu_limit: Quantity = Field(description="Most cores, such as 4.")
    memory: Quantity = Field(description="Memory that it is sure of, such as 4Gi.")
    memory_limit: Quantity = Field(description="Most memory, such as 8Gi; a pod that takes more is ended.")
    gpus: int = Field(ge=0, le=16, description="GPUs (nvidia.com/gpu).")
    node_selector: dict[str, str] = Field(description="Labels of the nodes that it may run on; {}: any node.")
    tolerations: list[Toleration] = Field(description="Taints of nodes that it puts up with.")
    retries: int = Field(ge=0, le=20, description="New tries after a failure, each after a longer pause.")
    timeout_s: int = Field(ge=60, description="Seconds that a try may take.")


class TeacherOnDemandParams(Section):
    """Section `cluster.teacher`: the Deployment that serves the teacher, scaled from zero for a run."""

    namespace: KubernetesName = Field(
        description="Namespace of the Deployment (small letters, digits, -), such as polydistill."
    )
    deployment: KubernetesName = Field(
        description="Name of the Deployment (small letters, digits, -), such as teacher."
    )
    replicas: int = Field(ge=1, le=64, description="Pods while at least one run holds it.")
    ready_within_s: int = Field(ge=60, description="Seconds from asking for it until it must be ready.")
    hold_within_s: int = Field(
        ge=600,
        description="Seconds after which a run that has not let go of it counts as dead: more than a run may take.",
    )

    @model_validator(mode="after")
    def _is_held_until_ready(self) -> Self:
        if self.hold_within_s <= self.ready_within_s:
            raise ValueError("hold_within_s must be more than ready_within_s, or a run loses a teacher that comes up")
        return self


class ServingParams(Section):
    """Section `cluster.serving`: the Deployment that serves the promoted bento."""

    namespace: KubernetesName = Field(
        description="Namespace of the Deployment (small letters, digits, -), such as polydistill."
    )
    deployment: KubernetesName = Field(
        description="Name of the Deployment (small letters, digits, -), such as serving."
    )
    url: str = Field(
        pattern=r"^https?://[^@?#\s]+$",
        description="Base URL of its Service, as pods reach it, such as http://serving.polydistill:3000; no user, "
        "password or query in it.",
    )
    ready_within_s: int = Field(ge=60, description="Seconds that a roll-out may take before it is rolled back.")


class RetrainParams(Section):
    """Section `cluster.retrain`: when a cell is trained again, and when a challenger takes a champion's place."""

    max_age_days: int | None = Field(ge=1, description="A champion older than that is due; null: age does not matter.")
    confidence: float = Field(gt=0, lt=1, description="How sure it must be that a challenger differs from a champion.")


def _name_of_secret(example: str, holds: str) -> str:
    return f"The name of a Kubernetes Secret (small letters, digits, -), such as {example}, that holds {holds}"


class SecretNames(Section):
    """Section `cluster.secrets`: Kubernetes secrets whose keys the pods find in their environment, where they exist."""

    storage: KubernetesName = Field(
        description=_name_of_secret(
            "polydistill-storage",
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, of storage that is not AWS, AWS_ENDPOINT_URL.",
        )
    )
    git: KubernetesName = Field(
        description=_name_of_secret(
            "polydistill-git", "GIT_USERNAME and GIT_TOKEN, for a repository that is not public."
        )
    )
    teacher: KubernetesName = Field(
        description=_name_of_secret("polydistill-teacher", "api-key, the teacher's key, where it needs one.")
    )
    hub: KubernetesName = Field(
        description=_name_of_secret("polydistill-hub", "HF_TOKEN, for models of the Hugging Face hub that are gated.")
    )


class ClusterParams(Section):
    """Section `cluster`: Kubeflow Pipelines on Kubernetes."""

    endpoint: str | None = Field(
        pattern=r"^https?://[^@?#\s]+$",
        description="URL of Kubeflow Pipelines, such as http://localhost:8080; no user, password or query in it.",
    )
    namespace: KubernetesName = Field(
        description="Namespace in which runs take place (small letters, digits, -), such as kubeflow."
    )
    token_file: str | None = Field(min_length=1, description="File with the token for the endpoint, where it asks one.")
    service_account: KubernetesName | None = Field(
        description="Service account of the runs (small letters, digits, -), such as pipeline-runner; null: Kubeflow's "
        "own."
    )
    repository: str | None = Field(
        min_length=1, description="Git repository with params.yaml, dvc.yaml and data/, as the pods reach it."
    )
    revision: str = Field(min_length=1, description="Branch, tag or commit of it that a run reads its data at.")
    store: str | None = Field(
        pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#@]*)?|(gs|az)://[^\s?#@]+)$",
        description="Where promoted winners and bentos are kept, such as s3://bucket/polydistill (the bucket: 3 to 63 "
        "small letters, digits, . and -); null: runs end with the bento, and nothing is promoted.",
    )
    registry: str | None = Field(
        pattern=r"^[a-z0-9][a-z0-9._:/-]*[a-z0-9]$",
        description="Registry of the images (small letters, no https://, no / at the end), such as "
        "registry.example.com/team; null: the nodes have them.",
    )
    tag: str | None = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        description="Tag of the images (letters, digits, _, . and -), such as 0.1.0; null: the version.",
    )
    size: Literal["cpu", "one-gpu", "four-gpus"] = Field(
        description="What pods get where the three keys below are null; `four-gpus`: a teacher of 70B on 4 × 80 GB."
    )
    steps: Placement | None = Field(
        description="Pods of all steps but those below; null, or a key left out: as `size` has it."
    )
    train: Placement | None = Field(
        description="Pods that train encoder and lora; null, or a key left out: as `size` has it."
    )
    generate: Placement | None = Field(
        description="Pods with the teacher in the process; null, or a key left out: as `size` has it."
    )
    parallel_cells: int = Field(ge=1, le=1000, description="Cells at once.")
    model_cache: KubernetesName | None = Field(
        description="Volume claim (small letters, digits, -), such as polydistill-models, for the weights that train "
        "and generate download; null: every pod downloads anew."
    )
    scratch: KubernetesName | None = Field(
        description="Volume claim (ReadWriteMany; small letters, digits, -), such as polydistill-scratch, in which "
        "replies and trainings outlive their pods; null: none."
    )
    secrets: SecretNames
    teacher: TeacherOnDemandParams | None = Field(description="The teacher to scale up; null: it is up, or recorded.")
    serving: ServingParams | None = Field(description="What to roll a promoted bento out to; null: nothing.")
    retrain: RetrainParams

    @model_validator(mode="before")
    @classmethod
    def _has_the_rest_from_its_size(cls, content: Any) -> Any:
        """Put in what a section of pods leaves out; what is wrong stays, also a `size` that is none, to be named."""
        names = ("steps", "train", "generate")
        given = [name for name in names if isinstance(content, dict) and isinstance(content.get(name), dict)]
        if not given:
            return content
        sizes = read_yaml(SIZES)
        size = sizes.get(str(content.get("size")), sizes["cpu"])
        return content | {name: size[name] | content[name] for name in given}


class Params(Section):
    """The whole of params.yaml."""

    cells: list[CellName] = Field(min_length=1, description="What to run: task/language, each with a folder in data/.")
    teacher: TeacherParams
    budget: BudgetParams
    prepare: PrepareParams
    generate: GenerateParams
    filter: FilterParams
    measure: MeasureParams
    train: TrainParams
    evaluate: EvaluateParams
    select: SelectParams
    package: PackageParams
    serve: ServeParams
    monitor: MonitorParams
    cluster: ClusterParams | None = Field(default=None, description="Needed for `polydistill pipeline` alone.")

    @model_validator(mode="after")
    def _cells_apart(self) -> Self:
        twice = sorted({cell for cell in self.cells if self.cells.count(cell) > 1})
        if twice:
            raise ValueError(f"cells names {', '.join(twice)} more than once")
        taken = sorted({task for task in (cell.split("/")[0] for cell in self.cells) if task in ACROSS_CELLS})
        if taken:
            raise ValueError(f"no task can be called {', '.join(taken)}: that folder of work/ holds all cells")
        return self


def load_params(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: If the file is missing, no YAML, or any value is wrong; the message lists every wrong key.
    """
    if not path.exists():
        raise ParamsError(f"{path} is missing; run this in a workspace, or make one with `polydistill init DIR`")
    content = read_yaml(path)
    if content is None:
        raise ParamsError(f"{path} is empty; put its sections back, or take those that `polydistill init DIR` writes")
    return check(Params, content, path)


Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], content: Any, where: Path | str) -> Model:
    """Return `content`, read from the file `where`, as a checked `model`.

    Raises:
        ParamsError: If any value is wrong; a line for each: where, key, value, and what is allowed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as exc:
        lines = [f"{where}: {_explain(dict(error), model)}" for error in exc.errors()]
        raise ParamsError("\n".join(lines)) from exc


def to_struct(section: BaseModel) -> dict[str, Any]:
    """Return a section for an engine that passes it on as JSON and may refuse null: what is null is left out."""
    return section.model_dump(mode="json", exclude_none=True)


def check_struct(model: type[Model], content: Any, where: str) -> Model:
    """Return a section that came as `to_struct` wrote it, through an engine for which 10 and 10.0 are the same.

    Raises:
        ParamsError: If any value is wrong.
    """
    return check(model, _with_nulls(model, _whole_numbers(content)), where)


def _with_nulls(model: type[BaseModel], content: Any) -> Any:
    """Put back what `to_struct` left out, in sections within the section too."""
    if not isinstance(content, dict):
        return content
    whole = dict(content)
    for name, field in model.model_fields.items():
        kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
        may_lack = type(None) in get_args(field.annotation)
        if may_lack:
            whole.setdefault(name, None)
        if isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel) and not (may_lack and whole[name] is None):
            whole[name] = _with_nulls(kinds[0], whole.get(name, {}))
    return whole


def _whole_numbers(value: Any) -> Any:
    """Return the value with each 10.0 in it as 10, which is good for an int and, in pydantic, for a float too."""
    if isinstance(value, dict):
        return {key: _whole_numbers(of_key) for key, of_key in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _explain(error: dict[str, Any], model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        known = list(_section_at(model, error["loc"][:-1]).model_fields)
        close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(known)}"
        return f"{key} is no known key; {hint}"
    if error["type"] == "missing":
        field = _section_at(model, error["loc"][:-1]).model_fields[str(error["loc"][-1])]
        return f"{key} is missing; add it ({field.description or 'a section'})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}"
    of_secret = "secrets" in error["loc"]
    unfit = error["type"] == "string_pattern_mismatch" or (of_secret and error["type"] == "string_type")
    if unfit and (description := _description(model, error["loc"])):
        message = f"wanted: {description}"
    elif error["type"] == "model_type":
        message = "wanted: a section" if error["loc"] else f"wanted: the keys {', '.join(model.model_fields)}"
    elif error["type"] == "string_type" and isinstance(error["input"], int | float):
        message = "wanted: a text, in quotes"
    marks = "" if of_secret else _PERHAPS_SECRET.get(str(error["loc"][-1])) if error["loc"] else None
    secret = marks is not None and (not marks or any(mark in str(error["input"]) for mark in marks))
    shown = "this value" if secret else repr(error["input"])
    return f"{key}: {shown} is not allowed; {message[0].lower()}{message[1:]}"


def _description(model: type[BaseModel], loc: tuple[str | int, ...]) -> str | None:
    """Return what a field, or an entry of a list, is for."""
    if isinstance(loc[-1], str):
        return _section_at(model, loc[:-1]).model_fields[loc[-1]].description
    entry = get_args(_kind_at(model, loc[:-1]))[0]
    about = (of for of in getattr(entry, "__metadata__", ()) if isinstance(of, FieldInfo))
    return next((field.description for field in about), None)


def _section_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel]:
    section: type[BaseModel] = _kind_at(model, loc)
    return section


def _kind_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> Any:
    """Return the type of what stands there: a section, a list, a dict or a value."""
    kind: Any = model
    for part in loc:  # the name of a field, a key, or a place in a list
        fields = getattr(kind, "model_fields", None)
        kind = get_args(kind)[-1] if fields is None else fields[part].annotation
        if hasattr(kind, "__metadata__"):  # an entry with bounds of its own
            kind = kind.__origin__
        if type(None) in get_args(kind):  # a section that may be left out
            kind = next(of for of in get_args(kind) if of is not type(None))
    return kind
