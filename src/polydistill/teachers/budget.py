"""Hard limits on what a journal may cost: a request is sent only if even its dearest reply stays within them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from polydistill.params import BudgetParams
from polydistill.teachers.base import ChatRequest, Reply
from polydistill.teachers.journal import Usage

# What a chat template adds to a prompt, at most (tokens).
_TEMPLATE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Charge:
    """What one try of a request takes, or may take."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Budget:
    """What has been spent and what the requests under way may still take, against the limits."""

    def __init__(
        self, params: BudgetParams, max_tokens: int, usage: Mapping[str, Usage], *, free: bool = False
    ) -> None:
        """Begin with what the journal says was spent.

        Args:
            params: Section `budget` of params.yaml.
            max_tokens: Longest reply (tokens).
            usage: What the requests of each purpose have taken.
            free: Whether nothing is paid for, so that there are no limits.
        """
        self.params, self.max_tokens = params, max_tokens
        self._limited = not (free or (params.requests is None and params.tokens is None and params.cost is None))
        self._spent = Charge(
            sum(of.sent for of in usage.values()),
            sum(of.counted[0] for of in usage.values()),
            sum(of.counted[1] for of in usage.values()),
        )
        self._reserved = Charge()

    def charged(self, request: ChatRequest, reply: Reply) -> Reply:
        """Return the reply with what it is charged, if it came without a count: the most that it can have taken."""
        if reply.prompt_tokens is not None and reply.completion_tokens is not None:
            return reply
        prompt = _most_prompt_tokens(request) if reply.prompt_tokens is None else reply.prompt_tokens
        # Where there is no text, nothing tells how much the model wrote.
        most = min(len(reply.text.encode(errors="replace")) or self.max_tokens, self.max_tokens)
        completion = most if reply.completion_tokens is None else reply.completion_tokens
        return replace(reply, charged=(prompt, completion))

    def reserve(self, request: ChatRequest) -> Charge | None:
        """Set aside the most that a try may take; None if that, beside all that is set aside already, is too much."""
        if not self._limited:
            return Charge()
        most = self._most(request)
        if self._excess(_plus(_plus(self._spent, self._reserved), most)):
            return None
        self._reserved = _plus(self._reserved, most)
        return most

    def exhausted_by(self, request: ChatRequest) -> str | None:
        """Name the limit that a try may break even when nothing is under way any more, with what has been spent."""
        return self._excess(_plus(self._spent, self._most(request)))

    def settle(self, reserved: Charge, reply: Reply | None) -> None:
        """Replace what was set aside for a try by what it took; one without a reply counts as a request alone."""
        if not self._limited:
            return
        self._reserved = _plus(self._reserved, reserved, sign=-1)
        took = Charge(1)
        if reply is not None:
            took = Charge(1, *(reply.charged or (reply.prompt_tokens or 0, reply.completion_tokens or 0)))
        self._spent = _plus(self._spent, took)

    def _most(self, request: ChatRequest) -> Charge:
        return Charge(1, _most_prompt_tokens(request), self.max_tokens)

    def _excess(self, total: Charge) -> str | None:
        limits, spent = self.params, self._spent
        if limits.requests is not None and total.requests > limits.requests:
            return f"budget.requests {limits.requests} is reached: {spent.requests} sent"
        tokens = total.prompt_tokens + total.completion_tokens
        if limits.tokens is not None and tokens > limits.tokens:
            used = spent.prompt_tokens + spent.completion_tokens
            return f"budget.tokens {limits.tokens} is reached: {used} used, and one more request may break it"
        cost = limits.cost_of(total.prompt_tokens, total.completion_tokens)
        if limits.cost is not None and cost is not None and cost > limits.cost:
            paid = limits.cost_of(spent.prompt_tokens, spent.completion_tokens) or 0.0
            return f"budget.cost {limits.cost:g} is reached: {paid:.4f} spent, and one more request may break it"
        return None


def ledger(usage: Mapping[str, Usage], budget: BudgetParams) -> dict[str, dict[str, Any]]:
    """Return what the requests of each purpose took; tokens and cost are None where they are not known."""
    return {
        purpose: {
            "requests": of.requests,
            "retries": of.retries,
            "failed": of.failed,
            "prompt_tokens": of.prompt_tokens,
            "completion_tokens": of.completion_tokens,
            "cost": budget.cost_of(of.prompt_tokens, of.completion_tokens),
            "seconds": round(of.seconds, 3),
            "faults": dict(sorted(of.faults.items())),
            "failures": dict(of.failures.most_common(10)),
        }
        for purpose, of in sorted(usage.items())
    }


def _most_prompt_tokens(request: ChatRequest) -> int:
    # No tokenizer makes more tokens of a text than it has bytes.
    return len(request.content.encode(errors="replace")) + _TEMPLATE_TOKENS


def _plus(left: Charge, right: Charge, sign: int = 1) -> Charge:
    return Charge(
        left.requests + sign * right.requests,
        left.prompt_tokens + sign * right.prompt_tokens,
        left.completion_tokens + sign * right.completion_tokens,
    )
