# SPDX-License-Identifier: Apache-2.0
"""What a row can do: change configuration as a user does, send requests as a browser and as applications do, and ask Envoys and Mixer."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import httpx
import yaml

from deploy.local.mesh import LocalMesh

BASE = (
    "bookinfo/config/services.yaml",
    "bookinfo/config/gateway.yaml",
    "bookinfo/config/destination-rule-all.yaml",
    "demo/config/services.yaml",
    "demo/config/mesh.yaml",
    "mesh/telemetry.yaml",
)
"""In force for every row; also what the mesh starts with."""

DENIED_REMOTELY = 422
SETTLE, SABOTAGED_SETTLE = 20.0, 5.0  # seconds in which a change must show; a sabotaged row waits for what never comes
Key = tuple[str, str, str, str]


class Page(NamedTuple):
    """An answer of the gateway to a browser."""

    status: int
    body: str
    seconds: float

    @property
    def black_stars(self) -> int:
        return self._stars("black")

    @property
    def red_stars(self) -> int:
        return self._stars("red")

    def _stars(self, colour: str) -> int:
        """Glyphs inside an element of that colour."""
        groups = re.findall(rf'<font color="{colour}">(.*?)</font>', self.body, re.DOTALL)
        return sum(group.count("glyphicon-star") - group.count("glyphicon-star-empty") for group in groups)

    def __str__(self) -> str:
        return f"{self.status}, {self.black_stars} black and {self.red_stars} red stars"


class Refused(Exception):
    """Galley refused configuration; the message holds its own words."""


class World:
    """A running mesh in the hands of the demo."""

    def __init__(self, mesh: LocalMesh, *, sabotaged: bool = False) -> None:
        self.mesh = mesh
        self.sabotaged = sabotaged
        self._in_force: dict[Key, str] = {}

    # -- configuration ---------------------------------------------------------------------------------------------------------------

    async def configure(self, files: Sequence[str], *, without: Sequence[str] = ()) -> None:
        """Make exactly the base and `files`, less `without`, be in force: one all-or-nothing apply, then deletion of what is left over."""
        wanted: dict[Key, tuple[str, Any]] = {}
        for file in [name for name in (*BASE, *files) if name not in without]:
            for document in yaml.safe_load_all(sample(file)):
                wanted[_key(document)] = (json.dumps(document, sort_keys=True), document)
        changed = [document for key, (text, document) in wanted.items() if self._in_force.get(key) != text]
        if changed:
            await self.apply(changed)
        for key in [key for key in self._in_force if key not in wanted]:
            await self.mesh.galley.delete(*key)
        self._in_force.clear()
        self._in_force.update({key: text for key, (text, _) in wanted.items()})

    def sabotage(self) -> World:
        """The same mesh for a row whose cause is left out."""
        other = World(self.mesh, sabotaged=True)
        other._in_force = self._in_force
        return other

    async def restore(self) -> None:
        """Apply the whole base again, whatever a row did to it."""
        self._in_force.update(dict.fromkeys(self._in_force, ""))
        await self.configure(())

    async def apply(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Apply through Galley's batch endpoint. Raises Refused."""
        answer = await self.mesh.galley.batch([{"document": document} for document in documents])
        if answer.status_code == DENIED_REMOTELY:
            raise Refused(answer.text)
        answer.raise_for_status()

    @property
    def settle(self) -> float:
        """How long to look for a change, in seconds."""
        return SABOTAGED_SETTLE if self.sabotaged else SETTLE

    # -- requests --------------------------------------------------------------------------------------------------------------------

    async def page(self, path: str = "/productpage", *, user: str | None = None, headers: Mapping[str, str] = {}) -> Page:
        """A page through the gateway, after logging in as `user`."""
        async with httpx.AsyncClient(base_url=self.mesh.gateway_url, timeout=30, follow_redirects=False) as browser:
            if user:
                await browser.post("/login", data={"username": user, "passwd": user})
            began = time.monotonic()
            try:
                answer = await browser.get(path, headers=dict(headers))
            except httpx.HTTPError as error:
                return Page(0, f"{type(error).__name__}: {error}", time.monotonic() - began)
            return Page(answer.status_code, answer.text, time.monotonic() - began)

    async def send(self, workload: str, url: str, *options: str) -> dict[str, Any]:
        """Requests from beside an application of the mesh (`deploy.samples.load`); its summary."""
        code, output = await self.mesh.exec(workload, ["python", "-m", "deploy.samples.load", url, *options])
        if code:
            raise RuntimeError(f"the load client in {workload} ended with {code}: {output[-500:]}")
        summary: dict[str, Any] = json.loads(output)
        return summary

    # -- what Envoy and Mixer say ----------------------------------------------------------------------------------------------------

    async def envoy_stats(self, workload: str, pattern: str) -> dict[str, int]:
        """Counters and gauges of a workload's Envoy whose names match the regular expression."""
        text = await self.mesh.workload(workload).admin(f"/stats?usedonly&format=json&filter={httpx.QueryParams({'f': pattern})['f']}")
        return {entry["name"]: entry["value"] for entry in json.loads(text)["stats"] if "value" in entry}

    async def mixer_metrics(self) -> str:
        """The Prometheus text of Mixer's mesh metrics (42422)."""
        return await self.mesh.mixer_metrics()


def sample(name: str) -> str:
    """The text of a sample file, for example `bookinfo/config/gateway.yaml`."""
    return resources.files("deploy.samples").joinpath(name).read_text(encoding="utf-8")


def _key(document: Mapping[str, Any]) -> Key:
    metadata = document["metadata"]
    return (document["apiVersion"], document["kind"], metadata.get("namespace", ""), metadata["name"])


async def until(check: Callable[[], Awaitable[bool]], *, within: float, every: float = 0.1) -> bool:
    """Whether `check` came true within so many seconds. Configuration travels while nobody waits for it, so rows look until it shows."""
    end = time.monotonic() + within
    while True:
        if await check():
            return True
        if time.monotonic() > end:
            return False
        await asyncio.sleep(every)
