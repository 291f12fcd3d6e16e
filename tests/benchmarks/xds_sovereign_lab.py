# SPDX-License-Identifier: Apache-2.0
"""The control plane `sovereign`, installed from PyPI for one measurement and fed with a mesh, and proxies that poll it as it wants to be polled."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from envoy.config.core.v3.base_pb2 import Node

from tests.benchmarks.xds_clients.mesh import Mesh, address
from tests.benchmarks.xds_lab import SERVER_CORE

TYPES = ("clusters", "endpoints", "listeners", "routes")
REFRESH = 1  # seconds between two looks at the source: the least that sovereign allows
POLL = 1.0  # seconds between an answer and the next poll of a proxy; Envoy adds up to as much again
REQUIREMENT = "sovereign[httptools,orjson]"  # with everything that makes it faster
INSTALL, START = 45, 15  # seconds
TEMPLATES = Path(__file__).parent / "sovereign_templates.py"


class NotInstalled(Exception):
    """PyPI, or a Python that can make a virtual environment, cannot be had."""


class Sovereign(NamedTuple):
    folder: Path
    version: str

    def in_bin(self, name: str) -> str:
        return str(self.folder / "venv/bin" / name)


@contextlib.contextmanager
def installed() -> Iterator[Sovereign]:
    """The newest release in a virtual environment of its own, which is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fourmast-sovereign-"))
    found = Sovereign(folder, "")
    show = "import importlib.metadata; print(importlib.metadata.version('sovereign'))"
    try:
        _run(sys.executable, "-m", "venv", str(folder / "venv"))
        _run(found.in_bin("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REQUIREMENT)
        yield found._replace(version=_run(found.in_bin("python"), "-c", show).strip())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL).stdout
    except subprocess.CalledProcessError as error:
        raise NotInstalled((error.stderr or error.stdout).strip().rpartition("\n")[2]) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from None


class Server:
    """One worker on the server's core; the mesh is a file that it reads again and again."""

    def __init__(self, sovereign: Sovereign, mesh: Mesh) -> None:
        self._mesh = mesh
        self._addresses = [
            [address(service.number * mesh.endpoints + number) for number in range(mesh.endpoints)] for service in mesh.all_services()
        ]
        self._services = [
            {"host": service.host, "port": service.port, "addresses": addresses}
            for service, addresses in zip(mesh.all_services(), self._addresses, strict=True)
        ]
        self._source = sovereign.folder / "services.json"
        self.change(0)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = free.getsockname()
        settings = {
            "CONFIG": f"file+json://{self._configuration(sovereign.folder)}",
            "HOST": self.address[0],
            "PORT": self.address[1],
            "WORKERS": 1,
            "KEEPALIVE": 75,
            "SOURCES_REFRESH_RATE": REFRESH,
            "ENABLE_ACCESS_LOGS": False,
        }
        environment = {f"SOVEREIGN_{name}": str(value) for name, value in settings.items()}
        self._log = (sovereign.folder / "log").open("w+b")
        self._process = subprocess.Popen(
            sovereign.in_bin("sovereign"),
            env={"PATH": os.environ.get("PATH", ""), **environment},
            cwd=sovereign.folder,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        with contextlib.suppress(OSError):
            os.sched_setaffinity(self._process.pid, {SERVER_CORE})

    def _configuration(self, folder: Path) -> Path:
        templates = []
        for kind in TYPES:
            path = folder / f"{kind}.py"
            path.write_text(f"{TEMPLATES.read_text()}\n\ncall = {kind}\n")
            templates.append({"type": kind, "spec": {"protocol": "python", "serialization": "raw", "path": str(path)}})
        file = {"protocol": "file", "serialization": "orjson", "path": str(self._source)}
        configuration = folder / "sovereign.json"
        configuration.write_text(
            json.dumps(
                {
                    "templates": {"default": templates},
                    "sources": [{"type": "file", "config": {"spec": file}}],
                    "matching": {"enabled": False},
                }
            )
        )
        return configuration

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def change(self, generation: int) -> bytes:
        """Give the last service's first endpoint the address of this generation, which is returned."""
        changed = address((self._mesh.services - 1) * self._mesh.endpoints, generation)
        self._addresses[-1][0] = changed
        new = self._source.with_suffix(".new")
        new.write_text(json.dumps(self._services))
        new.replace(self._source)
        return changed.encode()

    async def until_ready(self) -> None:
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(*self.address)
                writer.close()
                return
            await asyncio.sleep(0.05)
        self._log.seek(0)
        raise RuntimeError(f"sovereign does not start: {self._log.read().decode(errors='replace')[-1000:]}")

    # -- what it uses ---------------------------------------------------------------------------------------------------------------

    def _processes(self) -> list[int]:
        """gunicorn's master and its worker."""
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def cpu(self) -> float:
        """Seconds so far."""
        fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._processes())
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

    def megabytes(self) -> float:
        """Resident, what the two share counted once."""
        lines = (line for pid in self._processes() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


class Proxy:
    """One polling proxy, with a connection that stays open. It asks for all of a type at once; Envoy polls for each cluster."""

    def __init__(self, node: Node, address: tuple[str, int]) -> None:
        self._node, self._address = {"id": node.id, "cluster": node.cluster}, address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._versions = dict.fromkeys(TYPES, "")
        self.received = 0
        """Bytes, heads and bodies."""
        self.polls = 0

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()

    async def ask(self, kind: str) -> bytes:
        """The resources, or nothing if they are those of the last answer."""
        request = json.dumps({"version_info": self._versions[kind], "node": self._node}).encode()
        lines = (
            f"POST /v3/discovery:{kind} HTTP/1.1",
            "Host: sovereign",
            "Content-Type: application/json",
            f"Content-Length: {len(request)}",
        )
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 22)
        reader, writer = self._streams
        writer.write("\r\n".join((*lines, "", "")).encode() + request)
        answer = await reader.readuntil(b"\r\n\r\n")
        status, *rest = answer.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        code = int(status.split()[1])
        body = b"" if code == 304 else await reader.readexactly(int(headers["content-length"]))
        if code not in (200, 304):
            raise RuntimeError(f"sovereign answers {code} for {kind}: {body[:300].decode(errors='replace')}")
        self._versions[kind] = headers["x-sovereign-response-version"]
        self.received += len(answer) + len(body)
        self.polls += 1
        return body


class Crowd:
    """All proxies of a mesh. They ask when they are told to, and poll within `polling`, after which they are of no more use."""

    def __init__(self, mesh: Mesh, address: tuple[str, int]) -> None:
        self.proxies = [Proxy(mesh.node(number), address) for number in range(mesh.proxies)]
        self._wanted = b""
        self._waiting: set[Proxy] = set()
        self._met = asyncio.Event()

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for proxy in self.proxies:
            proxy.close()

    @property
    def received(self) -> int:
        return sum(proxy.received for proxy in self.proxies)

    @property
    def polls(self) -> int:
        return sum(proxy.polls for proxy in self.proxies)

    async def ask(self, *kinds: str, of: slice = slice(None)) -> list[list[bytes]]:
        """Each proxy asks for these, one after the other; all proxies at once."""

        async def one(proxy: Proxy) -> list[bytes]:
            return [await proxy.ask(kind) for kind in kinds]

        return await asyncio.gather(*(one(proxy) for proxy in self.proxies[of]))

    @contextlib.asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """As Envoys do: each on its own, and again some time after the answer, with Envoy's jitter."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._poll(proxy)) for proxy in self.proxies]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _poll(self, proxy: Proxy) -> None:
        await asyncio.sleep(random.uniform(0, POLL))
        while True:
            for kind in TYPES:
                answer = await proxy.ask(kind)
                if kind == "endpoints" and self._wanted in answer:  # what is wanted may have changed while it waited for the answer
                    self._waiting.discard(proxy)
                    if not self._waiting:
                        self._met.set()
            await asyncio.sleep(random.uniform(POLL, 2 * POLL))

    async def until_all_have(self, wanted: bytes) -> None:
        self._wanted, self._waiting = wanted, set(self.proxies)
        self._met.clear()
        await self._met.wait()
