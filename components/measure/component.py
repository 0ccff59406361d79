"""The component of `measure`."""

from kfp import dsl

from components import component


@component
def measure(
    prepared: dsl.Input[dsl.Dataset],
    prepared_digest: str,
    filtered: dsl.Input[dsl.Dataset],
    filtered_digest: str,
    params: dict,
    measured: dsl.Output[dsl.Artifact],
    drift: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Compare the accepted texts with human ones.

    Kubeflow keeps no output of a step that fails. So where a gate stops the run this one ends well, and `card` fails.

    Args:
        prepared: What `prepare` wrote.
        prepared_digest: Its digest, as Kubeflow's cache does not look into artifacts.
        filtered: What `filter` wrote.
        filtered_digest: Its digest.
        params: Section `measure` of params.yaml.
        measured: Diversity, drift and gates as numbers, and the drift report.
        drift: The drift report by itself, for the Kubeflow UI.
        metrics: Each measure of diversity, synthetic beside human.

    Returns:
        Digest of the measures.
    """
    import logging
    import shutil
    from pathlib import Path

    from polydistill.files import digest, read_json
    from polydistill.measure import GateError, run_measure
    from polydistill.params import MeasureParams, check_struct

    settings = check_struct(MeasureParams, params, "measure")
    try:
        run_measure(Path(prepared.path), Path(filtered.path), Path(measured.path), settings)
    except GateError as exc:  # all is written by then
        logging.getLogger("polydistill").warning("`card` is going to fail, and the run with it: %s", exc)
    shutil.copyfile(Path(measured.path, "drift.html"), drift.path)
    for name, values in read_json(Path(measured.path, "diversity.json"))["measures"].items():
        for side in ("synthetic", "human"):
            if values[side] is not None:
                metrics.log_metric(f"{name}_{side}", values[side])
    return digest(Path(measured.path))
