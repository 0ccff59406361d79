"""What the page over all cells says and shows; how it looks is up to tests/browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cards import NOT_COUNTED, apart, asked, beside, explained, finding, gate, make_card, point, write_cards
from polydistill.cell import Card, Gate, Measure, MeasureIntervals
from polydistill.charts import readable_ticks
from polydistill.errors import DataError
from polydistill.files import read_json
from polydistill.report import (
    break_even_sentence,
    certainty_sentence,
    confirmation_sentence,
    counting_sentence,
    diversity_sentence,
    drift_sentence,
    number,
    overtaking_sentence,
    p_value,
    relative,
    render,
    run_report,
)
from polydistill.summary import SPACE, summarise

HOSTILE = "</p><script>alert(1)</script><img src=http://evil.example/x.png onerror=alert(2)>"
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Collects the visible texts, and what the elements are; complains of one that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += " " + data

    @property
    def said(self) -> str:
        return " ".join(self.text.split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    @property
    def charts(self) -> list[str | None]:
        return [attrs["aria-label"] for tag, attrs in self.elements if tag == "svg" and attrs.get("class") == "chart"]


def cell(page: str, name: str) -> str:
    """Return the text of one cell's section."""
    return Page(re.split(r'(?=<section class="cell")|</main>', page.split(f'id="{name}">')[1])[0] + "<p>").said


def test_one_language() -> None:
    page = Page(render([make_card("sl", teacher=0.78, final=0.85)]))
    assert "The student is more accurate than its teacher: 85.0 % against 78.0 %, beyond chance." in page.said
    assert "263 of 300 generated texts were accepted, 37 rejected" in page.said
    assert (
        "near duplicate 25 what the reason means Dober dan! meant as book_appointment · 0.83 like: Dober dan."
        in page.said
    )
    assert (
        "distinct 2 share of the neighbouring words that are different pairs; larger = more varied "
        "0.712 0.692 to 0.732 0.843 0.823 to 0.863 −0.131 −0.151 to −0.111 −16 %" in page.said
    )
    assert "auc 0.5 = not at all, 1 = always 0.910 0.870 to 0.950" in page.said
    assert page.charts == ["Slovenian, clinic: accuracy of the linear student by number of training texts"]


def test_several_tasks_stand_apart_with_their_means() -> None:
    cards = [
        make_card("sw", "topic", teacher=0.6, final=0.7),
        make_card("sl", "clinic", teacher=0.9, final=0.8, overtakes=None),
        make_card("sl", "topic", teacher=0.7, final=0.9),
    ]
    page = Page(render(cards))
    assert "In 2 of 3 cells (a task in a language) the student is more accurate than its teacher" in page.said
    assert "Mean of 2 65.0 % 80.0 % +15.0" in page.said
    sections = [attrs["id"] for tag, attrs in page.elements if tag == "section" and attrs["class"] in ("task", "cell")]
    assert sections == ["clinic", "clinic-sl", "topic", "topic-sl", "topic-sw"]
    assert page.charts[1] == "topic: accuracy of student and teacher in each language"


def test_links_of_the_table_lead_somewhere() -> None:
    page = Page(render([make_card("sl"), make_card("pt-BR"), make_card("sl", "topic")]))
    links = {(attrs["href"] or "").removeprefix("#") for tag, attrs in page.elements if tag == "a"}
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    cells = {"clinic-sl", "clinic-pt-BR", "topic-sl"}
    parts = {f"{name}-{part}" for name in cells for part in ("asked", "quality")}
    assert links == {"clinic", "topic", *cells, *parts}
    assert links <= set(ids)


def test_ids_stand_once() -> None:
    page = Page(render([make_card("sl"), make_card("sw"), make_card("az")]))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_without_teacher_scores() -> None:
    page = render([make_card("sl", teacher=None, overtakes=None)])
    said = Page(page).said
    assert "The teacher has no scores on the test texts, so there is nothing to overtake." in said
    assert "zero-shot was switched off" in said
    assert "teacher, zero-shot" not in said
    assert "overtakes at" not in said
    assert "var(--teacher)" not in page.split("</style>")[1]


