"""The component of `report`."""

from kfp import dsl

from components import component


@component
def report(
    cards: dsl.Input[list[dsl.Artifact]],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Draw the page of the run.

    Args:
        cards: What `card` wrote, for each cell.
        report: The page, and its table as JSON.
        page: The page by itself, for the Kubeflow UI.
        summary: The table, for the same.
    """
    import shutil
    from pathlib import Path

    from polydistill.gather import gathered
    from polydistill.report import run_report
    from polydistill.summary import summary_markdown

    with gathered([Path(card.path) for card in cards], "card.json") as folder:
        run_report(folder, Path(report.path))
    shutil.copyfile(Path(report.path, "index.html"), page.path)
    Path(summary.path).write_text(summary_markdown(Path(report.path)), encoding="utf-8")
