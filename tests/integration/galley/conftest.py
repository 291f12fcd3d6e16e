# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL for tests, its own and on loopback; skipped, with the reason, where none is installed."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binary(name: str) -> str | None:
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    return found if found and os.access(found, os.X_OK) else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of an empty server. PostgreSQL refuses to run as root, so root hands it to the user `nobody`."""
    initdb, postgres = _binary("initdb"), _binary("postgres")
    if initdb is None or postgres is None:
        pytest.skip("no PostgreSQL is installed (make system)")
    folder = Path(tempfile.mkdtemp(prefix="fourmast-pg-"))  # not under pytest's own, which only root may enter
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    as_user: list[str] = []
    if os.getuid() == 0:
        user = pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        # Popen's `user` would do, but makes it fork(), in which gRPC's handlers crash now and then while its threads run; else it is vfork().
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    data, said = folder / "data", folder / "said"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    initialise = [*as_user, initdb, "-D", str(data), "-U", "galley", "--auth=trust", "-E", "UTF8", "--no-sync"]
    settings = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    with said.open("wb") as output:
        if code := subprocess.run(initialise, stdout=output, stderr=output, env=environment, cwd=folder).returncode:
            raise RuntimeError(f"initdb ended with {code}: {said.read_text()}")
        server = subprocess.Popen(
            [*as_user, postgres, "-D", str(data), *settings], stdout=output, stderr=output, env=environment, cwd=folder
        )
    try:
        url = f"postgresql://galley@127.0.0.1:{port}/postgres"
        _wait(url, server, said)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown: a test that failed may have left a connection
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """URL of a new, empty database."""
    import psycopg

    name = f"test_{os.urandom(4).hex()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.removesuffix("postgres") + name


def _wait(url: str, server: subprocess.Popen[bytes], said: Path) -> None:
    import time

    import psycopg

    end = time.monotonic() + 60
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {server.returncode}: {said.read_text()}")
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL does not answer: {said.read_text()}")
