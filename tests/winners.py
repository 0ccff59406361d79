"""Builds winners and their cards as `select` and `card` write them, with students trained on a few sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cards import make_card
from polydistill.files import digest, write_json
from polydistill.properties import text_properties
from polydistill.records import write_rows
from polydistill.select import REFERENCE
from polydistill.students import Student
from polydistill.students.linear import LinearStudent

Texts = Mapping[str, Sequence[str]]  # label -> texts

SLOVENIAN: Texts = {
    "book": [
        "Rada bi se naročila na pregled.",
        "Imate ta teden še kak prost termin?",
        "Kdaj lahko pripeljem otroka k zdravnici?",
        "Potrebujem nov termin pri zobarju.",
    ],
    "cancel": [
        "Žal moram odpovedati jutrišnji obisk.",
        "Jutri me ne bo, prosim, prekličite.",
        "Odpovedujem pregled v petek.",
        "Ne morem priti, črtajte me s seznama.",
    ],
}
SWAHILI: Texts = {
    "book": [
        "Naomba miadi ya kumwona daktari kesho.",
        "Je, kuna nafasi wiki hii kwa mtoto wangu?",
        "Nataka kuja kupimwa meno.",
        "Ninahitaji kuonana na muuguzi.",
    ],
    "cancel": [
        "Samahani, sitaweza kuja kesho.",
        "Tafadhali futa miadi yangu ya Ijumaa.",
        "Naomba kughairi miadi ya mtoto wangu.",
        "Siwezi kufika, ondoeni jina langu.",
    ],
}


def build_winner(work: Path, cell: str, texts: Texts, untrained: Student | None = None) -> None:
    """Write winners/<cell> and cards/<cell> below `work`; the winner is trained on `texts` and asked them again."""
    task, language = cell.split("/")
    winner = work / "winners" / cell
    (winner / "model").mkdir(parents=True)
    every = [(text, label) for label, of_label in texts.items() for text in of_label]
    student = (untrained or LinearStudent()).fit([text for text, _ in every], [label for _, label in every])
    student.save(winner / "model")
    probabilities = student.predict_proba([text for text, _ in every])
    answers = [
        {"text": text, "label": student.classes_[row.argmax()], "probability": float(row.max())}
        for (text, _), row in zip(every, probabilities, strict=True)
    ]
    write_json(winner / "known_answers.json", answers)
    digests = {"model": digest(winner / "model"), "accepted": "09bc" * 16}
    facts = {
        "task": task,
        "language": language,
        "student": student.kind,
        "labels": student.classes_,
        "digests": digests,
    }
    write_json(winner / "winner.json", {"schema_version": 1, **facts, "teacher": ["Llama-3-70B-Instruct"]})
    build_reference(winner, [text for text, _ in every], [answer["label"] for answer in answers])
    card = make_card(language, task)
    won = card.winner.model_copy(update={"digests": digests, "student": student.kind})
    card = card.model_copy(update={"winner": won, "students": {student.kind: card.students["linear"]}})
    (work / "cards" / cell).mkdir(parents=True)
    write_json(work / "cards" / cell / "card.json", card.model_dump(mode="json"))


def build_reference(winner: Path, texts: Sequence[str], labels: Sequence[str]) -> None:
    """Write the reference.parquet of a winner: what the drift monitor compares with."""
    columns = text_properties(texts)
    rows = [{"label": label, **{name: columns[name][i] for name in columns}} for i, label in enumerate(labels)]
    write_rows(winner / "reference.parquet", rows, REFERENCE)
