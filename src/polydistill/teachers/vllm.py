"""The teacher in this process: vLLM's engine, for a batch job on a node with GPUs where no server stands ready."""

import asyncio
import inspect
import itertools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from polydistill.errors import MissingExtraError, PolydistillError, TeacherError
from polydistill.params import TeacherParams
from polydistill.prompts import Purpose
from polydistill.teachers.base import BusyError, ChatRequest, RefusedError, Reply

_MOST_OF_A_CAUSE = 300  # characters

# Read by vLLM as it is imported. It would report its use otherwise, and mix its log into our output.
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_QUIET = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}


class VLLMTeacher:
    """One engine, started on entering and gone with its processes on leaving; it batches whatever is under way."""

    kind = "vllm"

    def __init__(self, params: TeacherParams) -> None:
        self.params = params
        self.models: Mapping[Purpose, str] = dict.fromkeys(get_args(Purpose), params.model or "")
        self.revision = params.revision or ""
        self.structured: bool | None = None
        self._numbers = itertools.count()
        self._engine: Any = None
        self._watcher: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> Self:
        """Load the model, which takes minutes where it is large.

        Raises:
            MissingExtraError: If vLLM is not installed.
            TeacherError: If the model cannot be loaded, does not fit, or is no chat model.
        """
        try:
            self._engine = self._start()
            tokenizer = self._engine.get_tokenizer()
            self._tokenizer: Any = await tokenizer if inspect.isawaitable(tokenizer) else tokenizer
            self._length: int = self._engine.model_config.max_model_len
            # What the model's makers recommend, top_p for example; vLLM's server goes by it as well.
            self._sampling: dict[str, Any] = self._engine.model_config.get_diff_sampling_param()
            if not getattr(self._tokenizer, "chat_template", "a tokenizer that does without"):
                raise TeacherError(
                    f"the model {self.params.model} has no chat template; set params.yaml:teacher.model to one that "
                    "follows instructions, whose name often ends in -Instruct or -it"
                )
        except BaseException as exc:
            await self.__aexit__()
            if isinstance(exc, PolydistillError):
                # Ctrl-C ends the engine too, and is the better news: it is waiting for the event loop to come round.
                await asyncio.sleep(0)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the engine and its processes."""
        if self._engine is not None:
            self._engine.shutdown()
        self._engine = None  # it shuts down once more as it goes, which fails at the end of the interpreter
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()

    async def complete(self, request: ChatRequest) -> Reply:
        """Return the reply to one try.

        Raises:
            BusyError: If there is no reply in time, or the engine drops the request.
            RefusedError: If the prompt leaves no room for a reply, or the engine does not take the request.
            TeacherError: If the engine has died.
        """
        prompt = self._encode(request.content)
        room = self._length - len(prompt)
        if room < 1:
            raise RefusedError(
                f"the prompt fills the model's {self._length} tokens; raise params.yaml:teacher.vllm.max_model_len, or "
                "lower generate.seeds_per_request or texts_per_request"
            )
        try:
            async with asyncio.timeout(self.params.timeout_s):
                return await self._ask(prompt, self._sampling_params(request, room))
        except TimeoutError as exc:
            raise BusyError(f"no answer within {self.params.timeout_s:g} s") from exc

    def _start(self) -> Any:
        for name, value in _ENVIRONMENT.items():
            os.environ[name] = value
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415
            from vllm.platforms import current_platform  # noqa: PLC0415
            from vllm.usage.usage_lib import UsageContext  # noqa: PLC0415
            from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415
        except ImportError as exc:
            raise MissingExtraError(
                f"the teacher `vllm` needs vLLM 0.11 or newer ({_brief(exc)}); run `pip install 'polydistill[vllm]'`"
            ) from exc
        self._watcher = _kill_the_engine_with_us()
        settings = self.params.vllm
        try:
            arguments = AsyncEngineArgs(
                model=self.params.model or "",
                revision=self.params.revision,
                tokenizer_revision=self.params.revision,
                tensor_parallel_size=settings.tensor_parallel_size,
                quantization=settings.quantization,
                max_model_len=settings.max_model_len,
                gpu_memory_utilization=settings.gpu_memory_utilization,
                disable_log_stats=True,
                # On a CPU the engine dies over a request with a seed whose prompt it takes in pieces.
                enable_chunked_prefill=False if current_platform.is_cpu() else None,
            )
            # AsyncLLM and not LLM: a request goes in as soon as another is done, so the engine never waits for the
            # longest reply of a batch. The context is LLM's all the same: it chooses the larger batches of batch jobs.
            return AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        except Exception as exc:
            raise TeacherError(
                f"vLLM cannot run the model {self.params.model}: {_brief(exc)}; check in params.yaml:teacher that "
                "`model` and `revision` name a model at the Hugging Face hub or a folder, and that it fits in memory "
                "(vllm.max_model_len, quantization, tensor_parallel_size, gpu_memory_utilization)"
            ) from exc

    def _encode(self, content: str) -> list[int]:
        messages = [{"role": "user", "content": content}]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)  # they stand in the template
        return ids

    def _sampling_params(self, request: ChatRequest, room: int) -> Any:
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams  # noqa: PLC0415

        asked: dict[str, Any] = {
            "temperature": request.temperature,
            "seed": request.seed,
            "max_tokens": min(self.params.max_tokens, room),
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        if request.schema is not None:
            asked["structured_outputs"] = StructuredOutputsParams(json=dict(request.schema))
        return SamplingParams(**{**self._sampling, **asked})

    async def _ask(self, prompt: list[int], sampling: Any) -> Reply:
        from vllm.v1.engine.exceptions import EngineGenerateError  # noqa: PLC0415

        # A number and not the request's id: a second try may come while the engine still drops the first.
        id = str(next(self._numbers))
        try:
            async for output in self._engine.generate({"type": "token", "prompt_token_ids": prompt}, sampling, id):
                answer = output.outputs[0]
        except Exception as exc:
            if self._engine.errored:
                raise TeacherError(
                    "the vLLM engine has died; what it printed above says why. Run again to go on, with less "
                    "gpu_memory_utilization or max_model_len (params.yaml:teacher.vllm) if memory ran out"
                ) from exc
            if isinstance(exc, EngineGenerateError):
                raise BusyError(f"vLLM failed over the request: {_brief(exc.__cause__ or exc)}") from exc
            raise RefusedError(f"vLLM refused the request: {_brief(exc)}") from exc
        if answer.finish_reason not in ("stop", "length"):
            raise BusyError(f"the vLLM engine dropped the request ({answer.finish_reason})")
        return Reply(answer.text, answer.finish_reason, len(prompt), len(answer.token_ids))


def _kill_the_engine_with_us() -> "subprocess.Popen[bytes]":
    """Have the engine's processes end even where this one is killed on the spot; vLLM's own would go on waiting.

    Returns:
        The program that sees to it. It leaves what this process has started before alone, and ends soon after it.
    """
    import psutil  # noqa: PLC0415 - comes with the extra

    program = Path(__file__).with_name("leftovers.py")
    # -I: its folder holds modules with the names of others; a session of its own: Ctrl-C is not for it.
    others = [str(child.pid) for child in psutil.Process().children()]
    command = [sys.executable, "-I", str(program), str(os.getpid()), *others]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


def _brief(error: BaseException) -> str:
    """Return what an error says, on one line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= _MOST_OF_A_CAUSE else said[:_MOST_OF_A_CAUSE] + "…"
