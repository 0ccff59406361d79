"""A classification task: its instruction, its labels and its languages, as task.yaml describes them."""

import difflib
from pathlib import Path
from typing import Annotated, Self

import langcodes
from langcodes.tag_parser import LanguageTagError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from polydistill.files import read_yaml
from polydistill.params import Name, check


class Label(BaseModel):
    """A label of a task."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[
        str,
        Field(min_length=1, pattern=r"^\S+$", description="The label as it stands in the CSV files, without spaces."),
    ]
    description: str = Field(min_length=1, description="What the label means, in a sentence; the teacher reads it.")
    names: dict[str, str] = Field(
        default={}, description="What speakers call it, by language; read in the teacher's answers."
    )


Facet = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^\S([^\x00-\x1f]*\S)?$",
        description="A few words on one line; the teacher reads them.",
    ),
]
Values = Annotated[list[Facet], Field(min_length=2)]


class Facets(BaseModel):
    """What texts of a task may differ in; the strategy `diverse` has them written in combinations of these."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lengths: Values = Field(description="How long a text may be, such as `one short question`.")
    registers: Values = Field(description="How formal, such as `polite and formal`.")
    speakers: Values = Field(description="Who may be writing, such as `a parent of a small child`.")
    topics: dict[str, Values] = Field(description="What a text may be about, by the name of the label.")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        lists = {"lengths": self.lengths, "registers": self.registers, "speakers": self.speakers}
        lists |= {f"topics.{label}": topics for label, topics in self.topics.items()}
        problems = [
            f"`{value}` stands twice in {name}"
            for name, values in lists.items()
            for value in sorted(set(values))
            if values.count(value) > 1
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Task(BaseModel):
    """A task in every language."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name = Field(
        description="Small letters, digits, - and _, first a letter or a digit; also the name of the folder in data/."
    )
    instruction: str = Field(min_length=1, description="What kind of text is classified by what; the teacher reads it.")
    labels: list[Label] = Field(min_length=2)
    languages: list[str] = Field(min_length=1, description="BCP 47 tags, for example sl, sw, az, pt-BR.")
    facets: Facets | None = Field(
        default=None, description="What texts may differ in; `polydistill facets` has the teacher propose them."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        names = self.label_names
        problems += [f"label `{name}` stands twice" for name in sorted(set(names)) if names.count(name) > 1]
        tags = self.languages + [tag for label in self.labels for tag in label.names]
        problems += [f"`{tag}` is no BCP 47 language tag" for tag in dict.fromkeys(tags) if not is_language(tag)]
        problems += [f"language `{t}` stands twice" for t in sorted(set(self.languages)) if self.languages.count(t) > 1]
        if self.facets is not None:
            topics = list(self.facets.topics)
            problems += [f"facets.topics lacks label `{name}`" for name in dict.fromkeys(names) if name not in topics]
            problems += [
                f"facets.topics names `{name}`, {_no_label(name, names)}" for name in topics if name not in names
            ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def label_names(self) -> list[str]:
        """The names of the labels, in the order of the file."""
        return [label.name for label in self.labels]

    @property
    def names_of_labels(self) -> list[str]:
        """Everything that a label is called: its name, then what speakers call it."""
        return [name for label in self.labels for name in (label.name, *label.names.values())]


def _no_label(name: str, labels: list[str]) -> str:
    close = difflib.get_close_matches(name, labels, n=1)
    return f"which is no label; did you mean `{close[0]}`?" if close else "which is no label"


def is_language(tag: str) -> bool:
    """Say whether it is a valid BCP 47 tag in its standard form."""
    try:
        return langcodes.tag_is_valid(tag) and langcodes.standardize_tag(tag) == tag
    except LanguageTagError:
        return False


def language_name(tag: str) -> str:
    """Return the English name of a BCP 47 tag, such as "Portuguese (Brazil)"."""
    return langcodes.Language.get(tag).display_name()


def load_task(path: Path) -> Task:
    """Read and check a task.yaml.

    Raises:
        PolydistillError: If the file is missing, no YAML, or anything in it is wrong; the message lists it all.
    """
    return check(Task, read_yaml(path), path)
