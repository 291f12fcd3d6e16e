# SPDX-License-Identifier: Apache-2.0
"""Where the mesh is and who we are there: a kubeconfig, the same file that kubectl can use.

Looked for in this order: --kubeconfig, $FOURMAST_KUBECONFIG, the mesh that runs on this machine, ~/.fourmast/kubeconfig.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
import msgspec

from deploy.cli.errors import CliError

if TYPE_CHECKING:
    import httpx

F = TypeVar("F", bound=Callable[..., Any])

_TIMEOUT_SECONDS: Final = 15.0
_IMPATIENT_SECONDS: Final = 3.0
"""For who shows more when Galley answers, and can do without."""
_RETRY_SECONDS: Final = 30.0
"""How long a Galley that is being replaced is waited for, as a rule."""


def connection_options(command: F) -> F:
    """`--kubeconfig FILE`."""
    return click.option("--kubeconfig", metavar="FILE", envvar="FOURMAST_KUBECONFIG", help="How to reach the mesh and as whom.")(command)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a kubeconfig says about its current context."""

    file: Path
    server: str
    token: str
    roots_pem: str
    server_name: str = ""
    namespace: str = "default"


class RefusedError(CliError):
    """Galley answered with a Status that is a failure; `status` is the Kubernetes object."""

    def __init__(self, code: int, status: Mapping[str, Any]) -> None:
        detail = status.get("detail")
        said = status.get("message") or (detail.get("message") if isinstance(detail, Mapping) else detail)
        super().__init__(str(said or f"the server answered {code}"))
        self.code = code
        self.status = status


