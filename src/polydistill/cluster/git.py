"""Reads a git repository at a revision, and adds a branch to one: with a token that nobody but its server is told."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from polydistill.errors import ParamsError, PolydistillError

TOKEN, USERNAME = "GIT_TOKEN", "GIT_USERNAME"
CREDENTIALS = (
    f"set {USERNAME} and {TOKEN} in the environment; for pods put them in the secret of "
    "params.yaml:cluster.secrets.git, in the namespace of the runs:\nkubectl -n NAMESPACE create secret generic "
    f"polydistill-git --from-literal={USERNAME}=... --from-literal={TOKEN}=..."
)
_LOOK = "the same from where you are: git ls-remote {url}"
_NO_SSH = (
    "the image has no ssh client and pods have no key: name the repository by https://, and for one that is not "
    f"public {CREDENTIALS}"
)
_SHOWN = 20
_GIT_PORT = 9418  # of git:// where the address has none
# git asks for a password; the shell that answers has the token from its environment, so that no list of processes shows
# it. `printf` is a part of the shell.
_ANSWER = f'printf "username=%s\\npassword=%s\\n" "${{{USERNAME}:-git}}" "${TOKEN}"'
_HELPER = f'!answer() {{ test "$1" = get && {_ANSWER}; }}; answer'
_SETTINGS = {
    "credential.helper": "",  # none that a machine has: it might ask a person, or keep the token
    "safe.directory": "*",  # a volume belongs to another user than that of the pod
    "core.hooksPath": os.devnull,
    "commit.gpgSign": "false",
    "http.lowSpeedLimit": "100",  # bytes a second, below which a server is given up
    "http.lowSpeedTime": "60",
    "advice.detachedHead": "false",
}
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_ASKPASS", "SSH_ASKPASS")


class NoRepositoryError(PolydistillError):
    """The server was asked, and has no such repository for this user: from another machine it says the same."""


@dataclass(frozen=True)
class Address:
    """Where a repository is, and the folder of the workspace in it, "" for its root."""

    url: str
    folder: str = ""

    @property
    def local(self) -> Path | None:
        """The folder on this machine, where it is one."""
        return Path(self.url) if Path(self.url).is_dir() else None

    @property
    def over_ssh(self) -> bool:
        """Whether git reads it by ssh, which the image does not have."""
        if "://" in self.url:
            return "ssh" in self.url.partition("://")[0]
        return self.local is None and ":" in self.url.partition("/")[0]

    def __str__(self) -> str:
        """Return it as params.yaml has it."""
        return f"{self.url}#{self.folder}" if self.folder else self.url


@dataclass(frozen=True)
class Checkout:
    """A repository as it was at a commit; `workspace` is `root`, or the folder in it that the address names."""

    address: Address
    root: Path
    workspace: Path
    commit: str
    committed_at: datetime


def parse_address(repository: str) -> Address:
    """Read what params.yaml calls a repository: a URL, `host:path` or a folder, each perhaps with `#folder` after it.

    Raises:
        ParamsError: If it holds a password, or no folder within the repository.
    """
    _refuse_password(repository)
    url, _, folder = repository.partition("#")
    try:
        urlsplit(url)
    except ValueError:  # a bracket that is not closed
        url = ""
    if not url or PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise ParamsError(f"repository `{repository}`: wanted is a git URL or a folder, and perhaps #FOLDER within it")
    if Path(url).is_dir():
        url = str(Path(url).resolve())
    return Address(url, folder.strip("/"))


def without_passwords(text: str) -> str:
    """Return a text without the users and passwords in its URLs, whatever these hold: not all is quoted that should."""
    return re.sub(r"://(?:\S*:\S*|[^\s/]*)@", "://", text)


def _refuse_password(repository: str) -> None:
    """Check that nothing in it can be a password, quoted or not.

    Raises:
        ParamsError: If something can; what can is not repeated.
    """
    if repository.startswith(("/", ".", "file:///")) or Path(repository.partition("#")[0]).is_dir():
        return
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", repository)
    scheme = found[0] if found else ""
    before, at, after = repository.removeprefix(scheme).rpartition("@")
    by_ssh = "ssh" in scheme if scheme else ":" in after
    if ":" in before or (at and not by_ssh):  # ssh needs a user; elsewhere that may be a token
        raise ParamsError(
            f"repository {scheme}{after} is given with a user, a password or a token before an @, which everybody "
            f"could read in Kubeflow; leave it out there (an @ that is part of the path is written %40); {CREDENTIALS}"
        )
    if scheme and not by_ssh and "?" in repository:
        raise ParamsError(
            f"repository {repository.partition('?')[0]} is given with something after a ?, which everybody could read "
            f"in Kubeflow; leave it out there; {CREDENTIALS}"
        )


@contextmanager
def checked_out(address: Address, revision: str) -> Iterator[Checkout]:
    """Yield the repository at a revision, in a folder that vanishes when the block ends.

    File contents of other revisions are left on the server, where that can do so.

    Args:
        address: The repository.
        revision: Branch, tag or commit; "" for the server's own branch.

    Raises:
        ParamsError: If the repository does not have the revision or the folder.
        NoRepositoryError: If the server has no such repository for this user.
        PolydistillError: If the repository cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="polydistill-git-") as scratch:
        root = Path(scratch, "repository")
        git(["clone", "--quiet", "--no-checkout", "--filter=blob:none", "--", address.url, str(root)], address)
        commit = _resolve(address, revision, root)
        git(["checkout", "--quiet", "--detach", commit], address, root)
        seconds = int(git(["show", "--no-patch", "--format=%ct", commit], address, root))
        workspace = root / address.folder
        if not workspace.is_dir():
            raise ParamsError(f"{address.url} has no folder {address.folder} at {commit[:12]}")
        yield Checkout(address, root, workspace, commit, datetime.fromtimestamp(seconds, UTC))