def test_without_human_texts() -> None:
    page = render([make_card("sl", human={})])
    said = Page(page).said
    assert "no human training texts" in said
    assert "No curve of human texts: this language has none but the seeds." in said
    assert "Diversity beside the seeds" in said
    assert "Drift from the seeds" in said
    assert "var(--human)" not in page.split("</style>")[1]


def test_without_a_curve() -> None:
    page = Page(render([make_card("sl", synthetic={}, human={}, overtakes=None, final=0.5)]))
    assert "None: there are fewer texts than the smallest training size." in page.said
    assert page.charts == []


def test_without_rejections() -> None:
    card = make_card("sl", rejected=[])
    counts = card.counts.model_copy(update={"accepted": 300, "rejected": 0})
    page = Page(render([card.model_copy(update={"counts": counts})]))
    assert "300 of 300 generated texts were accepted, 0 rejected." in page.said


def test_another_model_answered_than_wrote() -> None:
    teacher = make_card("sl").teacher.model_copy(update={"zero_shot_model": "gpt-4"})
    assert "gpt-4 , zero-shot" in Page(render([make_card("sl").model_copy(update={"teacher": teacher})])).said


def test_what_was_not_checked_is_said() -> None:
    page = Page(render([make_card("sl", checks={"language": False, "self_revision": False})]))
    assert "The language of the texts was not checked" in page.said
    assert "Self-revision was off" in page.said


def test_warnings_and_texts_left_out_are_told() -> None:
    removed = [{"reason": "stands in the test set", "count": 3}]
    page = Page(render([make_card("sl", warnings=["a", "b", "c", "seeds.csv:9 leaks"], removed=removed)]))
    assert "1 more seeds.csv:9 leaks" in page.said
    assert "Texts left out of the input: stands in the test set (3)." in page.said


def test_what_was_asked_of_the_teacher() -> None:
    said = Page(render([make_card("sl")])).said
    assert "Strategy plain · structured replies (JSON) · teacher: Llama-3-70B-Instruct (recorded)" in said
    assert "generate texts 32 0 0 16,000 6,400 0.0352 1 min 4 s revise verdicts on them 30 0 0 15,000 6,000" in said
    assert "Sum 62 0 0 31,000 12,400 0.0682 2 min 4 s" in said
    assert "Requests to the teacher in every language" not in said


def test_replies_as_plain_lines_are_told() -> None:
    generation = make_card("sl").generation.model_copy(update={"structured": False, "strategy": "diverse"})
    said = Page(render([make_card("sl").model_copy(update={"generation": generation})])).said
    assert "Strategy diverse · replies as plain lines, since the server does not follow a schema" in said


def test_a_recording_without_counts_has_no_columns_for_them() -> None:
    said = Page(render([make_card("sl", asked=[asked("generate", 30, **NOT_COUNTED)])])).said
    assert "Purpose Requests Retries Failed generate texts 30 0 0 Sum 30 0 0" in said
    assert "Not counted, since the replies come from a recording: prompt tokens, reply tokens, cost, time." in said


def test_all_cells_are_summed_with_a_dash_for_what_is_not_known_of_one() -> None:
    silent = [asked("generate", 10, cost=None, completion_tokens=None)]
    page = Page(render([make_card("sl", asked=[asked("generate", 20)]), make_card("sw", asked=silent)]))
    assert "Slovenian 20 0 0 10,000 4,000 0.0220 40.0 s 5.0 % 4" in page.said
    assert "Swahili 10 0 0 5,000 – – 20.0 s 5.0 % 4" in page.said
    assert "All 2 30 0 0 15,000 – – 1 min 0 s 5.0 % 8 –: not known of every request." in page.said


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        pytest.param("openai", {}, "", id="all known"),
        pytest.param(
            "openai", {"cost": None}, "Not counted: cost, since params.yaml:budget names no prices.", id="no prices"
        ),
        pytest.param(
            "vllm",
            {"prompt_tokens": None, "completion_tokens": None, "cost": None},
            "Not counted: prompt tokens, reply tokens, cost, since the server does not say how many tokens it took.",
            id="no counts",
        ),
        pytest.param(
            "recorded", {}, "As it was when the recording was made: the replies come from a recording.", id="replayed"
        ),
    ],
)
def test_counting_sentence(kind: str, changes: dict[str, None], sentence: str) -> None:
    card = make_card("sl", asked=[asked("generate", 30, **changes)])
    assert counting_sentence(kind, card.asked) == sentence


