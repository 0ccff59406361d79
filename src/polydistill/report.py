"""Decides how a whole run is shown: one self-contained page over all cells, and the rows of its table as JSON."""

import logging
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from polydistill import charts
from polydistill.cell import Card, DriftTest, Gate, Interval, Measure, Spent, read_card, total
from polydistill.errors import DataError
from polydistill.files import new_folder, require_input, write_json
from polydistill.summary import (
    MINUS,
    NONE,
    SPACE,
    Row,
    between,
    duration,
    headline,
    money,
    overtaking,
    percent,
    points,
    summarise,
    whole,
)
from polydistill.verdict import holm

log = logging.getLogger(__name__)


def overtaking_sentence(card: Card) -> str:
    """Return where the winner overtakes the teacher, in a sentence."""
    student, teacher, kind = card.winning, card.teacher.accuracy, card.winner.student
    final = student.final
    size = student.overtakes_teacher_at
    trained = f"trained on all {final.size:,} accepted texts"
    if teacher is None:
        return (
            f"The {kind} student, {trained}, reaches {percent(final.accuracy)}. "
            "The teacher has no scores on the test texts, so there is nothing to overtake."
        )
    if size is not None:
        start = f"From {size:,} synthetic training texts on the {kind} student is more accurate than its teacher"
        for point in student.curve:
            if point.source == "synthetic" and point.size == size:
                runs = f" on average over {point.runs} runs" if point.runs > 1 else ""
                return f"{start}: {percent(point.mean)}{runs}, against {percent(teacher)}."
        return f"{start}, which reaches {percent(teacher)}."
    if final.accuracy > teacher:
        return (
            f"Only the final {kind} student, {trained}, overtakes its teacher: "
            f"{percent(final.accuracy)} against {percent(teacher)}."
        )
    return (
        f"The {kind} student does not overtake its teacher: {trained}, it reaches {percent(final.accuracy)}, "
        f"the teacher {percent(teacher)}."
    )


def certainty_sentence(card: Card, row: Row) -> str:
    """Return whether the gap to the teacher is beyond chance, and what the test set could have shown."""
    beside = card.winning.against_teacher
    if beside is None or row.p_value is None:
        return ""
    bounds = f"{_level(card)} interval {points(beside.interval[0])} to {points(beside.interval[1])}"
    chance = "is beyond chance" if row.beyond_chance else "may be chance"
    told = (
        f"On the same {card.counts.test:,} test texts the final student is {points(beside.difference)} points from the "
        f"teacher ({bounds}), which {chance} (p {_p(row.p_value)}, for all comparisons of the task)."
    )
    if beside.detectable_gap is None:
        return f"{told} So few texts could hardly have shown any gap."
    gap = f"{100 * beside.detectable_gap:.1f}"
    return f"{told} With so many test texts a true gap shows four times out of five from {gap} points on."


def break_even_sentence(card: Card) -> str:
    """Return within which bounds the winner breaks even with the teacher; nothing where it cannot be told."""
    found = card.winning.break_even
    return f"Break-even: {found.told}." if found else ""


def confirmation_sentence(card: Card) -> str:
    """Return whether the test texts confirm the choice of the winner; nothing where it had no rival."""
    winner = card.winner.student
    out = set(card.winner.no_candidates)
    pairs = [pair for pair in card.pairs if winner in pair.students and not out & set(pair.students)]
    if not pairs:
        return ""
    adjusted = holm([pair.p_value for pair in pairs])
    better = [
        f"{next(kind for kind in pair.students if kind != winner)} ({points(-pair.seen_from(winner))} points)"
        for pair, p_value in zip(pairs, adjusted, strict=True)
        if pair.seen_from(winner) < 0 and p_value < 1 - card.confidence
    ]
    if better:
        return f"The test texts speak against the choice: there {' and '.join(better)} did better, beyond chance."
    return "The test texts do not speak against the choice: there no other student did better beyond chance."


def _p(value: float) -> str:
    shown = p_value(value)
    return shown if shown.startswith("<") else f"= {shown}"


def _level(card: Card) -> str:
    return f"{100 * card.confidence:g}{SPACE}%"


def relative(measure: Measure) -> str:
    """Return how much the synthetic side is above or below the human one, "−15 %"; a dash where that says nothing."""
    if measure.synthetic is None or not measure.human:
        return NONE
    change = round(100 * (measure.synthetic / measure.human - 1))
    return f"{'+' if change > 0 else MINUS if change < 0 else ''}{abs(change)}{SPACE}%"


def number(value: float | None) -> str:
    """Return a measure with about three digits, None as a dash."""
    if value is None:
        return NONE
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a p-value with three digits."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def numbers(interval: Interval | None) -> str:
    """Return an interval of a measure as "0.12 to 0.34", None as nothing."""
    return "" if interval is None else f"{number(interval[0])} to {number(interval[1])}"


OUTCOMES = ("stopped", "warned", "passed", "not measured", "off")