def _resolve(address: Address, revision: str, root: Path) -> str:
    for name in (f"refs/remotes/origin/{revision or 'HEAD'}", f"refs/tags/{revision}", revision):
        done = _run(["rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}"], address, root)
        if done.returncode == 0:
            return done.stdout.splitlines()[-1]
    there = git(["for-each-ref", "--format=%(refname)", "refs/remotes/origin", "refs/tags"], address, root).splitlines()
    names = [re.sub(r"^refs/(remotes/origin|tags)/", "", name) for name in there if not name.endswith("/origin/HEAD")]
    known = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "") or "no branch yet"
    raise ParamsError(f"revision {revision or 'HEAD'} is not in {address.url}, which has {known}")


def push_new(address: Address, root: Path, commit: str, branch: str) -> bool:
    """Add a branch to the repository; False where it is there already and stands at that commit.

    Raises:
        PolydistillError: If it stands at another commit, or may not be added.
    """
    if has_branch(address, root, commit, branch):
        return False
    ref = f"refs/heads/{branch}"
    # The lease: it must not be there, so that nothing that another has put there meanwhile is overwritten.
    done = _run(["push", "--quiet", f"--force-with-lease={ref}:", "origin", f"{commit}:{ref}"], address, root)
    if done.returncode and not has_branch(address, root, commit, branch):
        raise _explain(done.stderr, address, f"add the branch {branch} to")
    return done.returncode == 0


def check_push(address: Address, root: Path) -> None:
    """Check that the server lets a branch of a run be added, without adding one; what guards single branches is unseen.

    Raises:
        PolydistillError: If it does not.
    """
    done = _run(["push", "--quiet", "--dry-run", "origin", "HEAD:refs/heads/runs/dry-run"], address, root)
    if done.returncode:
        raise _explain(done.stderr, address, "add a branch, for what is kept of the run, to")


def has_branch(address: Address, root: Path, commit: str, branch: str) -> bool:
    """Say whether the repository has a branch, which then stands at that commit.

    Raises:
        PolydistillError: If it stands at another.
    """
    line = git(["ls-remote", "origin", f"refs/heads/{branch}"], address, root)
    there = line.split("\t")[0]
    if there not in ("", commit):
        raise PolydistillError(
            f"branch {branch} of {address.url} is there already with other content (commit {there[:12]}), and was left "
            f"as it is; see it with `git log {branch}`, delete it with `git push origin --delete {branch}`"
        )
    return there == commit