class Connection:
    """HTTPS to one part. Answers are plain values; failures are CliError with a sentence that names the server."""

    def __init__(
        self,
        target: Target,
        client: httpx.Client,
        *,
        patience: float = _RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`patience` is how long a Galley that is being replaced is waited for, in seconds."""
        self.target = target
        self._client = client
        self._patience = patience
        self._clock, self._sleep = clock, sleep

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **params: str) -> Any:
        return self.request("GET", path, params=params)

    def request(
        self, method: str, path: str, *, body: Any = None, params: Mapping[str, str] | None = None, accept: str = "application/json"
    ) -> Any:
        """One exchange; a server that says 503 with Retry-After is asked again for a while. Raises RefusedError or CliError."""
        code, value = self.exchange(method, path, body=body, params=params, accept=accept)
        if code >= 400:
            raise RefusedError(code, value if isinstance(value, dict) else {})
        return value

    def exchange(
        self, method: str, path: str, *, body: Any = None, params: Mapping[str, str] | None = None, accept: str = "application/json"
    ) -> tuple[int, Any]:
        """Like `request`, but every status code is an answer."""
        import httpx

        deadline = self._clock() + self._patience
        waited = False
        while True:
            try:
                answer = self._client.request(
                    method, path, json=body, params=params, headers={"Accept": accept}, extensions=self._extensions()
                )
            except httpx.ConnectError as error:
                if not waited or self._clock() > deadline:
                    raise CliError(_unreachable(self.target, error)) from error
                self._sleep(0.5)
                continue
            except httpx.HTTPError as error:
                raise CliError(f"{self.target.server} did not answer: {error or type(error).__name__}") from error
            after = answer.headers.get("Retry-After", "")
            if answer.status_code != 503 or not after.isdigit() or self._clock() >= deadline:
                return answer.status_code, _decoded(answer)
            if not waited:
                click.echo("Galley is being replaced; trying again …", err=True)
            waited = True
            self._sleep(min(int(after), 5) or 0.5)

    def _extensions(self) -> dict[str, Any]:
        return {"sni_hostname": self.target.server_name} if self.target.server_name else {}


def _decoded(answer: httpx.Response) -> Any:
    if "json" not in answer.headers.get("Content-Type", ""):
        return answer.text
    try:
        return answer.json()
    except ValueError as error:
        raise CliError(f"the server's answer is not JSON: {error}") from error


def _unreachable(target: Target, error: Exception) -> str:
    if "CERTIFICATE" in str(error).upper():
        return f"{target.server} shows a certificate that {target.file} does not trust: {error}. Is the file from another mesh?"
    return f"no answer at {target.server} ({target.file}). Is the mesh up? Start one with `fourmast up` or `fourmast demo`."


def connect(kubeconfig: str | None, *, server: str | None = None, server_name: str = "", patient: bool = True) -> Connection:
    """Open a connection to Galley, or with the same credentials to `server` (https://host:port) under `server_name`. Raises CliError.

    Without `patient` a server that is slow or being replaced is soon given up.
    """
    import httpx

    target = read_target(find_kubeconfig(kubeconfig))
    if server is not None:
        target = msgspec.structs.replace(target, server=server, server_name=server_name)
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    timeout = _TIMEOUT_SECONDS if patient else _IMPATIENT_SECONDS
    client = httpx.Client(base_url=target.server, verify=_trust(target), headers=headers, timeout=timeout, trust_env=False)
    return Connection(target, client, patience=_RETRY_SECONDS if patient else 0.0)


def _trust(target: Target) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=target.roots_pem or None)
    except ssl.SSLError as error:
        raise CliError(f"{target.file} is not a usable kubeconfig: its certificate authority is no certificate") from error


def find_kubeconfig(given: str | None) -> Path:
    """The file to use. Raises CliError that says where it was looked for."""
    if given:
        return Path(given)
    running = _running_meshes()
    if len(running) > 1:
        click.echo(
            f"fourmast: {len(running)} meshes run here; this is the youngest one, {running[0]} (choose with FOURMAST_KUBECONFIG)", err=True
        )
    candidates = [*running, Path.home() / ".fourmast" / "kubeconfig"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CliError(
        "no mesh found: none runs here, and there is no ~/.fourmast/kubeconfig. Start one with `fourmast up`, or set FOURMAST_KUBECONFIG."
    )


def runtime_folder() -> Path:
    """Where launchers on this machine write which meshes run."""
    if own := os.environ.get("FOURMAST_RUNTIME_DIR"):
        return Path(own)
    if os.geteuid() == 0:
        return Path("/run/fourmast")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "fourmast" if runtime else Path(tempfile.gettempdir()) / f"fourmast-{os.geteuid()}"


def _running_meshes() -> list[Path]:
    """Kubeconfigs of the meshes on this machine, youngest first. What a killed launcher left is not among them: nobody holds its lock."""
    found: list[tuple[float, Path]] = []
    folder = runtime_folder()
    if not folder.is_dir() or folder.stat().st_uid != os.geteuid():
        return []
    for file in folder.glob("*.json"):
        try:
            if not _held(file):
                continue
            about = json.loads(file.read_text())
            found.append((float(about["since"]), Path(about["stateDir"]) / "kubeconfig"))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # one that has just ended
    return [path for _, path in sorted(found, reverse=True)]


def _held(file: Path) -> bool:
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def read_target(file: Path) -> Target:
    """The current context of a kubeconfig. Raises CliError."""
    from common.config.yaml_reading import read_documents

    try:
        documents = read_documents(file.read_bytes())
    except OSError as error:
        raise CliError(f"cannot read {file}: {error.strerror}") from error
    value = documents[0].value if documents else None
    if not isinstance(value, dict):
        raise CliError(f"{file} is not a kubeconfig")
    try:
        context = _named(value, "contexts", str(value.get("current-context", "")))["context"]
        cluster = _named(value, "clusters", context["cluster"])["cluster"]
        user = _named(value, "users", context["user"])["user"]
        return Target(
            file=file,
            server=cluster["server"],
            token=_token(user, file),
            roots_pem=_roots(cluster, file),
            server_name=cluster.get("tls-server-name", ""),
            namespace=context.get("namespace") or "default",
        )
    except KeyError as error:
        raise CliError(f"{file} is not a usable kubeconfig: {error.args[0]}") from error
    except (TypeError, ValueError, OSError) as error:
        raise CliError(f"{file} is not a usable kubeconfig: {error}") from error


def _named(value: Mapping[str, Any], field: str, name: str) -> Mapping[str, Any]:
    for entry in value.get(field) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"{field} has no entry {name!r}")


def _token(user: Mapping[str, Any], file: Path) -> str:
    if "tokenFile" in user:
        return (file.parent / str(user["tokenFile"])).read_text().strip()
    return str(user.get("token", ""))


def _roots(cluster: Mapping[str, Any], file: Path) -> str:
    if "certificate-authority-data" in cluster:
        return base64.b64decode(str(cluster["certificate-authority-data"])).decode()
    if "certificate-authority" in cluster:
        return (file.parent / str(cluster["certificate-authority"])).read_text()
    return ""