def worst_first(card: Card) -> list[tuple[str, Gate]]:
    """Return the gates, each with its name, by their outcome."""
    return sorted(card.diversity.gates.items(), key=lambda item: OUTCOMES.index(item[1].outcome))


def verdict_sentence(card: Card) -> str:
    """Return what the gates come to, with the value and the limit of those that are not passed."""
    gates = worst_first(card)
    judged = [gate for _, gate in gates if gate.outcome not in ("off", "not measured")]
    if not judged:
        return "No gate is on, or what it looks at could not be measured."
    missed = [
        f"{words(name)} {number(gate.value)}, {gate.bound} {number(gate.limit)} wanted"
        for name, gate in gates
        if gate.outcome in ("stopped", "warned")
    ]
    unjudged = [words(name) for name, gate in gates if gate.unjudged]
    unsure = f" To stop the run, but not measured: {', '.join(unjudged)}." if unjudged else ""
    if not missed:
        return (f"All {len(judged)} gates are passed." if len(judged) > 1 else "The only gate is passed.") + unsure
    verb = "is" if len(missed) == 1 else "are"
    told = f"{len(missed)} of {len(judged)} gates {verb} not passed: {'; '.join(missed)}."
    stops = [words(name) for name, gate in gates if gate.outcome == "stopped"]
    return (f"{told} The run stops at {', '.join(stops)}." if stops else told) + unsure


MAIN_MEASURES = ("distinct_2", "self_bleu", "nearest_similarity", "copied_from_seeds", "mean_characters")


def main_measures(card: Card) -> tuple[list[tuple[str, Measure]], list[tuple[str, Measure]]]:
    """Return the measures that say most, each with its name, and the others."""
    measures = card.diversity.measures
    return (
        [(name, measures[name]) for name in MAIN_MEASURES if name in measures],
        [(name, measure) for name, measure in measures.items() if name not in MAIN_MEASURES],
    )


def diversity_sentence(card: Card) -> str:
    """Return how varied the texts are beside the others, by one measure in words."""
    measure, others = card.diversity.measures["distinct_2"], _others(card)
    if measure.synthetic is None or measure.human is None:
        return "Not measured."
    pair = f"({number(measure.synthetic)} of all pairs against {number(measure.human)})"
    change = relative(measure)
    if change.startswith(("+", MINUS)):
        said = f"{change[1:]} {'more' if change.startswith('+') else 'fewer'} different pairs of words than {others}"
    else:
        said = f"As many different pairs of words as {others}"
    if measure.intervals.difference is None:
        return f"{said} {pair}; there are too few texts to rule out chance."
    return f"{said} {pair}, {'more than chance explains' if measure.differs else 'which may be chance'}."


def _others(card: Card) -> str:
    return "human text" if card.diversity.compared_with == "human" else "the seeds"


def found_drift(card: Card) -> list[tuple[str, DriftTest]]:
    """Return the tests that found a drift, each with its name, important ones first."""
    tests = [(name, test) for name, test in card.diversity.drift.tests.items() if test.verdict != "none"]
    return sorted(tests, key=lambda item: (item[1].verdict != "important", -item[1].effect))


def no_drift(card: Card) -> list[tuple[str, DriftTest]]:
    """Return the other tests."""
    return [(name, test) for name, test in card.diversity.drift.tests.items() if test.verdict == "none"]


def drift_sentence(card: Card) -> str:
    """Return what the tests of drift come to, in a sentence or two."""
    found = {
        verdict: [words(name) for name, test in found_drift(card) if test.verdict == verdict]
        for verdict in ("important", "small")
    }
    others = _others(card)
    told = []
    if found["important"]:
        told.append(f"The generated texts differ from {others} by much in {', '.join(found['important'])}.")
    if found["small"]:
        told.append(f"A difference beyond chance, not surely a large one: {', '.join(found['small'])}.")
    return " ".join(told) or f"Nothing tells the generated texts from {others} beyond what chance explains."


def words(name: str) -> str:
    """Return a name of ours, such as `near_duplicate`, as words."""
    return name.replace("_", " ")


# What may not be known of requests, by the words for it.
COUNTED = {"prompt_tokens": "prompt tokens", "completion_tokens": "reply tokens", "cost": "cost", "seconds": "time"}


def counted(parts: Sequence[Spent]) -> list[str]:
    """Return which of `COUNTED` is known of any of the parts: the others need no column."""
    return [name for name in COUNTED if any(getattr(part, name) is not None for part in parts)]


