# SPDX-License-Identifier: Apache-2.0
"""A whole mesh as one `async with`: how `fourmast up`, the demo and the tests run it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import structlog

from common.identity.kubeconfig import write_kubeconfig
from deploy.local import configuration, probe, status
from deploy.local.ask import ask
from deploy.local.clients import Citadel, Galley
from deploy.local.control_plane import ControlPlane, Part, StartFailed
from deploy.local.forward import forwarding
from deploy.local.hosts import HostsFiles
from deploy.local.lock import MeshRunning, loopback_slot, mesh_lock
from deploy.local.mesh_file import ControlPlane as Shape
from deploy.local.mesh_file import MeshFile, Mode, load
from deploy.local.namespaces import NetworkNamespace
from deploy.local.network import Hub
from deploy.local.place import InNamespaces, OnLoopback, Places
from deploy.local.plan import LISTENERS, PUBLIC_PORTS, Addresses, Instance, instances
from deploy.local.workloads import Workload

__all__ = ["LocalMesh", "MeshRunning", "StartFailed"]

log = structlog.get_logger("local")

GRACE = 2.0  # seconds that each process gets when the whole mesh ends: nobody is left to drain for
TOGETHER = 3  # workloads that start at the same time; more only wait for each other on a small machine
SERVICES, SERVICE_ENTRIES = ("v1", "Service"), ("networking.istio.io/v1alpha3", "ServiceEntry")


class LocalMesh:
    """A running mesh. Everything it made is gone when the block is left, however it is left."""

    def __init__(
        self,
        mesh_file: MeshFile | Path,
        *,
        mode: Mode | None = None,
        control_plane: Shape | None = None,
        state_dir: Path,
        progress: Callable[[str], None] = lambda _: None,
        log_level: str = "info",
        folder: Path | None = None,
    ) -> None:
        """`mode` and `control_plane` go before what the mesh file says. `progress` is called with a short sentence at each step.

        `folder` is where applications start and where `config` files are looked for: the mesh file's own folder when it is given by path.
        """
        self._file = load(mesh_file) if isinstance(mesh_file, Path) else mesh_file
        self._folder = (folder or (mesh_file.resolve().parent if isinstance(mesh_file, Path) else Path.cwd())).resolve()
        self._wanted_mode: Mode = mode or self._file.mode
        self._shape: Shape = control_plane or self._file.controlPlane
        self.state_dir = state_dir.resolve()
        self._say = progress
        self._log_level = log_level
        self._stack = contextlib.AsyncExitStack()
        self._doors: dict[tuple[str, str], str] = {}
        self._exposed: dict[tuple[str, int], str] = {}
        self.workloads: dict[str, Workload] = {}

    async def __aenter__(self) -> LocalMesh:
        """Start everything. Raises MeshRunning, StartFailed, or OSError when the mode that was asked for is impossible here."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._say("stopping")
        await self._stack.aclose()

    # -- what it offers --------------------------------------------------------------------------------------------------------------

    @property
    def mode(self) -> str:
        """netns or none, as chosen."""
        return self._found.mode

    @property
    def name(self) -> str:
        return self._file.name

    @property
    def shape(self) -> Shape:
        """split or istiod."""
        return self._shape

    @property
    def reason(self) -> str:
        """Why this mode."""
        return self._found.reason

    @property
    def exposed_ports(self) -> dict[tuple[str, int], str]:
        """(workload, port) -> `host:port` on the host's loopback, for all that the mesh file exposes."""
        return dict(self._exposed)

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def gateway_url(self) -> str:
        """The first exposed port of the first router. Raises LookupError when the mesh has none."""
        for (name, _), address in self._exposed.items():
            if self.workload(name).instance.spec.type == "router":
                return f"http://{address}"
        raise LookupError("no router of this mesh exposes a port; see `expose` in mesh.yaml")

    def workload(self, name: str) -> Workload:
        """Raises LookupError naming the workloads that there are."""
        try:
            return self.workloads[name]
        except KeyError:
            raise LookupError(f"there is no workload {name}; there are {', '.join(self.workloads)}") from None

    def part(self, name: str) -> Part:
        """A part's process; in istiod mode all of them are one. Raises LookupError."""
        parts = self.control_plane.parts
        found = parts.get("istiod") or parts.get(name)
        if found is None:
            raise LookupError(f"there is no part {name}; there are {', '.join(parts)}")
        return found

    def address(self, part: str, listener: str) -> str:
        """`host:port` of a listener of the control plane, as reached from the host."""
        return self._doors.get((part, listener)) or self.addresses[part, listener]

    async def exec(self, workload: str, command: Sequence[str], *, timeout: float = 120.0) -> tuple[int, str]:
        """Run a command beside a workload's application; the exit code and what it printed."""
        return await self.workload(workload).exec(command, timeout=timeout)

    async def mixer_metrics(self) -> str:
        """The mesh metrics that Mixer's prometheus adapter offers (port 42422)."""
        _, text = await ask(self.addresses["mixer", "metrics"], "/metrics", self.places.new_socket)
        return text

    async def apply(self, files: Iterable[Path]) -> None:
        """Apply configuration files, all or nothing. Raises ConfigurationRefused with file, line, field and reason."""
        await configuration.apply(self.galley, files)

    def describe(self) -> str:
        """One sentence for people: what runs, how, and why so."""
        parts = "one istiod" if self._shape == "istiod" else "four parts"
        return f"mesh {self._file.name}: {parts}, {_counted(len(self.workloads))}, mode {self.mode} ({self._found.reason})"

    def directions(self) -> list[str]:
        """What to try next."""
        lines = [f"  {workload}:{port} is http://{address}" for (workload, port), address in self._exposed.items()]
        return [*lines, f"  export FOURMAST_KUBECONFIG={self.kubeconfig}", "  fourmast status"]

    # -- how it comes up -------------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        enter, enter_async = self._stack.enter_context, self._stack.enter_async_context
        enter(mesh_lock(self._file.name, self.state_dir))
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_dir, shared = self.state_dir / "logs", self.state_dir / "shared"
        log_dir.mkdir(mode=0o700, exist_ok=True)
        shared.mkdir(mode=0o755, exist_ok=True)
        shared.chmod(0o755)
        self._say("choosing how to intercept traffic")
        self._found = probe.choose(self._wanted_mode)
        self._say(f"mode {self._found.mode}: {self._found.reason}")
        await self._lay_network()
        _write_addresses(shared / "addresses.json", self.addresses)
        self.control_plane = ControlPlane(
            self._shape,
            addresses=self.addresses,
            state_dir=self.state_dir,
            log_dir=log_dir,
            place=self.places.control_plane(),
            new_socket=self.places.new_socket,
            log_level=self._log_level,
        )
        self._stack.push_async_callback(self.control_plane.stop, GRACE)
        await self.control_plane.start(self._say)
        await self._open_doors()
        token = self.control_plane.admin_token()
        roots = self.control_plane.roots
        self.galley = await enter_async(Galley(self.address("galley", "rest"), roots=roots, token=token))
        write_kubeconfig(self.kubeconfig, name=self._file.name, galley=self.address("galley", "rest"), roots=roots, token=token)
        if self._file.config:
            self._say("applying the configuration")
            await self.apply(self._folder / name for name in self._file.config)
        await enter_async(self._hosts_kept())
        await self._start_workloads(log_dir, shared, token)
        await enter_async(status.kept(self, self.state_dir / "status.json"))
        self._say("the mesh is up")

    async def _lay_network(self) -> None:
        enter = self._stack.enter_context
        self._hosts = HostsFiles(self.state_dir / "hosts", {spec.namespace for spec in self._file.workloads})
        self.places: Places
        if self._found.mode == "none":
            slot = enter(loopback_slot())
            self._instances = instances(self._file, "none", slot)
            self.addresses = Addresses("none", probe.free_ports(len(LISTENERS)))
            self.places = OnLoopback(self._folder)
            return
        self._instances = instances(self._file, "netns")
        self.addresses = Addresses("netns")
        hub = Hub(PUBLIC_PORTS)
        self._stack.callback(hub.close)
        namespaces: dict[str, NetworkNamespace] = {}
        for instance in self._instances:
            intercepted = instance.spec.sidecar and instance.spec.type == "sidecar"
            namespaces[instance.name] = hub.attach(instance.index, intercepted=intercepted)
            self._stack.callback(namespaces[instance.name].close)
        self.places = InNamespaces(hub, namespaces, self._hosts, folder=self._folder, state_dir=self.state_dir)

    async def _open_doors(self) -> None:
        """In netns mode, ways from the host's loopback to what only the hub can see."""
        if self._found.mode == "none":
            return
        for listener in LISTENERS:
            if not listener.public:
                key = (listener.part, listener.name)
                self._doors[key] = await self._door("127.0.0.1:0", self.addresses[key])

    async def _door(self, listen: str, to: str) -> str:
        host, _, port = to.rpartition(":")
        return await self._stack.enter_async_context(forwarding(listen, (host, int(port)), self.places.new_socket))

    async def _start_workloads(self, log_dir: Path, shared: Path, token: str) -> None:
        for instance in self._instances:
            self.workloads[instance.name] = Workload(
                instance,
                folder=self.state_dir / "workloads" / instance.name,
                places=self.places,
                shared=shared,
                log_dir=log_dir,
                log_level=self._log_level,
            )
        self._stack.push_async_callback(self._stop_workloads)
        turn = asyncio.Semaphore(TOGETHER)
        up = 0
        async with Citadel(self.address("citadel", "admin"), roots=self.control_plane.roots, token=token) as citadel:

            async def start(workload: Workload) -> None:
                nonlocal up
                spec = workload.instance.spec
                async with turn:
                    if spec.sidecar:
                        workload.join(await citadel.join_file(spec.namespace, spec.serviceAccount, spec.labels))
                    await workload.start()
                    await self._expose(workload.instance)
                up += 1
                self._say(f"{up} of {_counted(len(self.workloads))} in the mesh")

            self._say(f"starting {_counted(len(self.workloads))}")
            await _together(start(workload) for workload in self.workloads.values())

    async def _expose(self, instance: Instance) -> None:
        for expose in instance.spec.expose:
            to = f"{instance.ip}:{expose.port}"
            if self._found.mode == "netns" or expose.hostPort:
                to = await self._door(f"127.0.0.1:{expose.hostPort}", to)
            self._exposed[instance.name, expose.port] = to

    async def _stop_workloads(self) -> None:
        await asyncio.gather(*(workload.end(GRACE) for workload in self.workloads.values()))

    @contextlib.asynccontextmanager
    async def _hosts_kept(self) -> AsyncIterator[None]:
        """Keep the hosts files as Galley's services are."""
        await self._read_hosts()
        tasks = [asyncio.create_task(self._follow(*kind), name=f"hosts: {kind[1]}") for kind in (SERVICES, SERVICE_ENTRIES)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_hosts(self) -> None:
        self._hosts.update(await self.galley.objects(*SERVICES), await self.galley.objects(*SERVICE_ENTRIES))

    async def _follow(self, api_version: str, kind: str) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                watch = await self.galley.changes(api_version, kind)
                try:
                    async for _ in watch.aiter_lines():
                        await self._read_hosts()
                finally:
                    await watch.aclose()
            await asyncio.sleep(0.5)  # Galley is away; it comes back


def _counted(workloads: int) -> str:
    return f"{workloads} workload{'' if workloads == 1 else 's'}"


def _write_addresses(path: Path, addresses: Addresses) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(addresses.for_agents()))
    temporary.chmod(0o644)
    temporary.rename(path)


async def _together(coroutines: Iterable[Any]) -> None:
    """Run all; the first failure cancels the others and is raised as itself, not inside a group."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