def test_a_count_that_is_missing_here_and_there() -> None:
    card = make_card("sl", asked=[asked("generate", 30), asked("revise", 30, prompt_tokens=None)])
    assert counting_sentence("openai", card.asked) == "–: not known, since some reply came without a count."


def test_failures_and_faults_are_told() -> None:
    faults = [explained("fenced", 7, "a Markdown fence around what was asked for")]
    rows = [asked("generate", 30, failed=3, failures=[{"reason": "HTTP 500", "count": 3}], faults=faults)]
    said = Page(render([make_card("sl", asked=rows)])).said
    assert "Why requests failed (generate): HTTP 500 (3)." in said
    assert "fenced a Markdown fence around what was asked for generate 7" in said


def test_the_judge_is_told_with_its_contradictions() -> None:
    said = Page(render([make_card("sl")])).said
    assert "accepted 270 90.0 % repaired 9 3.0 % rejected 15 5.0 % without verdict 6 2.0 %" in said
    assert "It found fault with the language of 3 texts in which the rules find the right one." in said
    assert "It accepted 27 texts that the rules reject, 10.0 % of those it accepted: wrong language : 27" in said


def test_a_judge_in_a_language_that_no_rule_checks() -> None:
    said = Page(render([make_card("sl", checks={"language": False, "self_revision": True})])).said
    assert "It found fault with the language of 3 texts, which no rule checks here." in said


def test_without_a_judge_a_shortfall_or_unreadable_replies() -> None:
    nothing = {"judge": None, "shortfall": [], "unreadable": []}
    generation = make_card("sl").generation.model_copy(update=nothing)
    said = Page(render([make_card("sl").model_copy(update={"generation": generation})])).said
    assert "as judge" not in said
    assert "Texts missing:" not in said
    assert "could not be read" not in said


def test_a_shortfall_is_told_by_label_with_its_reasons() -> None:
    said = Page(render([make_card("sl")])).said
    assert "Texts missing: 4 of 250" in said
    assert (
        "prescription: 4 missing 3 × near duplicate: nearly the same as another text of the label "
        "2 × cut off: the reply stops before its end" in said
    )
    assert "Replies that could not be read: 2 cut off : 2 the reply stops before its end" in said


def test_several_students_each_have_a_chart_the_winner_first() -> None:
    card = make_card("sl")
    students = {"encoder": card.students["linear"], "linear": card.students["linear"]}
    page = Page(render([card.model_copy(update={"students": students})]))
    assert [str(title).split("the ")[1] for title in page.charts] == [
        "linear student by number of training texts",
        "encoder student by number of training texts",
    ]


def test_texts_are_shown_not_run() -> None:
    hard = [finding(HOSTILE, 1, (HOSTILE, HOSTILE), meaning=HOSTILE)]
    agreement = {
        "pairs": [{"checks": [HOSTILE, HOSTILE], "texts": 1, "found": [1, 1]}],
        "alone": [{"reason": HOSTILE, "count": 1}],
    }
    card = make_card("sl", rejected=hard, marked=hard, agreement=agreement, warnings=[HOSTILE])
    teacher = card.teacher.model_copy(update={"model": HOSTILE, "note": HOSTILE})
    task = card.task.model_copy(update={"instruction": HOSTILE})
    rows = [asked(HOSTILE, 3, failed=1, failures=[{"reason": HOSTILE, "count": 1}], faults=[explained(HOSTILE, 1, "")])]
    hostile = card.model_copy(update={"teacher": teacher, "task": task, "language_name": HOSTILE})
    page = Page(render([hostile.model_copy(update={"asked": make_card(asked=rows).asked})]))
    assert page.count("script") == page.count("img") == 0
    assert page.said.count("<script>alert(1)</script>") >= 20


