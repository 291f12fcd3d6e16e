# SPDX-License-Identifier: Apache-2.0
"""The launcher with everything real: four parts or istiod, Envoys, both ways of interception; and that it leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.local.configuration import ConfigurationRefused
from deploy.local.mesh import LocalMesh, MeshRunning

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="no curl; `make system` brings it")

MESH = Path(__file__).parent / "mesh" / "mesh.yaml"
ROOT = os.geteuid() == 0

BOTH = [
    pytest.param(("none", "istiod"), id="none-istiod"),
    pytest.param(("netns", "split"), id="netns-split", marks=[pytest.mark.netns, pytest.mark.skipif(not ROOT, reason="needs root")]),
]


@pytest.fixture(scope="module", params=BOTH)
async def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalMesh]:
    mode, shape = request.param
    state = Path(f"/tmp/fm-test-{os.getpid()}-{mode}")  # short enough for sockets
    async with LocalMesh(MESH, mode=mode, control_plane=shape, state_dir=state) as running:
        yield running
    assert not children_of_mesh(state), "processes are left"
    subprocess.run(["rm", "-rf", str(state)], check=True)


def children_of_mesh(state: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(state) in argument for argument in process.cmdline()):
                found.append(process)
    return found


async def call(mesh: LocalMesh, caller: str = "client") -> str:
    """A request to the service as an application sends it in this mode; curl's answer."""
    here = mesh.workload(caller).instance
    if here.outbound_host:
        command = ["curl", "-s", "-m", "15", "-H", "Host: server:8000", f"http://{here.outbound_host}:8000/"]
    else:
        command = ["curl", "-s", "-m", "15", "http://server:8000/"]
    return (await mesh.exec(caller, command))[1]


async def until(look: Callable[[], asyncio.Future[bool]] | Callable[[], object], *, within: float = 30.0) -> None:
    end = time.monotonic() + within
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"{look.__name__} did not come true in {within:.0f} s"
        await asyncio.sleep(0.1)


async def fourmast(*arguments: str) -> tuple[int, str]:
    """The command line, without holding up this process: the mesh's doors are in it."""
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def answered_by(mesh: LocalMesh, *servers: str) -> bool:
    answers = [await call(mesh) for _ in range(8)]
    return {answer.split(" ")[0] for answer in answers} == set(servers)


async def test_a_request_passes_both_sidecars_and_both_know_each_other(mesh: LocalMesh) -> None:
    await until(lambda: answered_by(mesh, "server-1", "server-2"))
    answer = await call(mesh)
    assert "By=spiffe://cluster.local/ns/default/sa/server" in answer
    assert "URI=spiffe://cluster.local/ns/default/sa/default" in answer
    if mesh.mode == "netns":
        assert "uid=3000" in answer, "applications are nobody"


async def test_the_gateway_is_reached_from_the_host(mesh: LocalMesh) -> None:
    async with httpx.AsyncClient() as browser:

        async def good() -> bool:
            answer = await browser.get(f"{mesh.gateway_url}/")
            return answer.status_code == 200 and "sa/gateway" in answer.text

        await until(good)


async def test_status_names_everything(mesh: LocalMesh) -> None:
    output = ""

    async def all_is_well() -> bool:  # the file is written every two seconds; a test before this one may have killed something
        nonlocal output
        code, output = await fourmast("status", "--kubeconfig", str(mesh.kubeconfig))
        return code == 0

    await until(all_is_well)
    for word in (mesh.mode, "server-2", "gateway", "outside", mesh.address("galley", "rest")):
        assert word in output


async def test_the_kubeconfig_is_private_and_opens_galley(mesh: LocalMesh) -> None:
    assert stat.S_IMODE(mesh.kubeconfig.stat().st_mode) == 0o600
    code, output = await fourmast("get", "services", "--kubeconfig", str(mesh.kubeconfig))
    assert code == 0, output
    assert "server" in output


async def test_a_second_mesh_of_the_name_says_what_is_in_the_way(mesh: LocalMesh, tmp_path: Path) -> None:
    with pytest.raises(MeshRunning, match=f"process {os.getpid()}"):
        async with LocalMesh(MESH, mode="none", state_dir=tmp_path):
            pass


