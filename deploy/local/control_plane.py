# SPDX-License-Identifier: Apache-2.0
"""The control plane's processes: four of them, or istiod, from the same settings in the same state directories."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from common.identity.private_file import write_private
from deploy.local.ask import NewSocket, ask, until
from deploy.local.mesh_file import ControlPlane as Shape
from deploy.local.plan import Addresses
from deploy.local.processes import Place, Process

PARTS: Final = ("citadel", "galley", "mixer", "pilot")
READY_WITHIN: Final = 60.0  # seconds; a part imports for about one on an idle core

Settings = dict[str, Any]


class StartFailed(Exception):
    """Something of the mesh did not come up; the message holds the end of its log."""


class Part:
    """One process of the control plane."""

    def __init__(self, name: str, process: Process, state_dir: Path, new_socket: NewSocket) -> None:
        self.name = name
        self.process = process
        self.state_dir = state_dir
        self._new_socket = new_socket

    @property
    def pid(self) -> int | None:
        return self.process.pid

    def addresses(self) -> dict[str, dict[str, str]]:
        """Component -> listener -> host:port, as the process wrote them down."""
        found: dict[str, dict[str, str]] = json.loads((self.state_dir / "addresses.json").read_text())
        return found

    async def start(self) -> None:
        """Start it; see `until_ready`."""
        (self.state_dir / "addresses.json").unlink(missing_ok=True)
        await self.process.start()

    async def until_ready(self) -> None:
        """Raises StartFailed when it ends, or is not ready within READY_WITHIN."""

        async def look() -> str | None:
            if self.process.exit_code is not None:
                raise StartFailed(f"{self.name} ended with exit code {self.process.exit_code}:\n{self.process.last_lines()}")
            return await self.problem()

        problem = await until(look, timeout=READY_WITHIN)
        if problem is not None:
            raise StartFailed(f"{self.name} is not ready after {READY_WITHIN:.0f} s: {problem}\n{self.process.last_lines()}")

    async def kill(self) -> None:
        """As by `kill -9`."""
        await self.process.kill()

    async def stop(self) -> None:
        """As by SIGTERM: it drains."""
        await self.process.stop()

    async def restart(self) -> None:
        """Stop it if it runs, start it on the same state, and wait until it is ready."""
        await self.process.stop()
        await self.start()
        await self.until_ready()

    async def problem(self) -> str | None:
        """Why it is not ready; None when it is."""
        return (await self.state())[0]

    async def state(self) -> tuple[str | None, str | None]:
        """Why it is not ready (None when it is), and what else people should know."""
        if self.pid is None:
            return "it does not run", None
        try:
            status, text = await ask(self.addresses()["introspection"]["monitoring"], "/ready", self._new_socket)
            remarks = json.loads(text).get("remarks", {})
        except (OSError, ValueError, KeyError) as error:
            return f"it does not answer yet ({type(error).__name__})", None
        remark = "; ".join(remarks[name] if name == self.name else f"{name}: {remarks[name]}" for name in sorted(remarks))
        return (None if status == 200 else text.strip()), remark or None


class ControlPlane:
    """All of it, in the order Citadel, then the others."""

    def __init__(
        self, shape: Shape, *, addresses: Addresses, state_dir: Path, log_dir: Path, place: Place, new_socket: NewSocket, log_level: str
    ) -> None:
        self.shape = shape
        self.addresses = addresses
        self.state_dir = state_dir
        processes = PARTS if shape == "split" else ("istiod",)
        self.parts: Mapping[str, Part] = {
            name: self._part(name, log_dir=log_dir, place=place, new_socket=new_socket, log_level=log_level) for name in processes
        }

    async def start(self, say: Callable[[str], None]) -> None:
        """Start everything and wait until it is ready. Raises StartFailed."""
        if self.shape == "istiod":
            say("starting istiod")
            await self.parts["istiod"].start()
            await self.parts["istiod"].until_ready()
            return
        say("starting citadel")
        await self.parts["citadel"].start()
        await self.parts["citadel"].until_ready()
        say("starting galley, mixer and pilot")
        others = [part for name, part in self.parts.items() if name != "citadel"]
        await asyncio.gather(*(part.start() for part in others))
        await asyncio.gather(*(part.until_ready() for part in others))

    async def stop(self, grace: float) -> None:
        """Stop the parts together, as they need nothing of each other to end."""
        await asyncio.gather(*(part.process.stop(grace) for part in self.parts.values()))

    @property
    def citadel_dir(self) -> Path:
        return self.state_dir / "citadel"

    @property
    def roots(self) -> Path:
        """The trust bundle, once Citadel is up."""
        return self.citadel_dir / "roots.pem"

    def admin_token(self) -> str:
        return (self.citadel_dir / "admin.token").read_text().strip()

    def _part(self, name: str, *, log_dir: Path, place: Place, new_socket: NewSocket, log_level: str) -> Part:
        state_dir = self.state_dir if name == "istiod" else self.state_dir / name
        settings = {
            "state_dir": str(state_dir),
            "monitoring_address": "127.0.0.1:0",
            "ctrlz_address": "127.0.0.1:0",
            "log_output_level": f"default:{log_level}",
        }
        if name == "istiod":
            for part in PARTS:
                settings |= {f"{part}_{key}": value for key, value in part_settings(part, self.addresses, self.state_dir).items()}
        else:
            settings |= joining(name, self.addresses, self.state_dir) | part_settings(name, self.addresses, self.state_dir)
        config = self.state_dir / "config" / f"{name}.yaml"
        write_private(config, json.dumps(settings, indent=1).encode())
        module = "deploy.istiod.cli" if name == "istiod" else f"{name}.cli"
        command = [sys.executable, "-c", f"from {module} import main; main()", "serve", "--config", str(config)]
        return Part(name, Process(name, command, place, log_dir / f"{name}.log"), state_dir, new_socket)


def joining(part: str, addresses: Addresses, state_dir: Path) -> Settings:
    """How a part gets its identity. Citadel makes its own."""
    if part == "citadel":
        return {}
    return {
        "join_file": str(state_dir / "citadel" / "join" / f"{part}.json"),
        "citadel_address": addresses["citadel", "csr"],
        "citadel_renewal_address": addresses["citadel", "renewal"],
    }


def part_settings(part: str, addresses: Addresses, state_dir: Path) -> Settings:
    """Where a part listens, and where it finds Galley."""
    match part:
        case "citadel":
            return {
                "csr_address": addresses["citadel", "csr"],
                "renewal_address": addresses["citadel", "renewal"],
                "admin_address": addresses["citadel", "admin"],
            }
        case "galley":
            return {
                "mcp_address": addresses["galley", "mcp"],
                "rest_address": addresses["galley", "rest"],
                "registration_address": addresses["galley", "registration"],
            }
        case "mixer":
            return {
                "galley_address": addresses["galley", "mcp"],
                "galley_status_address": addresses["galley", "registration"],
                "grpc_address": addresses["mixer", "grpc"],
                "check_address": addresses["mixer", "check"],
                "metrics_address": addresses["mixer", "metrics"],
            }
        case "pilot":
            return {
                "galley_address": addresses["galley", "mcp"],
                "galley_status_address": addresses["galley", "registration"],
                "secure_grpc_address": addresses["pilot", "xds"],
                "http_address": addresses["pilot", "debug"],
            }
        case _:
            raise ValueError(f"there is no part {part}")