def test_example_texts_carry_language_and_direction() -> None:
    page = Page(render([make_card("ar", rejected=[finding("markup", 1, ("موعد", ""))])]))
    assert ("p", {"lang": "ar", "dir": "auto"}) in page.elements


def test_nothing_is_fetched() -> None:
    page = render([make_card("sl"), make_card("sw")])
    assert "http" not in page.replace("http-equiv", "").replace("--http", "")
    assert "url(" not in page.split("</style>")[0]
    assert set(re.findall(r"url\(([^)]{1})", page)) == {"#"}
    fetching = {"script", "img", "iframe", "object", "embed", "image", "video", "audio", "source", "foreignobject"}
    assert not fetching & {tag for tag, _ in Page(page).elements}
    assert "default-src 'none'" in page


def test_charts_take_the_page_s_colours_and_font() -> None:
    charts = "".join(re.findall(r'<svg [^>]*class="chart".*?</svg>', render([make_card("sl"), make_card("sw")])))
    assert "#0" not in re.sub(r'"#\w+"|url\(#\w+\)', "", charts)
    assert "font-family" not in charts
    assert "<text" in charts
    assert "<style" not in charts


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        pytest.param(
            make_card(overtakes=100),
            "From 100 synthetic training texts on the linear student is more accurate than its teacher: "
            "79.0 % on average over 20 runs, against 78.0 %.",
            id="on the curve",
        ),
        pytest.param(
            make_card(overtakes=None, teacher=0.84),
            "Only the final linear student, trained on all 263 accepted texts, overtakes its teacher: "
            "85.0 % against 84.0 %.",
            id="with all texts only",
        ),
        pytest.param(
            make_card(overtakes=None, teacher=0.9),
            "The linear student does not overtake its teacher: trained on all 263 accepted texts, "
            "it reaches 85.0 %, the teacher 90.0 %.",
            id="never",
        ),
        pytest.param(
            make_card(overtakes=None, teacher=None),
            "The linear student, trained on all 263 accepted texts, reaches 85.0 %. "
            "The teacher has no scores on the test texts, so there is nothing to overtake.",
            id="no teacher",
        ),
    ],
)
def test_overtaking_sentence(card: Card, sentence: str) -> None:
    assert overtaking_sentence(card).replace("\N{NO-BREAK SPACE}", " ") == sentence


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (0.82, "is +3.0 points from the teacher (95 % interval −2.0 to +8.0), which may be chance (p = 0.300, for all"),
        (
            0.7,
            "is +15.0 points from the teacher (95 % interval +10.0 to +20.0), which is beyond chance (p = 0.001, for",
        ),
        (
            0.82,
            "comparisons of the task). With so many test texts a true gap shows four times out of five from 8.0",
        ),
    ],
)
def test_certainty_sentence(teacher: float, said: str) -> None:
    card = make_card(teacher=teacher, final=0.85)
    (row,) = summarise([card]).rows
    assert said in certainty_sentence(card, row).replace("\N{NO-BREAK SPACE}", " ")


def test_a_gap_that_no_test_set_of_this_size_shows_is_said() -> None:
    card = make_card(teacher=0.82, final=0.85)
    linear = card.students["linear"]
    beside = linear.against_teacher.model_copy(update={"detectable_gap": None})
    card = card.model_copy(update={"students": {"linear": linear.model_copy(update={"against_teacher": beside})}})
    assert certainty_sentence(card, summarise([card]).rows[0]).endswith("So few texts could hardly have shown any gap.")