def may_commit(folder: Path, file: Path) -> bool:
    """Say whether a file below a folder is one for git: committed, or in a checkout whose settings do not ignore it."""
    return _run(["check-ignore", "--quiet", "--", str(file)], Address(str(folder)), folder).returncode == 1


def git(arguments: Sequence[str], address: Address, folder: Path | None = None, **more: str) -> str:
    """Run git and return what it prints, the last line break left out.

    Args:
        arguments: What follows `git`.
        address: The repository: its server gets the token.
        folder: Where to run it.
        more: Further environment variables.

    Raises:
        PolydistillError: If it fails; in one line, without a token.
    """
    done = _run(arguments, address, folder, more)
    if done.returncode:
        raise _explain(done.stderr, address, "read")
    return done.stdout.removesuffix("\n")


def _run(
    arguments: Sequence[str], address: Address, folder: Path | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**_environment(address), **(more or {})}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as exc:
        raise PolydistillError("git is not installed; install it (apt-get install git)") from exc


def _environment(address: Address) -> dict[str, str]:
    settings = dict(_SETTINGS)
    parts = urlsplit(address.url)
    if os.environ.get(TOKEN) and parts.scheme in ("http", "https"):
        settings[f"credential.{parts.scheme}://{parts.netloc}.helper"] = _HELPER  # this server's alone
    environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    environment |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=30"),
        "LC_ALL": "C",
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for i, (key, value) in enumerate(settings.items()):
        environment |= {f"GIT_CONFIG_KEY_{i}": key, f"GIT_CONFIG_VALUE_{i}": value}
    return environment


_REASONS = (
    # What git or the server says, what that comes to, what to do, and which error it is.
    (r"ssh: (command )?not found|cannot run ssh", "there is no ssh here", _NO_SSH, PolydistillError),
    (
        r"could not read (Username|Password)",
        "it asks for a user and a token, and was given none",
        CREDENTIALS,
        PolydistillError,
    ),
    (
        r"Authentication failed|error: 401|Invalid username",
        "it refused the user or the token",
        CREDENTIALS,
        NoRepositoryError,
    ),
    (
        r"error: 403|[Pp]ermission.*denied|not allowed to|hook declined|protected branch|[Rr]ead.only",
        "the user may not do that",
        f"give it the right, or name another; {CREDENTIALS}",
        PolydistillError,
    ),
    (
        r"Could not resolve host|Failed to connect|unable to (connect|look up)|Connection refused|timed out|too slow",
        "it cannot be reached",
        _LOOK,
        PolydistillError,
    ),
    (
        r"SSL|certificate",
        "its certificate is not trusted here",
        "name a file of CA certificates in GIT_SSL_CAINFO",
        PolydistillError,
    ),
    (
        r"access denied or repository not exported|no such repository|service not enabled",  # git daemon
        "there is no such repository, or its server does not let that be done",
        _LOOK,
        NoRepositoryError,
    ),
    (
        r"not found|does not exist|not appear to be a git repository",
        "there is no such repository, or the user may not see it",
        _LOOK,
        NoRepositoryError,
    ),
)


def _explain(said: str, address: Address, verb: str) -> PolydistillError:
    token = os.environ.get(TOKEN)
    said = without_passwords(said.replace(token, "***") if token else said)
    lines = [line.strip() for line in said.splitlines()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:", "remote:"))), "git failed")
    if why := re.search(r"errno=(.+)", said) if told.endswith(":") else None:  # of git://, without the port
        told = f"{told}{urlsplit(address.url).port or _GIT_PORT}: {why[1]}"
    known = ((reason, hint, error) for pattern, reason, hint, error in _REASONS if re.search(pattern, said))
    reason, hint, error = next(known, ("", "", PolydistillError))
    message = f"cannot {verb} {address.url}: " + (f"{reason} ({told})" if reason else told)
    hint = _NO_SSH if address.over_ssh else hint.format(url=address.url)
    return error(message + ("\n" + hint if hint else ""))
