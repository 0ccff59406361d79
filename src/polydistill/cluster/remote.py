"""DVC's remote: where a workspace keeps its large files, and in one line why that cannot be reached."""

import re
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.config_schema import RelPath
from dvc.exceptions import DvcException
from dvc.fs import get_fs_config

from polydistill.cluster.git import Checkout, without_passwords
from polydistill.errors import DataError, PolydistillError

KEYS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL of storage that is not AWS, in the "
    "environment; for pods put them in the secret of params.yaml:cluster.secrets.storage, in the namespace of the "
    "runs:\nkubectl -n NAMESPACE create secret generic polydistill-storage --from-literal=AWS_ACCESS_KEY_ID=... "
    "--from-literal=AWS_SECRET_ACCESS_KEY=..."
)
NO_REMOTE = (
    "no remote of DVC is set there that can be reached from elsewhere; set one in a checkout:\n"
    "dvc remote add --default storage s3://BUCKET/dvc && git add .dvc/config && git commit --message 'Set remote' && "
    "git push"
)
_REASONS = (
    # What DVC or the client of the storage says, and what that comes to.
    (r"locate credentials|NoCredentials", f"no keys are given; {KEYS}"),
    (
        r"Forbidden|Access ?Denied|InvalidAccessKeyId|SignatureDoesNotMatch|\b40[13]\b",
        f"it refused the keys, or they may not do that; {KEYS}",
    ),
    (r"specified bucket does not exist|NoSuchBucket", "there is no such bucket; mend `url` in .dvc/config"),
    (
        r"Could not connect|Cannot connect|timed? ?out|Name or service not known",
        "it cannot be reached from here; is AWS_ENDPOINT_URL, or `endpointurl` in .dvc/config, right, and let through "
        "by network policies?",
    ),
    (
        r"No module named 'dvc_|requires 'dvc-",
        "there is no client for such storage here; name storage that speaks S3 as `url` in .dvc/config",
    ),
)


def dvc_root(checkout: Checkout) -> Path | None:
    """Return the folder whose .dvc the workspace belongs to, None where it does not use DVC."""
    for folder in (checkout.workspace, *checkout.workspace.parents):
        if (folder / ".dvc").is_dir():
            return folder
        if folder == checkout.root:
            break
    return None


def remote_settings(checkout: Checkout) -> dict[str, Any]:
    """Return what the checkout sets for the remote that `dvc push` and `dvc pull` take, `name` among it.

    {} where there is none. What a person has set beside the checkout is left out: no pod has it.

    Raises:
        DataError: If DVC cannot read its settings.
    """
    root = dvc_root(checkout)
    if root is None:
        return {}
    try:
        config = Config(str(root / ".dvc")).read("repo")
        name = config["core"].get("remote")
        return {**get_fs_config(config, name=name), "name": name} if name else {}
    except DvcException as exc:
        raise DataError(f"{checkout.address} at {checkout.commit[:12]}: .dvc/config: {exc}") from exc


def default_remote(checkout: Checkout) -> str | None:
    """Return the URL of the remote that `dvc push` and `dvc pull` take, to be shown: without a password in it.

    None where there is none, or where it is a folder beside the checkout that it was set in, which no other one has.

    Raises:
        DataError: If DVC cannot read its settings.
    """
    url = remote_settings(checkout).get("url")
    return None if url is None or isinstance(url, RelPath) else without_passwords(str(url))


def explain_remote(said: str, remote: str | None, what: str) -> PolydistillError:
    """Return what to raise where the remote fails.

    Args:
        said: All that DVC said.
        remote: URL of the remote.
        what: What was to be done, such as "read data/clinic/sl from".
    """
    told = f"cannot {what} DVC's remote {remote}: " if remote else f"cannot {what} DVC's remote: "
    for pattern, meaning in _REASONS:
        if re.search(pattern, said):
            return PolydistillError(told + meaning)
    if found := re.search(r"^YAML\w*: (.+)", without_passwords(said), re.MULTILINE):  # of dvc.yaml or a .dvc file
        return DataError(f"cannot {what.removesuffix(' of').removesuffix(' from')}: {found[1]}")
    if remote is None:
        return DataError(told + NO_REMOTE)
    if "FileNotFoundError" in said:
        return DataError(told + "it does not hold all of that; run `dvc push` in a checkout that does")
    lines = [line.strip() for line in without_passwords(said).splitlines() if line.strip()]
    return PolydistillError(told + (lines[0] if lines else "DVC failed"))
