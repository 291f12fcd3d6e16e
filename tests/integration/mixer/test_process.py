# SPDX-License-Identifier: Apache-2.0
"""`mixer serve` as a process of its own beside a real Citadel and a real Galley: joined by its join file, told, killed, started alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.checkprotocol.message import PATH, Answer, Question
from common.identity.enrolment import enrol
from common.identity.https import https_client
from common.identity.material import WorkloadIdentity
from common.identity.tls import ssl_context
from common.lifecycle import Life
from common.mesh.names import control_plane_dns_name
from galley.app import build
from galley.settings import GalleySettings
from tests.running_citadel import RunningCitadel, running_citadel


def document(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "config.istio.io/v1alpha2", "kind": kind, "metadata": metadata, "spec": spec}


def deny(message: str) -> list[dict[str, Any]]:
    return [
        document("handler", "deny", {"compiledAdapter": "denier", "params": {"status": {"code": 7, "message": message}}}),
        document("instance", "nothing", {"compiledTemplate": "checknothing"}),
        document("rule", "deny", {"match": "", "actions": [{"handler": "deny", "instances": ["nothing"]}]}),
    ]


@contextlib.asynccontextmanager
async def running_galley(citadel: RunningCitadel, state_dir: Path) -> AsyncIterator[dict[str, str]]:
    """A Galley that joined at this Citadel; its addresses."""
    settings = GalleySettings(
        state_dir=state_dir,
        join_file=citadel.state_dir / "join" / "galley.json",
        citadel_address=citadel.addresses["csr"],
        citadel_renewal_address=citadel.addresses["renewal"],
        rest_address="127.0.0.1:0",
        mcp_address="127.0.0.1:0",
        registration_address="127.0.0.1:0",
    )
    life = Life("galley")
    serving = asyncio.create_task(build(settings).run(life))
    try:
        async with asyncio.timeout(60):
            await life.until_ready()
        yield life.addresses
    finally:
        life.stopping.set()
        await asyncio.wait_for(serving, 30)


@dataclass
class MixerProcess:
    """A `mixer serve` that may be killed and started again."""

    citadel: RunningCitadel
    state: Path
    galley: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> MixerProcess:
        for stale in self.state.glob("addresses.json"):
            stale.unlink()
        loopback = [f"--{name}-address=127.0.0.1:0" for name in ("grpc", "check", "metrics")]
        where = [
            f"--citadel-address={self.citadel.addresses['csr']}",
            f"--citadel-renewal-address={self.citadel.addresses['renewal']}",
            f"--galley-address={self.galley['mcp']}",
            f"--galley-status-address={self.galley['registration']}",
        ]
        join = f"--join-file={self.citadel.state_dir / 'join' / 'mixer.json'}"
        command = (
            sys.executable,
            "-m",
            "mixer.cli",
            "serve",
            f"--state-dir={self.state}",
            join,
            "--ctrlz-address=",
            "--monitoring-address=",
        )
        self.process = await asyncio.create_subprocess_exec(*command, *loopback, *where, stderr=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(60):
            while "mesh-metrics" not in self.addresses:
                assert self.process.returncode is None, "mixer ended at once"
                await asyncio.sleep(0.05)
        return self

    @property
    def addresses(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.state / "addresses.json").read_text()).get("mixer", {})
        except FileNotFoundError:
            return {}
        return found

    async def end(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def ask(self, proxy: WorkloadIdentity) -> str:
        """The text of the denial that this proxy gets, or empty."""
        question = Question(attributes={"request.headers": {}, "context.reporter.kind": "inbound", "context.protocol": "http"})
        async with httpx.AsyncClient(verify=ssl_context(proxy, server=False)) as client:
            extensions = {"sni_hostname": control_plane_dns_name("mixer")}
            url = f"https://{self.addresses['check']}{PATH}"
            answer = Answer.parse((await client.post(url, content=question.encode(), extensions=extensions)).content)
        return answer.denial.message if answer.denial else ""


async def until(wanted: str, mixer: MixerProcess, proxy: WorkloadIdentity) -> None:
    async with asyncio.timeout(30):
        while await mixer.ask(proxy) != wanted:
            await asyncio.sleep(0.05)


async def test_configuration_arrives_and_survives(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        citadel = await stack.enter_async_context(running_citadel(tmp_path / "citadel"))
        join = await citadel.join_file(tmp_path / "ratings.json", account="ratings")
        proxy = await stack.enter_async_context(
            enrol(
                join_file=join,
                citadel_address=citadel.addresses["csr"],
                renewal_address=citadel.addresses["renewal"],
                state_dir=tmp_path / "ratings",
                name="ratings",
            )
        )
        async with running_galley(citadel, tmp_path / "galley") as galley:
            mixer = await MixerProcess(citadel, tmp_path / "mixer", dict(galley)).start()
            stack.push_async_callback(_end, mixer)
            roots = (citadel.state_dir / "roots.pem").read_bytes()
            client = https_client(galley["rest"], part="galley", roots_pem=roots, token=citadel.admin_token)
            await stack.enter_async_context(client)
            assert await mixer.ask(proxy) == ""

            await _apply(client, *deny("first"))
            await until("deny.default:first", mixer, proxy)
            await _apply(client, *deny("second"))
            await until("deny.default:second", mixer, proxy)

            lost = document("rule", "lost", {"actions": [{"handler": "gone", "instances": ["nothing"]}]})
            await _apply(client, lost)
            reason = "spec.actions[0].handler: Handler not found: handler='gone.handler.default'"
            assert reason in await _verdict(client, "rules/lost")
            assert await _verdict(client, "rules/deny") == "True AcceptedByMixer "

            await mixer.end()
            await mixer.start()
            await until("deny.default:second", mixer, proxy)

        await mixer.end()
        await mixer.start()
        assert await mixer.ask(proxy) == "deny.default:second", "alone, it serves the last good configuration"
        assert await mixer.end(signal.SIGTERM) == 0


async def _end(mixer: MixerProcess) -> None:
    if mixer.process is not None and mixer.process.returncode is None:
        await mixer.end()


async def _apply(client: httpx.AsyncClient, *documents: dict[str, Any]) -> None:
    answer = await client.post("/apis/fourmast.io/v1/batch", json={"items": [{"document": each} for each in documents]})
    assert answer.status_code == 200, answer.text


async def _verdict(client: httpx.AsyncClient, path: str) -> str:
    """What Mixer said of a resource, once it has."""
    async with asyncio.timeout(30):
        while True:
            body = (await client.get(f"/apis/config.istio.io/v1alpha2/namespaces/default/{path}")).json()
            for condition in body.get("status", {}).get("conditions", ()):
                if condition["type"] == ("Rejected" if path.endswith("lost") else "Programmed"):
                    return f"{condition['status']} {condition['reason']} {condition.get('message', '')}"
            await asyncio.sleep(0.05)