async def test_refused_configuration_names_file_line_and_field(mesh: LocalMesh, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: x}\nspec:\n  hosts: [x]\n  htpp: []\n"
    )
    with pytest.raises(ConfigurationRefused) as caught:
        await mesh.apply([file])
    assert str(caught.value).startswith(f"{file}:6: VirtualService")
    assert "htpp" in str(caught.value)


async def test_an_instance_that_loses_power_is_forgotten_and_comes_back(mesh: LocalMesh) -> None:
    await until(lambda: answered_by(mesh, "server-1", "server-2"))
    await mesh.workload("server-2").kill()
    await until(lambda: answered_by(mesh, "server-1"))
    assert await mesh.workload("server-2").problem() is not None
    await mesh.workload("server-2").start()
    await until(lambda: answered_by(mesh, "server-1", "server-2"))


async def test_an_instance_that_stops_in_order_loses_no_request(mesh: LocalMesh) -> None:
    await until(lambda: answered_by(mesh, "server-1", "server-2"))
    answers: list[str] = []
    stopping = asyncio.create_task(mesh.workload("server-2").stop())
    try:
        while not stopping.done():
            answers.append(await call(mesh))
        await stopping
    finally:  # the tests after this one need both
        await mesh.workload("server-2").start()
    lost = {number: answer for number, answer in enumerate(answers) if not answer.startswith("server-")}
    assert answers and not lost, f"of {len(answers)} answers: {lost}"


async def test_an_unhealthy_application_leaves_while_its_sidecar_lives(mesh: LocalMesh) -> None:
    await until(lambda: answered_by(mesh, "server-1", "server-2"))
    await mesh.workload("server-1").kill_application()
    await until(lambda: answered_by(mesh, "server-2"))
    assert mesh.workload("server-1").sidecar is not None
    await mesh.workload("server-1").restart()
    await until(lambda: answered_by(mesh, "server-1", "server-2"))


@pytest.mark.parametrize("part", ["pilot", "galley", "citadel"])
async def test_traffic_flows_while_a_part_is_away(mesh: LocalMesh, part: str) -> None:
    await until(lambda: answered_by(mesh, "server-1", "server-2"))
    await mesh.part(part).kill()
    for _ in range(5):
        assert (await call(mesh)).startswith("server-")
    await mesh.part(part).restart()
    for _ in range(5):
        assert (await call(mesh)).startswith("server-")


@pytest.mark.parametrize("mesh", BOTH[1:], indirect=True)  # none mode is no security boundary
async def test_somebody_outside_reaches_no_part_that_is_not_for_workloads(mesh: LocalMesh) -> None:
    for port, reached in ((15012, True), (8001, False), (8062, False), (9901, False), (15014, False)):
        code, _ = await mesh.exec("outside", ["curl", "-sk", "--connect-timeout", "1", "-m", "15", f"https://10.99.0.1:{port}/"])
        assert (code not in (7, 28)) == reached, f"port {port}: curl exit {code}"


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "starting galley, mixer and pilot"),
        (signal.SIGKILL, "starting 5 workloads"),
        (signal.SIGTERM, "the mesh is up"),
        (signal.SIGKILL, "the mesh is up"),
    ],
)
def test_nothing_is_left_however_and_whenever_it_ends(number: signal.Signals, moment: str, tmp_path: Path) -> None:
    """By Ctrl-C, by SIGTERM and by SIGKILL, while it starts and while it runs."""
    state = Path(f"/tmp/fm-end-{os.getpid()}")
    for name in ("mesh.yaml", "config.yaml", "server.py"):
        (tmp_path / name).write_text((MESH.parent / name).read_text().replace("name: try", "name: end"))
    tmp_path.chmod(0o755)  # applications are other users
    command = [sys.executable, "-m", "deploy.local", "up", str(tmp_path / "mesh.yaml"), "--state-dir", str(state)]
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert launcher.stderr is not None
    try:
        said = told = ""
        while moment not in said:
            said = launcher.stderr.readline()
            assert said, f"it ended before that: {told}"
            told += said
        assert len(children_of_mesh(state)) > 1
        launcher.send_signal(number)
        launcher.communicate(timeout=60)
        end = time.monotonic() + 15
        while (left := children_of_mesh(state)) and time.monotonic() < end:
            time.sleep(0.1)
        assert left == []
        assert not any(name.startswith(("mesh", "w1")) for name in psutil.net_if_addrs())
    finally:
        launcher.kill()
        launcher.wait()
        subprocess.run(["rm", "-rf", str(state)], check=True)
