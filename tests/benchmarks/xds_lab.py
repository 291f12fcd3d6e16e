# SPDX-License-Identifier: Apache-2.0
"""A control plane to measure: Galley and Pilot as processes of their own, fed with a mesh, and simulated proxies with certificates for it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from citadel.authority.api_keys import TokenSigner, new_api_key
from common.checkprotocol.script import check_script_digest
from common.identity.material import KeyMaterial
from common.mesh.names import ROOT_NAMESPACE, SERVICE_ACCOUNTS, control_plane_dns_name
from pilot.api.memory import keep_heap
from tests.benchmarks.xds_clients.mesh import Document, Mesh
from tests.benchmarks.xds_clients.swarm import Identity, Swarm
from tests.benchmarks.xds_processes import save_identity
from tests.running_citadel import material_of, new_authority

SERVER_CORE, CLIENT_CORE = 0, 1
START = 90.0  # seconds until a process must have said what is waited for
BATCH = 2_000  # documents
AS_THE_AGENT = {"VIRTUAL_HOST_DISCOVERY": "ADS", "CHECK_SCRIPT": check_script_digest()}
"""Node metadata by which Fourmast's proxies get the virtual hosts of outbound routes one by one, and no text that they hold."""


class Process:
    """A role of `xds_processes`. What it says is kept in `said`, newest last."""

    def __init__(self, role: str, folder: Path, core: int) -> None:
        command = (sys.executable, "-m", "tests.benchmarks.xds_processes", role, str(folder), str(core))
        self._role = role
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.addresses: Mapping[str, str] = self.wait("addresses")["addresses"]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):  # a library that prints
                self._heard.put(json.loads(line))
        self._heard.put({"ended": True})

    def order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(f"{self._role} ended with {self._process.wait(10)}") from None

    def wait(self, fact: str, seconds: float = START) -> dict[str, Any]:
        """The next saying about `fact`; others before it are forgotten."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                said = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"{self._role} did not say {fact!r} within {seconds:g} s") from None
            if fact in said:
                return said
            if "ended" in said:
                raise RuntimeError(f"{self._role} ended with {self._process.wait(10)} before it said {fact!r}")

    def heard(self) -> list[dict[str, Any]]:
        """Everything that was said and not waited for."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._heard.get_nowait())
        return found

    def usage(self) -> dict[str, Any]:
        self.order()
        return self.wait("usage")

    def end(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Lab:
    """Use as a context manager; everything is gone afterwards."""

    def __init__(self, mesh: Mesh, **settings: Any) -> None:
        """`settings` are Pilot's."""
        self.mesh, self._settings = mesh, settings
        self._authority = new_authority()
        self._signer = TokenSigner([new_api_key()])
        self._stack = contextlib.ExitStack()
        self._threads = ThreadPoolExecutor(1)
        self._generation = 0

    def __enter__(self) -> Lab:
        self.folder = Path(tempfile.mkdtemp(prefix="fourmast-bench-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        with self._stack:
            (self.folder / "jwks.json").write_text(json.dumps(self._signer.jwks))
            for part in ("galley", "pilot"):
                save_identity(self.folder, part, self.material(ROOT_NAMESPACE, SERVICE_ACCOUNTS[part]))
            self.galley = self._start("galley", CLIENT_CORE)
            self.galley.wait("ready")
            token = self._signer.sign("bench", "admin", namespaces=(), lifetime=timedelta(hours=1), now=datetime.now(UTC))
            context = ssl.create_default_context(cadata=self._authority.bundle_pem.decode())
            self._http = self._stack.enter_context(
                httpx.Client(
                    base_url=f"https://{self.galley.addresses['rest']}",
                    headers={"authorization": f"Bearer {token}"},
                    verify=context,
                    timeout=60,
                )
            )
            self._stack.callback(self._threads.shutdown)
            self.apply_now(self.mesh.documents())
            (self.folder / "pilot.json").write_text(json.dumps({"galley": self.galley.addresses["mcp"], "settings": self._settings}))
            self.pilot = self._start("pilot", SERVER_CORE)
            self.pilot.wait("ready")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, role: str, core: int) -> Process:
        process = Process(role, self.folder, core)
        self._stack.callback(process.end)
        return process

    def material(self, namespace: str, account: str) -> KeyMaterial:
        return material_of(self._authority, namespace, account)

    # -- configuration --------------------------------------------------------------------------------------------------------------

    def next_generation(self) -> int:
        self._generation += 1
        return self._generation

    def apply(self, documents: Sequence[Document]) -> Future[float]:
        """Apply in the background; the result is when the request was begun."""
        return self._threads.submit(self.apply_now, documents)

    def apply_now(self, documents: Iterable[Document]) -> float:
        began = time.monotonic()
        items = [{"document": document} for document in documents]
        for start in range(0, len(items), BATCH):
            answer = self._http.post(
                "/apis/fourmast.io/v1/batch",
                json={"items": items[start : start + BATCH]},
                extensions={"sni_hostname": control_plane_dns_name("galley")},
            )
            if answer.status_code != 200:
                raise RuntimeError(f"Galley refuses the mesh: {answer.text[:500]}")
        return began

    # -- proxies --------------------------------------------------------------------------------------------------------------------

    def identities(self, count: int, *, tls: bool) -> list[Identity]:
        """The mesh's proxies, each with a certificate of its own if `tls`."""
        return [Identity(self.mesh.node(number), self._context(number) if tls else None) for number in range(count)]

    def _context(self, number: int) -> ssl.SSLContext:
        material = self.material(*self.mesh.account(number))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata=material.roots_pem.decode())
        chain, key = self.folder / "proxy.pem", self.folder / "proxy.key"
        chain.write_bytes(material.certificate_chain_pem)
        key.write_bytes(material.private_key_pem)
        context.load_cert_chain(chain, key)
        return context

    @contextlib.contextmanager
    def swarm(self, server: Process, *, tls: bool, variant: str = "delta") -> Iterator[Swarm]:
        host, _, port = server.addresses["xds" if tls else "xds-plaintext"].rpartition(":")
        discovers = bool(self.mesh.metadata.get("VIRTUAL_HOST_DISCOVERY"))
        name = control_plane_dns_name("pilot")
        with Swarm((host, int(port)), variant=variant, virtual_hosts=discovers, server_name=name) as swarm:
            yield swarm

    @contextlib.contextmanager
    def raw(self, messages: Mapping[str, bytes]) -> Iterator[Process]:
        """The server that is the limit, with these messages at hand."""
        for name, message in messages.items():
            (self.folder / name).write_bytes(message)
        process = Process("raw", self.folder, SERVER_CORE)
        try:
            yield process
        finally:
            process.end()


def pin_to_client_core() -> None:
    """And let neither side of a comparison lose time to memory that goes back and forth: the server that is the limit does the same."""
    keep_heap()
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {CLIENT_CORE})