def counting_sentence(kind: str, parts: Sequence[Spent]) -> str:
    """Return why something is not known of what was asked of a teacher of that kind; nothing where all is."""
    known = counted(parts)
    unknown = [known_as for name, known_as in COUNTED.items() if name not in known]
    replayed = "the replies come from a recording"
    if kind == "recorded" and unknown:
        return f"Not counted, since {replayed}: {', '.join(unknown)}."
    if kind == "recorded":
        return f"As it was when the recording was made: {replayed}."
    if unknown == ["cost"]:
        return "Not counted: cost, since params.yaml:budget names no prices."
    if unknown:
        return f"Not counted: {', '.join(unknown)}, since the server does not say how many tokens it took."
    partly = any(getattr(part, name) is None for name in known for part in parts)
    return f"{NONE}: not known, since some reply came without a count." if partly else ""


def judge_rejects(cards: Sequence[Card]) -> float | None:
    """Return what share of the texts of all cells the teacher rejects as their judge."""
    judges = [card.generation.judge for card in cards if card.generation.judge]
    judged = sum(judge.judged for judge in judges)
    return sum(judge.reject for judge in judges) / judged if judged else None


def missing(card: Card) -> int:
    """Return how many usable texts are missing over all labels."""
    return sum(short.missing for short in card.generation.shortfall)


def render(cards: Sequence[Card]) -> str:
    """Return the page; cells stand by task, then by the name of the language."""
    cards = in_order(cards)
    page = _environment().get_template("report.html.j2")
    tasks = {name: list(of_task) for name, of_task in groupby(cards, key=lambda card: card.task.name)}
    summary = summarise(cards)
    spents = [card.spent for card in cards]
    return page.render(
        headline=headline(summary.rows),
        summary=summary,
        means={mean.task: mean for mean in summary.means},
        tasks=tasks,
        overviews={name: _overview(name, of_task) for name, of_task in tasks.items() if len(of_task) > 1},
        cells={card.name: card for card in cards},
        rows=dict(zip((card.name for card in cards), summary.rows, strict=True)),
        spent=total(spents),
        uncounted=[known_as for name, known_as in COUNTED.items() if name not in counted(spents)],
        judge_rejects=judge_rejects(cards),
        curves={card.name: _curves(card) for card in cards},
        teachers=sorted({card.teacher.model or card.teacher.kind for card in cards}),
    )


def in_order(cards: Sequence[Card]) -> list[Card]:
    """Return the cards by task, then by the name of the language."""
    return sorted(cards, key=lambda card: (card.task.name, card.language_name, card.language))


def _curves(card: Card) -> dict[str, str]:
    """Return a chart for each student that has a curve, the winner's first."""
    kinds = sorted(card.students, key=lambda kind: (kind != card.winner.student, kind))
    return {
        kind: charts.learning_curve(
            card.students[kind],
            card.teacher.accuracy,
            f"{card.language_name}, {card.task.name}: accuracy of the {kind} student by number of training texts",
        )
        for kind in kinds
        if card.students[kind].curve
    }


def _overview(task: str, cards: Sequence[Card]) -> str:
    return charts.overview(cards, f"{task}: accuracy of student and teacher in each language")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("polydistill"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent, points=points, between=between, number=number, numbers=numbers, p_value=p_value, words=words
    )
    environment.filters.update(
        relative=relative, whole=whole, money=money, duration=duration, counted=counted, missing=missing
    )
    environment.globals.update(
        overtaking=overtaking,
        overtaking_sentence=overtaking_sentence,
        break_even_sentence=break_even_sentence,
        certainty_sentence=certainty_sentence,
        confirmation_sentence=confirmation_sentence,
        counting_sentence=counting_sentence,
        worst_first=worst_first,
        verdict_sentence=verdict_sentence,
        main_measures=main_measures,
        diversity_sentence=diversity_sentence,
        found_drift=found_drift,
        no_drift=no_drift,
        drift_sentence=drift_sentence,
        level=_level,
    )
    return environment


def read_cards(cards: Path) -> list[Card]:
    """Read every `<task>/<language>/card.json` below a folder.

    Raises:
        DataError: If there is none, one is damaged, or two are of the same cell.
    """
    found: dict[str, Path] = {}
    read = []
    for path in sorted(require_input(cards, "card").glob("*/*/card.json")):
        if any(part.startswith(".") for part in path.relative_to(cards).parts):
            continue
        card = read_card(path)
        if card.name in found:
            raise DataError(f"{path} and {found[card.name]} are both of {card.name}; remove one")
        found[card.name] = path
        read.append(card)
    if not read:
        raise DataError(f"{cards} holds no <task>/<language>/card.json; run `polydistill card` first")
    return read


def run_report(cards: Path, report: Path) -> None:
    """Write `report/index.html`, the page over all cells, and `report/summary.json`, its table.

    Args:
        cards: The folder with `<task>/<language>/card.json`.
        report: The folder to write.

    Raises:
        DataError: If there is no card, or one cannot be used.
    """
    read = in_order(read_cards(cards))
    with new_folder(report) as folder:
        (folder / "index.html").write_text(render(read), encoding="utf-8")
        write_json(folder / "summary.json", summarise(read).model_dump(mode="json"))
    log.info("%s, cells: %d", report / "index.html", len(read))