def test_without_a_teacher_there_is_nothing_to_judge() -> None:
    card = make_card(teacher=None)
    assert certainty_sentence(card, summarise([card]).rows[0]) == break_even_sentence(card) == ""


def test_p_values_are_adjusted_for_all_students_in_all_languages_of_the_task() -> None:
    cards = []
    for language, p_values in (("sl", (0.01, 0.04)), ("sw", (0.02, 0.6))):
        card = make_card(language)
        linear = card.students["linear"]
        students = {
            kind: linear.model_copy(
                update={"against_teacher": linear.against_teacher.model_copy(update={"p_value": p})}
            )
            for kind, p in zip(("linear", "encoder"), p_values, strict=True)
        }
        cards.append(card.model_copy(update={"students": students}))
    cards.append(make_card("az", "another"))
    rows = summarise(cards).rows
    assert [row.p_value for row in rows] == pytest.approx([0.04, 0.06, 0.001])  # 4 × 0.01, 3 × 0.02, 1 × 0.001
    assert [row.beyond_chance for row in rows] == [True, False, True]


@pytest.mark.parametrize(
    ("difference", "p_value", "said"),
    [
        (0.03, 0.2, "The test texts do not speak against the choice: there no other student did better beyond chance."),
        (
            -0.03,
            0.2,
            "The test texts do not speak against the choice: there no other student did better beyond chance.",
        ),
        (
            -0.08,
            0.001,
            "The test texts speak against the choice: there encoder (+8.0 points) did better, beyond chance.",
        ),
    ],
)
def test_the_choice_is_confirmed_on_the_test_texts(difference: float, p_value: float, said: str) -> None:
    pairs = [{"students": ["linear", "encoder"], **apart(difference, p_value=p_value)}]
    assert confirmation_sentence(make_card(pairs=pairs)) == said
    turned = [{"students": ["encoder", "linear"], **apart(-difference, p_value=p_value)}]
    assert confirmation_sentence(make_card(pairs=turned)) == said
    assert said in Page(render([make_card(pairs=pairs)])).said


def test_a_winner_without_a_rival_has_nothing_to_confirm() -> None:
    assert confirmation_sentence(make_card()) == ""


@pytest.mark.parametrize(
    ("synthetic", "human", "shown"),
    [(0.85, 1.0, "−15 %"), (1.2, 1.0, "+20 %"), (1.001, 1.0, "0 %"), (None, 1.0, "–"), (0.5, 0.0, "–")],
)
def test_relative(synthetic: float | None, human: float | None, shown: str) -> None:
    nothing = MeasureIntervals(synthetic=None, human=None, difference=None)
    measure = Measure(synthetic=synthetic, human=human, difference=None, intervals=nothing, meaning="")
    assert relative(measure).replace("\N{NO-BREAK SPACE}", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, "0.123"), (2.345, "2.35"), (52.94, "52.9"), (1234.5, "1,234"), (-0.5, "−0.500"), (None, "–")],
)
def test_number(value: float | None, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0004, "< 0.001"), (0.0496, "0.050")])
def test_p_value(value: float, shown: str) -> None:
    assert p_value(value) == shown


def test_differences_beyond_chance_are_in_bold() -> None:
    page = render([make_card("sl")])
    assert "<b>−0.131<" in page
    assert "<b>0.010<" not in page and ">0.010<" in page


def test_drift_is_told_by_how_much_it_matters() -> None:
    card = make_card("sl")
    assert drift_sentence(card) == (
        "The generated texts differ from human text by much in characters. "
        "A difference beyond chance, not surely a large one: share of capitals."
    )
    said = Page(render([card])).said
    assert "characters largest gap important 0.410 0.320 to 0.500 0.300 < 0.001" in said
    assert "labels largest gap none 0.060 0.000 to 0.150 0.300 0.878" in said
    none = card.diversity.drift.model_copy(update={"tests": {}})
    without = card.model_copy(update={"diversity": card.diversity.model_copy(update={"drift": none})})
    assert drift_sentence(without) == "Nothing tells the generated texts from human text beyond what chance explains."


