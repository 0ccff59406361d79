"""What goes into the bento: the winners, the service, the library that both need, a model card, and pinned packages."""

import logging
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import yaml
from packaging.requirements import Requirement

import polydistill
from polydistill.bento import NO_TRACKING, bentoml_command, bentoml_environment
from polydistill.cell import Card, read_card
from polydistill.classifier import MAX_CHARACTERS, MAX_TEXTS, winner_cells
from polydistill.errors import DataError, MissingExtraError, PolydistillError
from polydistill.files import digest, new_folder, read_json, read_yaml, require_input
from polydistill.params import PackageParams
from polydistill.summary import between, duration, money, percent, whole

log = logging.getLogger(__name__)

LIBRARY = Path(polydistill.__file__).parent
# What serving/service.py imports, directly or not; no more, so that only what serves makes a new version of the bento.
SERVING = (
    "__init__.py",
    "classifier.py",
    "errors.py",
    "files.py",
    "language.py",
    "params.py",
    "prompts",
    "relatives.yaml",
    "students",
    "task.py",
    "text.py",
    "traffic.py",
)
SERVED_WITH = {"linear": "serve", "encoder": "serve-encoder", "lora": "serve-lora"}
"""The extra that a service needs, by the kind of the winner."""
# BentoML writes the time of the build; in its place stands one that is the same for the same content.
CREATION_TIME = "1970-01-01T00:00:00+00:00"


