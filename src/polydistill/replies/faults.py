"""Names what can be wrong with a reply, and decides what is wrong with one before it is parsed."""

from polydistill.teachers.base import Reply
from polydistill.text import CONTROL, SURROGATE

MAX_CHARS = 1_000_000
"""No reply that was asked for is as long; a longer one is not looked at."""

FAULTS = {
    # the answer around the text
    "oversized": f"the reply is longer than {MAX_CHARS:,} characters, or than what is taken from a server",
    "no_choice": "the server's answer holds no reply",
    "refusal": "the model refused to answer",
    "filtered": "the server's content filter stopped the reply",
    "cut_off": "the reply stops before its end, at the token limit or because the server gave up",
    # the text as a whole
    "empty": "the reply is empty",
    "looping": "the reply is one piece over and over",
    "no_json": "there is no JSON object in the reply",
    "broken_json": "the JSON in the reply is not valid",
    "twofold_json": "the reply answers twice, so that nothing tells which of the two is meant",
    "wrong_shape": "the reply is not of the form that was asked for",
    "no_lines": "no line of the reply has a number in front",
    "wrong_count": "there are more or fewer texts or verdicts than were asked for",
    "fenced": "there are words, thoughts, quotes or a Markdown fence around what was asked for",
    # a text in it
    "not_text": "an entry among the texts is no text",
    "blank": "a text is empty",
    "surrogate": "a text holds half a character (an unpaired surrogate)",
    "control": "a text holds a control character, such as NUL",
    # a verdict in it
    "no_verdict": "a text got no verdict",
    "twofold_verdict": "a text got more than one verdict",
    "broken_verdict": "a verdict is not of the form that was asked for",
    "contradiction": "a verdict accepts a text and finds fault with it",
    "no_repair": "a verdict repairs a text and does not say how",
}
"""What each fault means. The reply, the text or the verdict is rejected for it, but for those in `NOTED`."""

NOTED = frozenset({"fenced", "wrong_count"})
"""The faults in spite of which all that is there was read, but for texts beyond the number asked for."""

# In servers' various words; what is none of these is taken for a reply that came to its end.
_CUT_OFF = {"length", "max_tokens", "model_length", "abort", "aborted", "cancelled", "error"}
_FILTERED = {"content_filter", "safety", "recitation"}

_SHORT = 200  # characters; a shorter reply cannot be told to loop
_TURNS = 8


def reply_faults(reply: Reply) -> list[str]:
    """Return why a reply must not be parsed; nothing where it may."""
    if reply.fault is not None:
        return [reply.fault if reply.fault in FAULTS else "wrong_shape"]
    if len(reply.text) > MAX_CHARS:
        return ["oversized"]
    end = str(reply.finish_reason).lower()
    if end in _FILTERED:
        return ["filtered"]
    loops = ["looping"] if _is_looping(reply.text.strip()) else []
    if end in _CUT_OFF:
        return ["cut_off", *loops]
    return loops if reply.text.strip() else ["empty"]


def text_fault(text: str) -> str | None:
    """Return why a text cannot be kept, None where it can."""
    if not text:
        return "blank"
    if SURROGATE.search(text):
        return "surrogate"
    return "control" if CONTROL.search(text) else None


def _is_looping(text: str) -> bool:
    """Say whether at least the second half of the text is one piece over and over; JSON that is closed never is.

    Read backwards, its first half stands once more, one turn later. `str.find` needs linear time for that.
    """
    half = len(text) // 2
    backwards = text[::-1]
    return len(text) >= _SHORT and backwards.find(backwards[:half], 1, half + len(text) // _TURNS) > 0