def with_gates(**gates: dict[str, Any]) -> Card:
    """Return a card with these gates."""
    card = make_card("sl")
    made = {name: Gate.model_validate(content) for name, content in gates.items()}
    return card.model_copy(update={"diversity": card.diversity.model_copy(update={"gates": made})})


def test_the_verdict_on_the_texts_comes_first_and_stands_in_the_table_of_all_cells() -> None:
    said = Page(render([make_card("sl")])).said
    verdict = (
        "How good is the synthetic text? Warned 1 of 3 gates is not passed: language purity 0.930, at least 0.950 "
        "wanted. Rejected 37 of 300 texts, 12.3 %, most often: near duplicate (25) "
        "Marked, and kept doubtful label (6) "
        "Diversity 16 % fewer different pairs of words than human text (0.712 of all pairs against 0.843), more than "
        "chance explains. Drift The generated texts differ from human text by much in characters."
    )
    assert verdict in said
    assert "263 of 300 warned linear" in said
    assert said.index(verdict) < said.index("What was rejected, and why")


def test_gates_are_told_worst_first_with_the_texts_against_them() -> None:
    said = Page(render([make_card("sl")])).said
    assert (
        "Value Outcome language purity what the gate looks at 0.930 at least 0.950 warned "
        "auc what the gate looks at 0.910 at most 0.950 passed" in said
    )
    assert (
        "Texts that speak against language purity: Good morning! meant as book_appointment · likelier English" in said
    )


MISSED = {"passed": False}


@pytest.mark.parametrize(
    ("card", "said"),
    [
        pytest.param(
            with_gates(auc=gate(0.9, 0.95), copied_seeds=gate(0.0, 0.1)), "Passed All 2 gates are passed.", id="all"
        ),
        pytest.param(with_gates(auc=gate(0.9, 0.95)), "Passed The only gate is passed.", id="one"),
        pytest.param(
            with_gates(auc=gate(0.9, 0.95), language_purity=gate(None, 0.95, passed=None, action="stop")),
            "Warned The only gate is passed. To stop the run, but not measured: language purity.",
            id="one that stops and was not measured",
        ),
        pytest.param(
            with_gates(auc=gate(0.97, 0.95, **MISSED), drift=gate(0.7, 0.3, **MISSED, action="stop")),
            "Stopped 2 of 2 gates are not passed: drift 0.700, at most 0.300 wanted; "
            "auc 0.970, at most 0.950 wanted. The run stops at drift.",
            id="the worst counts",
        ),
        pytest.param(
            with_gates(
                auc=gate(None, 0.95, passed=None),
                drift=gate(0.7, 0.3, **MISSED, action="off"),
                copied_seeds=gate(0.0, 0.1),
            ),
            "Passed The only gate is passed.",
            id="off and not measured do not count",
        ),
        pytest.param(
            with_gates(auc=gate(None, 0.95, passed=None)),
            "Not judged No gate is on, or what it looks at could not be measured.",
            id="none",
        ),
    ],
)
def test_verdict_of_the_gates(card: Card, said: str) -> None:
    page = Page(render([card])).said
    assert f"How good is the synthetic text? {said}" in page
    assert f"263 of 300 {card.diversity.verdict} linear" in page


def test_gates_that_say_nothing_are_told_as_such() -> None:
    card = with_gates(auc=gate(None, 0.95, passed=None), drift=gate(0.7, 0.3, passed=False, action="off"))
    said = Page(render([card])).said
    assert "auc what the gate looks at – at most 0.950 not measured" in said
    assert "drift what the gate looks at 0.700 at most 0.300 off" in said


def with_distinct(measure: dict[str, Any]) -> Card:
    """Return a card with that measure of different pairs of words."""
    card = make_card("sl")
    measures = {**card.diversity.measures, "distinct_2": Measure.model_validate(measure)}
    return card.model_copy(update={"diversity": card.diversity.model_copy(update={"measures": measures})})


