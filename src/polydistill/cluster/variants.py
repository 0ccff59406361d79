"""What a run of `ablate`, whose variants share one pipeline and its pods, can have in them."""

from collections.abc import Sequence

from polydistill.ablate.variants import Variant, with_changes
from polydistill.cluster.placement import is_limited
from polydistill.errors import ParamsError
from polydistill.params import Params


def each_of(params: Params, variants: Sequence[Variant]) -> list[Params]:
    """Return params.yaml as each variant changes it.

    Raises:
        ParamsError: If a variant changes what all of them share, or something that params.yaml does not have.
    """
    shared = sorted({key for variant in variants for key in variant.changes if key.split(".")[0] == "cluster"})
    if shared:
        raise ParamsError(f"--vary {', '.join(shared)}: the variants run in the same pods; set it in params.yaml")
    return [with_changes(params, variant.changes) for variant in variants]


def for_all(each: Sequence[Params]) -> Params:
    """Return the settings by which the pods of all variants get what any of them needs.

    Raises:
        ParamsError: If they cannot share their pods, or the teacher; a line for each reason.
    """
    first = each[0]
    problems = []
    asked = list(dict.fromkeys((of.teacher.kind, of.teacher.url, of.teacher.model) for of in each))
    if first.cluster and first.cluster.teacher and len(asked) > 1:
        problems.append(
            f"the variants ask {len(asked)} teachers (kind, url and model differ), and cluster.teacher scales up one; "
            "start a run for each, or set cluster.teacher to null and have the teachers up"
        )
    if len(keys := sorted({of.teacher.key_env for of in each})) > 1:
        problems.append(
            f"the variants have teacher.key_env {' and '.join(keys)}, and a pod gets its key under one name"
        )
    if problems:
        raise ParamsError("\n".join(problems))
    students = list(dict.fromkeys(kind for of in each for kind in of.train.students))
    heaviest = max(each, key=lambda of: ("recorded", "openai", "vllm").index(of.teacher.kind)).teacher
    limited = next((of.budget for of in each if is_limited(of.budget)), first.budget)
    asking = next((of.evaluate for of in each if of.evaluate.zero_shot), first.evaluate)
    icl = next((of.train.icl for of in each if of.train.icl and of.train.icl.teacher), first.train.icl)
    train = first.train.model_copy(update={"students": students, "icl": icl})
    return first.model_copy(update={"train": train, "teacher": heaviest, "budget": limited, "evaluate": asking})


def told_size(each: Sequence[Params]) -> str:
    """Return how much the variants are to train."""
    runs = sum(len(of.cells) for of in each)
    cells = len({cell for of in each for cell in of.cells})
    trainings = sum(
        len(of.cells) * len(of.train.students) * len(of.train.sources) * len(of.train.sizes) * of.train.runs
        for of in each
    )
    in_cells = f"{cells} cell{'s' if cells > 1 else ''}"
    return f"{len(each)} variants in {in_cells}, {runs} chains of steps with at most {trainings} trainings"
