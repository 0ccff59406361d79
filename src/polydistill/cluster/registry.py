"""What is promoted: registry.json in the store says which winner of which run serves each cell, since when, and why.

It is changed in one go, and only by whoever read the state that it has (`Store.swap`), so that no promotion is lost.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from polydistill import __version__
from polydistill.cluster.store import Store, Version
from polydistill.errors import DataError

REGISTRY = "registry.json"
VERSION = 1
"""The `schema_version` of registry.json."""
MOST_HISTORY = 100
"""Promotions that the history tells of; older ones leave it, their winners and bentos stay in the store."""

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Kept(_Entry):
    """A folder in the store, as a tar."""

    path: str = Field(min_length=1, description="Where, relative to the store.")
    digest: Digest = Field(description="SHA-256 of the tar.")


class Data(_Entry):
    """What a cell's data were: seeds, human and test texts, and the task."""

    digest: Digest = Field(description="Digest of their content.")
    commit: str | None = Field(description="Commit that they stand in; null: they came from a folder without one.")
    committed_at: AwareDatetime | None = Field(description="Time of the commit.")


class Bento(_Entry):
    """The bento that is to serve."""

    url: str = Field(description="Where it is kept, as a tar.")
    digest: Digest = Field(description="SHA-256 of the tar.")
    version: str = Field(description="Its name and version, as GET /models and each answer have it.")
    run: str
    promoted_at: AwareDatetime


class Champion(_Entry):
    """The winner that serves a cell."""

    winner: Kept = Field(description="What `select` wrote: model, winner.json, known answers, reference.")
    card: Kept = Field(description="What `card` wrote of it.")
    reference: Kept = Field(description="What the drift monitor needs of the winner, and no more.")
    student: str = Field(description="Its kind.")
    data: Data
    run: str
    promoted_at: AwareDatetime


class Lost(_Entry):
    """The last challenger that did not take a cell from its champion."""

    run: str
    at: AwareDatetime
    data: Digest = Field(description="Digest of what its data were; on the same, another can hardly do better.")


class Decision(_Entry):
    """Why a winner took a cell."""

    winner: Digest
    replaced: Digest | None = Field(description="The winner that it took the place of; null: there was none.")
    data: Data
    verdict: str
    reason: str
    difference: float | None = Field(description="Mean mark less the champion's; null: they were not compared.")
    interval: tuple[float, float] | None
    p_value: float | None
    texts: int = Field(description="Validation texts that both answered.")


class Promotion(_Entry):
    """What one run changed."""

    serial: int
    run: str
    promoted_at: AwareDatetime
    bento: Bento
    cells: dict[str, Decision]


class Registry(_Entry):
    """The whole of registry.json."""

    schema_version: Literal[1] = 1
    serial: int = Field(default=0, ge=0, description="Grows by one with each promotion.")
    bento: Bento | None = None
    champions: dict[str, Champion] = Field(default={}, description="By cell, task/language.")
    lost: dict[str, Lost] = Field(default={}, description="By cell; gone with the next promotion there.")
    history: list[Promotion] = Field(default=[], description="The latest first.")

    def promotion_of(self, run: str) -> Promotion | None:
        """Return what a run promoted, None where it promoted nothing."""
        return next((promotion for promotion in self.history if promotion.run == run), None)

    def to_bytes(self) -> bytes:
        """Return the document, the same bytes for the same content."""
        content = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2, sort_keys=True)
        return f"{content}\n".encode()


def read_registry(store: Store) -> tuple[Registry, Version | None]:
    """Return what is promoted and the version of the document for `Store.swap`; None where nothing ever was.

    Raises:
        DataError: If the document cannot be read.
    """
    found = store.read(REGISTRY)
    if found is None:
        return Registry(), None
    content, version = found
    return parse_registry(content, f"{store.url}/{REGISTRY}"), version


def parse_registry(content: bytes, where: str) -> Registry:
    """Return the registry that a document holds.

    Raises:
        DataError: If it is of another schema, or damaged.
    """
    try:
        facts: Any = json.loads(content)
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
        found = facts.get("schema_version")
        if found != VERSION:
            raise DataError(
                f"{where} has the schema_version {found!r}, and polydistill {__version__} knows {VERSION}; use the "
                "images of the version that wrote it (cluster.tag)"
            )
        return Registry.model_validate_json(content)
    except ValidationError as exc:
        error = exc.errors()[0]
        what = f"{'.'.join(map(str, error['loc']))}: {error['msg']}"
    except ValueError as exc:
        what = str(exc)
    raise DataError(f"{where} is damaged ({what}); put back the last good version of it")