def model_card(name: str, cards: Sequence[Card]) -> str:
    """Return the model card in Markdown, which is the README of the bento."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(LIBRARY / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
    environment.filters |= {"percent": percent, "between": between, "cell": _table_cell, "foreign": _foreign}
    environment.filters |= {"whole": whole, "money": money, "duration": duration}
    by_task: dict[str, list[Card]] = {}
    for card in cards:
        by_task.setdefault(card.task.name, []).append(card)
    return environment.get_template("model_card.md.j2").render(
        name=name,
        languages=list(dict.fromkeys(card.language_name for card in cards)),
        cards=cards,
        by_task=by_task,
        max_texts=MAX_TEXTS,
        max_characters=MAX_CHARACTERS,
    )


def _table_cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _foreign(value: object) -> str:
    """Return text that the teacher or its server chose so that Markdown, in a table or not, shows it as it is."""
    return re.sub(r"[\\`*\[\]<>&|~#!]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(str(value).split()))


def pinned_requirements(*roots: str) -> list[str]:
    """Return `name==version` of all that extras of polydistill need, as it is installed here.

    Raises:
        MissingExtraError: If something is not installed.
    """
    known = metadata.metadata("polydistill").get_all("Provides-Extra") or []
    if unknown := sorted({*roots} - {*known}):
        raise MissingExtraError(
            f"polydistill was installed before it had the extra {', '.join(unknown)}, which the service needs; "
            f"run: pip install 'polydistill[{','.join(roots)}]'"
        )
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(f"polydistill[{','.join(roots)}]")]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            if (requirement.name.lower(), extra) in seen:
                continue
            seen.add((requirement.name.lower(), extra))
            try:
                found = metadata.distribution(requirement.name)
            except metadata.PackageNotFoundError as exc:
                needed = f"{requirement.name} is not installed, which the service needs"
                raise MissingExtraError(f"{needed}; run: pip install 'polydistill[{','.join(roots)}]'") from exc
            # The index has no local versions, such as the +cpu of PyTorch.
            pins[found.name] = f"{found.name}=={found.version.partition('+')[0]}"
            needed_by_it = map(Requirement, found.requires or [])
            waiting += [r for r in needed_by_it if r.marker is None or r.marker.evaluate({"extra": extra})]
    del pins["polydistill"]
    return sorted(pins.values(), key=str.lower)


def run_package(winners: Path, cards: Path, bento: Path, params: PackageParams) -> None:
    """Write a bento that `bentoml serve` and `bentoml containerize` take, and that needs nothing from elsewhere.

    Args:
        winners: Folder with <task>/<language>/{winner.json, model/}.
        cards: Folder with <task>/<language>/card.json.
        bento: Folder to write; the same winners and cards give the same bytes.
        params: Section `package` of params.yaml.

    Raises:
        DataError: If there is no winner, or one does not fit its digest or its card.
        PolydistillError: If BentoML cannot build the bento.
    """
    cells = winner_cells(winners)
    told = [_check_winner(winners / cell, require_input(cards / cell / "card.json", "card")) for cell in cells]
    with new_folder(bento) as folder, tempfile.TemporaryDirectory(prefix="polydistill-package-") as scratch:
        context = Path(scratch, "context")
        _copy_library(context / "polydistill")
        shutil.copyfile(service_source(), context / "service.py")
        for cell in cells:
            # Known answers and human texts stay behind: the service needs none of them.
            shutil.copytree(winners / cell / "model", context / "winners" / cell / "model")
            shutil.copyfile(winners / cell / "winner.json", context / "winners" / cell / "winner.json")
        (context / "README.md").write_text(model_card(params.name, told), encoding="utf-8")
        needed = sorted({SERVED_WITH[card.winner.student] for card in told})
        (context / "requirements.txt").write_text("\n".join(pinned_requirements(*needed)) + "\n", encoding="utf-8")
        (context / "bentofile.yaml").write_text(yaml.safe_dump(_bentofile()), encoding="utf-8")
        version = digest(context)[:16]
        shutil.copytree(_build(context, params.name, version, Path(scratch, "home")), folder, dirs_exist_ok=True)
        folder.chmod(0o755)  # BentoML builds in a folder of this user's alone
        _pin_creation_time(folder / "bento.yaml")
    log.info("%s:%s in %s, winners: %d", params.name, version, bento, len(cells))


def service_source() -> Path:
    """Return the file of the service: the one installed with the library, else that of the checkout."""
    places = [LIBRARY / "_serving" / "service.py", LIBRARY.parents[1] / "serving" / "service.py"]
    for place in places:
        if place.is_file():
            return place
    raise PolydistillError(f"the service is missing in {places[0].parent}; install polydistill again")


def _check_winner(winner: Path, card_file: Path) -> Card:
    digests = read_json(winner / "winner.json")["digests"]
    if digest(winner / "model") != digests["model"]:
        raise DataError(
            f"{winner / 'model'} is not the model that winner.json tells of; run `polydistill select` again"
        )
    card = read_card(card_file)
    if card.winner.digests != digests:
        raise DataError(f"{card_file} tells of another winner than {winner}; run `polydistill card` again")
    return card


def _copy_library(target: Path) -> None:
    target.mkdir(parents=True)
    for name in SERVING:
        if (LIBRARY / name).is_dir():
            shutil.copytree(LIBRARY / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(LIBRARY / name, target / name)


def _bentofile() -> dict[str, Any]:
    return {
        "service": "service:Classification",
        "description": "file:README.md",
        "include": ["*"],
        "docker": {"python_version": ".".join(platform.python_version_tuple()[:2])},
        "envs": [{"name": name, "value": value} for name, value in NO_TRACKING.items()],
        # They are pinned already, all of them, and a lock would be made online.
        "python": {"requirements_txt": "requirements.txt", "lock_packages": False},
    }


def _build(context: Path, name: str, version: str, home: Path) -> Path:
    """Return the bento that BentoML makes of the context, in a store of its own."""
    command = bentoml_command("build", str(context), "--name", name, "--version", version)
    # BentoML is to be named by its version, wherever it was installed from.
    environment = bentoml_environment(home) | {"BENTOML_NO_LOCAL_URL": "True"}
    done = subprocess.run(command, env=environment, cwd=context, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise PolydistillError(f"BentoML could not build the bento; its last words:\n{last}")
    return home / "bentos" / name / version


def _pin_creation_time(bento_yaml: Path) -> None:
    facts = read_yaml(bento_yaml) | {"creation_time": CREATION_TIME}
    bento_yaml.write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")