@pytest.mark.parametrize(
    ("synthetic", "human", "half", "said"),
    [
        (
            0.6,
            0.8,
            0.02,
            "25 % fewer different pairs of words than human text (0.600 of all pairs against 0.800), more",
        ),
        (0.8, 0.7, 0.2, "14 % more different pairs of words than human text (0.800 of all pairs against 0.700), which"),
        (0.8, 0.8, 0.2, "As many different pairs of words as human text (0.800 of all pairs against 0.800), which"),
    ],
)
def test_diversity_sentence(synthetic: float, human: float, half: float, said: str) -> None:
    sentence = diversity_sentence(with_distinct(beside(synthetic, human, half, "")))
    assert sentence.replace(SPACE, " ").startswith(said)


def test_diversity_of_a_few_texts() -> None:
    nothing = {"synthetic": None, "human": None, "difference": None}
    few = {**beside(0.7, 0.8, 0.1, ""), "intervals": nothing}
    assert diversity_sentence(with_distinct(few)).endswith("; there are too few texts to rule out chance.")
    assert diversity_sentence(with_distinct({**nothing, "intervals": nothing, "meaning": ""})) == "Not measured."


def test_marked_texts_are_told_apart_from_rejected_ones() -> None:
    said = Page(render([make_card("sl")])).said
    assert (
        "What was marked, and kept These texts stay among the accepted ones. Look at a few: should they? "
        "doubtful label 6 what the reason means Kdaj pridem? meant as book_appointment · rather opening_hours, "
        "0.97 against 0.02" in said
    )
    said = Page(render([make_card("sl", marked=[])])).said
    assert "What was marked" not in said
    assert "Marked, and kept no text" in said


def test_rare_reasons_are_folded_but_named() -> None:
    reasons = [finding(f"reason_{n}", 10 - n, (f"text {n}", "")) for n in range(6)]
    page = render([make_card("sl", rejected=reasons)])
    folded = page.split("2 more reasons: reason 4 6, reason 5 5")
    assert "text 3" in folded[0] and "text 4" not in folded[0]
    assert "text 4" in folded[1].split("</details>")[0]


def test_checks_that_agree_stand_in_a_table() -> None:
    said = Page(render([make_card("sl")])).said
    assert "Texts found by both by the first by the second wrong language, judge rejected 5 8 12" in said
    assert "Found by no other of these checks: markup (12)." in said


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (["markup", "wrong_language"], "No text was found by two checks that look at each text by itself."),
        (["markup"], "Nothing to compare: fewer than two of the checks that look at each text by itself found any."),
        ([], "Nothing to compare: fewer than two of the checks that look at each text by itself found any."),
    ],
)
def test_checks_without_a_text_in_common(alone: list[str], said: str) -> None:
    agreement = {"pairs": [], "alone": [{"reason": reason, "count": 3} for reason in alone]}
    page = Page(render([make_card("sl", agreement=agreement)])).said
    assert said in page
    assert "Two checks" not in page


def test_measures_beyond_the_main_ones_are_folded() -> None:
    page = render([make_card("sl")])
    before, folded = page.split("2 more measures</summary>")
    assert ">distinct 2<" in before and ">compression ratio<" not in before
    assert ">compression ratio<" in folded.split("</details>")[0]


def test_tests_that_found_no_drift_are_folded() -> None:
    before, folded = render([make_card("sl")]).split("1 test without a finding</summary>")
    assert "important" in before
    assert ">labels<" in folded.split("</details>")[0]


def test_the_caption_of_a_curve_says_how_samples_were_drawn() -> None:
    card = make_card("sl")
    students = {kind: student.model_copy(update={"subset": "diverse"}) for kind, student in card.students.items()}
    assert "means over runs on random samples of each size" in Page(render([card])).said
    said = Page(render([card.model_copy(update={"students": students})])).said
    assert "means over runs on diverse samples of each size" in said


