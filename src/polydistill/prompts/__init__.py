"""The prompts: Jinja templates, one a purpose, each known by its hash in the source of every record made with it.

A server computes a prompt only from where it differs from an earlier one. So each template says first what all
requests of a cell share, then what those of a label share, and last what is in one request alone.
"""

import hashlib
import json
import re
from functools import cache
from importlib import resources
from typing import Any, Literal

import jinja2

Purpose = Literal["generate", "revise", "zero-shot", "canary", "facets", "classify", "icl"]

# The same question, with examples before it.
_TEMPLATES: dict[Purpose, str] = {"icl": "zero-shot"}

# What json.dumps leaves as it is, and still ends a line somewhere, cannot be seen, or cannot be sent.
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def render(purpose: Purpose, **values: Any) -> str:
    """Return the prompt with the values filled in."""
    return _template(purpose)[0].render(values)


def prompt_hash(purpose: Purpose) -> str:
    """Return 16 hex digits that change whenever the template does."""
    return _template(purpose)[1]


@cache
def _template(purpose: Purpose) -> tuple[jinja2.Template, str]:
    text = resources.files(__package__).joinpath(f"{_TEMPLATES.get(purpose, purpose)}.j2").read_text(encoding="utf-8")
    # A prompt is plain text, so nothing is escaped.
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["quoted"] = _quoted
    return environment.from_string(text), hashlib.sha256(text.encode()).hexdigest()[:16]


def _quoted(text: str) -> str:
    """Return the text in quotes on one line, in its own script, so that nothing in it passes for the prompt's words."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
