"""The prompts: Jinja templates, one a purpose, each known by its hash in the source of every record made with it."""

import hashlib
from functools import cache
from importlib import resources
from typing import Any, Literal

import jinja2

Purpose = Literal["generate", "revise", "zero-shot"]


@cache
def _template(purpose: Purpose) -> tuple[jinja2.Template, str]:
    text = resources.files(__package__).joinpath(f"{purpose}.j2").read_text(encoding="utf-8")
    # A prompt is plain text, so nothing is escaped.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False)  # noqa: S701
    return environment.from_string(text), hashlib.sha256(text.encode()).hexdigest()[:16]


def render(purpose: Purpose, **values: Any) -> str:
    """Return the prompt with the values filled in."""
    return _template(purpose)[0].render(values)


def prompt_hash(purpose: Purpose) -> str:
    """Return 16 hex digits that change whenever the template does."""
    return _template(purpose)[1]