def test_labels_have_a_line_of_their_own() -> None:
    assert "book_appointment 20 0.700 0.800 0.700 0.800 0.880" in Page(render([make_card("sl")])).said


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([10, 20, 50, 100, 200], [10, 20, 50, 100, 200]),
        ([10, 20, 50, 100, 200, 500, 1000, 2000], [10, 20, 50, 100, 200, 500, 1000, 2000]),
        ([100, 110, 120, 130, 1000], [100, 130, 1000]),
        ([50], [50]),
    ],
)
def test_labels_of_the_size_axis_keep_apart(sizes: list[int], kept: list[int]) -> None:
    assert readable_ticks(sizes) == kept


def test_the_same_cards_give_the_same_bytes(tmp_path: Path) -> None:
    cards = write_cards(tmp_path / "cards", make_card("sl"), make_card("sw"))
    run_report(cards, tmp_path / "one")
    run_report(cards, tmp_path / "two")
    for name in ("index.html", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_summary_holds_the_rows_of_the_table(tmp_path: Path) -> None:
    cards = write_cards(tmp_path / "cards", make_card("sl", teacher=0.78, final=0.85), make_card("sw", teacher=None))
    run_report(cards, tmp_path / "report")
    summary = read_json(tmp_path / "report" / "summary.json")
    assert [row["language"] for row in summary["rows"]] == ["sl", "sw"]
    assert summary["rows"][0] == {
        "task": "clinic",
        "language": "sl",
        "language_name": "Slovenian",
        "winner": "linear",
        "teacher_accuracy": 0.78,
        "student_accuracy": 0.85,
        "student_interval": [0.78, 0.92],
        "gap": 0.07,
        "p_value": 0.001,
        "beyond_chance": True,
        "overtakes_teacher_at": 100,
        "accepted": 263,
        "generated": 300,
        "kept_leaks": 0,
    }
    assert summary["means"] == [
        {"task": "clinic", "languages": 2, "teacher_accuracy": None, "student_accuracy": 0.85, "gap": None}
    ]


def test_half_written_cards_are_passed_over(tmp_path: Path) -> None:
    cards = write_cards(tmp_path / "cards", make_card("sl"))
    (cards / "clinic" / "sl").rename(cards / "clinic" / ".sl.partial-7")
    write_cards(cards, make_card("sw"))
    run_report(cards, tmp_path / "report")
    assert [row["language"] for row in read_json(tmp_path / "report" / "summary.json")["rows"]] == ["sw"]


def test_no_card_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cards is missing; run `polydistill card` first"):
        run_report(tmp_path / "cards", tmp_path / "report")
    (tmp_path / "cards").mkdir()
    with pytest.raises(DataError, match="holds no <task>/<language>/card.json"):
        run_report(tmp_path / "cards", tmp_path / "report")


def test_two_cards_of_one_cell(tmp_path: Path) -> None:
    cards = write_cards(tmp_path / "cards", make_card("sl"))
    (cards / "clinic" / "sl").rename(cards / "clinic" / "copy")
    write_cards(cards, make_card("sl"))
    with pytest.raises(DataError, match="are both of clinic/sl"):
        run_report(cards, tmp_path / "report")


def test_a_damaged_card_leaves_the_old_page(tmp_path: Path) -> None:
    cards = write_cards(tmp_path / "cards", make_card("sl"))
    run_report(cards, tmp_path / "report")
    (cards / "clinic" / "sl" / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"card.json:1: not JSON"):
        run_report(cards, tmp_path / "report")
    assert (tmp_path / "report" / "index.html").exists()


def test_a_curve_of_one_size_is_drawn() -> None:
    card = make_card("sl", synthetic={50: 0.7}, human={}, overtakes=None)
    assert card.students["linear"].curve[0].size == point("synthetic", 50, 0.7)["size"]
    assert len(Page(render([card])).charts) == 1
