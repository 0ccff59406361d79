"""The canary: one tiny request that finds out whether a server follows a JSON schema, before anything is paid for."""

import json
import logging

from polydistill.params import BudgetParams, TeacherParams
from polydistill.prompts import render
from polydistill.teachers.asking import ask_all, ask_one
from polydistill.teachers.base import ChatRequest, Failure, Teacher
from polydistill.teachers.journal import Journal

log = logging.getLogger(__name__)

# What the prompt asks for is not what the schema allows: whoever answers this has read the schema.
_WORD = "canary"
_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": [_WORD]}},
    "required": ["word"],
    "additionalProperties": False,
}


async def follows_schema(teacher: Teacher, journal: Journal, params: TeacherParams, budget: BudgetParams) -> bool:
    """Say whether replies can be asked for in JSON; else they have to be asked for as plain text.

    The canary stands in the journal like any other reply, so a run that goes on does not send it again, nor warn again.

    Raises:
        TeacherError: If the server answers the canary neither with a schema nor without.
    """
    if teacher.structured is not None:
        return teacher.structured
    with_schema = ChatRequest("canary/0", "canary", render("canary"), 0.0, 0, _SCHEMA)
    without = ChatRequest("canary/1", "canary", render("canary"), 0.0, 0)
    known = len(journal) > 0
    structured = False
    if journal.get(without.digest(teacher.models["canary"], teacher.revision)) is None:
        outcome = await ask_one(with_schema, teacher, journal, params, budget)
        if isinstance(outcome, Failure):
            # Refused for the schema, or for something else that ails every request?
            await ask_all([without], teacher, journal, params, budget)
        else:
            structured = _is_canary(outcome.text)
    if not structured and not known:
        who = f"the server at {params.url}" if params.url else f"the {teacher.kind} teacher"
        log.warning("%s does not follow a JSON schema that it is given; replies are asked for as plain text", who)
    return structured


def _is_canary(text: str) -> bool:
    try:
        return bool(json.loads(text) == {"word": _WORD})
    except (ValueError, RecursionError):
        return False
