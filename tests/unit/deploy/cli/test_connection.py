# SPDX-License-Identifier: Apache-2.0
"""How the mesh is found, how a Galley that is being replaced is waited for, and what other parts are asked."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from common.identity.kubeconfig import write_kubeconfig
from deploy.cli.connection import Connection, RefusedError, Target, find_kubeconfig, read_target
from deploy.cli.errors import CliError
from deploy.cli.wait import until_programmed
from tests.running_citadel import new_authority, running_citadel

Run = Callable[..., Any]

ROOTS = new_authority().bundle_pem


def answering(*answers: httpx.Response, patience: float = 30.0) -> tuple[Connection, list[httpx.Request], list[float]]:
    """A connection whose server gives these answers in turn; the requests, and the sleeps of a clock that only they move."""
    left, asked, slept = list(answers), list[httpx.Request](), list[float]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return left.pop(0)

    client = httpx.Client(base_url="https://galley", transport=httpx.MockTransport(answer))
    target = Target(file=Path("k"), server="https://galley", token="t", roots_pem="")
    return Connection(target, client, patience=patience, clock=lambda: sum(slept), sleep=slept.append), asked, slept


def test_a_galley_that_is_being_replaced_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    busy = httpx.Response(503, headers={"Retry-After": "1"}, json={"message": "stands by"})
    galley, asked, slept = answering(busy, busy, httpx.Response(200, json={"items": []}))
    assert galley.request("POST", "/x", body={}) == {"items": []}
    assert (len(asked), slept) == (3, [1, 1])
    assert capsys.readouterr().err == "Galley is being replaced; trying again …\n"


def test_a_503_without_retry_after_is_an_answer() -> None:
    galley, asked, _ = answering(httpx.Response(503, json={"message": "no"}))
    with pytest.raises(RefusedError, match="no"):
        galley.get("/x")
    assert len(asked) == 1


def test_waiting_ends_after_half_a_minute() -> None:
    galley, _, slept = answering(*[httpx.Response(503, headers={"Retry-After": "5"}, json={"message": "stands by"})] * 20)
    with pytest.raises(RefusedError, match="stands by"):
        galley.get("/x")
    assert 30 <= sum(slept) <= 40


def with_conditions(*conditions: tuple[str, str]) -> httpx.Response:
    return httpx.Response(200, json={"status": {"conditions": [{"type": type_, "status": status} for type_, status in conditions]}})


def test_waiting_for_a_resource_ends_with_the_first_verdict() -> None:
    silent = (httpx.Response(200, json={}), with_conditions(("Analyzed", "False"), ("Programmed", "Unknown")))
    galley, asked, slept = answering(*silent, with_conditions(("Programmed", "True")))
    found = until_programmed(galley, "/x", 5, clock=lambda: sum(slept), sleep=slept.append)
    assert found == {"type": "Programmed", "status": "True"}
    assert len(asked) == 3


def test_a_refusal_is_told_in_its_own_words() -> None:
    galley, _, _ = answering(with_conditions(("Programmed", "False"), ("Rejected", "True")))
    assert until_programmed(galley, "/x", 5) == {"type": "Rejected", "status": "True"}


def test_waiting_for_a_resource_ends_without_a_verdict() -> None:
    galley, _, slept = answering(*[httpx.Response(200, json={})] * 50)
    assert until_programmed(galley, "/x", 5, clock=lambda: sum(slept), sleep=slept.append) is None
    assert sum(slept) == pytest.approx(5, abs=0.3)


def test_what_is_on_its_way_when_time_is_up_is_told() -> None:
    galley, _, slept = answering(*[with_conditions(("Programmed", "Unknown"))] * 50)
    found = until_programmed(galley, "/x", 5, clock=lambda: sum(slept), sleep=slept.append)
    assert found == {"type": "Programmed", "status": "Unknown"}


def kubeconfig(folder: Path, server: str = "127.0.0.1:1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roots.pem").write_bytes(ROOTS)
    write_kubeconfig(folder / "kubeconfig", name="m", galley=server, roots=folder / "roots.pem", token="t0ken")
    return folder / "kubeconfig"


def test_the_launchers_kubeconfig_is_understood(tmp_path: Path) -> None:
    target = read_target(kubeconfig(tmp_path))
    assert (target.server, target.token, target.namespace) == ("https://127.0.0.1:1", "t0ken", "default")
    assert target.server_name == "istio-galley.istio-system.svc"
    assert target.roots_pem.encode() == ROOTS


def test_the_youngest_running_mesh_is_found_before_the_home_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CliError, match="no mesh found"):
        find_kubeconfig(None)
    home = kubeconfig(tmp_path / "home" / ".fourmast")
    assert find_kubeconfig(None) == home
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with contextlib.ExitStack() as holding:
        for age, name in ((1.0, "old"), (2.0, "young"), (3.0, "killed")):
            kubeconfig(tmp_path / name)
            (runtime / f"{name}.json").write_text(json.dumps({"since": age, "stateDir": str(tmp_path / name)}))
            if name != "killed":
                fcntl.flock(holding.enter_context((runtime / f"{name}.json").open()), fcntl.LOCK_EX)
        (runtime / "ended.json").write_text("")
        assert find_kubeconfig(None) == tmp_path / "young" / "kubeconfig"
        assert f"2 meshes run here; this is the youngest one, {tmp_path}/young/kubeconfig" in capsys.readouterr().err
    assert find_kubeconfig(None) == home
    assert capsys.readouterr().err == ""
    assert find_kubeconfig(str(home)) == home


@pytest.mark.parametrize("text", ["", "5", "{}", "{current-context: a, contexts: []}", "a: ["])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k"
    path.write_text(text)
    with pytest.raises(CliError, match="kubeconfig"):
        read_target(path)


STATUS = {
    "name": "demo",
    "pid": os.getpid(),
    "mode": "none",
    "reason": "asked for",
    "controlPlane": "split",
    "stateDir": "/s",
    "parts": [
        {
            "name": "pilot",
            "pid": 9,
            "problem": None,
            "remark": "serving the last good configuration",
            "listeners": {"debug": "127.0.0.1:1", "xds": "127.0.0.1:2"},
        }
    ],
    "workloads": [
        {
            "name": "gw",
            "namespace": "istio-system",
            "kind": "router",
            "ip": "127.10.0.1",
            "exposed": {"8080": "127.0.0.1:3"},
            "problem": None,
        },
        {"name": "app", "namespace": "default", "kind": "sidecar", "ip": "127.10.0.2", "exposed": {}, "problem": "Envoy ended with 1"},
    ],
}


def test_status_lists_parts_and_workloads_and_names_what_is_wrong(fourmast_run: Run, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path)
    assert "still starting, or none runs" in fourmast_run("status", "--kubeconfig", str(file)).err
    (tmp_path / "status.json").write_text(json.dumps(STATUS))
    ran = fourmast_run("status", "--kubeconfig", str(file))
    assert ran.code == 1
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["pilot", "9", "ready", "debug", "127.0.0.1:1"] in lines
    assert ["xds", "127.0.0.1:2"] in lines
    assert ["gw", "istio-system", "router", "127.10.0.1", "ready", "http://127.0.0.1:3"] in lines
    assert "✘ app: Envoy ended with 1" in ran.out
    assert "! pilot: serving the last good configuration" in ran.out.splitlines()
    assert "sinks of Galley are not known: no answer at https://127.0.0.1:1" in ran.out
    value = json.loads(fourmast_run("status", "--kubeconfig", str(file), "-o", "json").out)
    assert value.pop("sinksUnknown").startswith("no answer at https://127.0.0.1:1")
    assert value == STATUS


def test_who_has_no_patience_asks_a_galley_that_is_being_replaced_once() -> None:
    busy = httpx.Response(503, headers={"Retry-After": "1"}, json={"message": "stands by"})
    galley, asked, slept = answering(busy, patience=0.0)
    with pytest.raises(RefusedError, match="stands by"):
        galley.get("/x")
    assert (len(asked), slept) == (1, [])


def test_status_does_not_repeat_what_a_killed_launcher_last_wrote(fourmast_run: Run, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path)
    with subprocess.Popen(["true"]) as ended:
        pass
    (tmp_path / "status.json").write_text(json.dumps({**STATUS, "pid": ended.pid}))
    ran = fourmast_run("status", "--kubeconfig", str(file))
    assert (ran.code, ran.out) == (1, "")
    assert f"mesh demo does not run any more: its launcher {ended.pid} was killed" in ran.err


SYNCZ = [
    {
        "proxy": "sidecar~10.0.0.1~reviews.default~default.svc.cluster.local",
        "istio_version": "1.4.10",
        "endpoint_acked": "7.1",
        "states": {
            "cluster": {"state": "SYNCED"},
            "listener": {
                "state": "REJECTED",
                "rejected": [
                    {
                        "resource": "0.0.0.0_9080",
                        "reason": "bad filter",
                        "sources": [{"collection": "istio/networking/v1alpha3/virtualservices", "name": "default/reviews"}],
                    }
                ],
            },
            "endpoint": {"state": "STALE"},
        },
    },
    {"proxy": "router~10.0.0.2~edge.istio-system~istio-system.svc.cluster.local", "states": {"cluster": {"state": "STALE"}}},
]


CONFIG_DUMP = {
    "clusters": [
        {"name": "outbound|9080|v1|reviews", "resource": {"name": "outbound|9080|v1|reviews", "type": "EDS"}},
        {"name": "BlackHoleCluster", "resource": {"name": "BlackHoleCluster"}},
    ],
    "listeners": [
        {
            "name": "0.0.0.0_9080",
            "resource": {
                "name": "0.0.0.0_9080",
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": 9080}},
                "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager"}]}],
                "default_filter_chain": {"filters": [{"name": "envoy.filters.network.tcp_proxy"}]},
            },
        }
    ],
    "routes": [
        {"name": "9080", "resource": {"name": "9080", "virtual_hosts": [{"name": "a:80", "domains": ["a", "b", "c"], "routes": [{}]}]}}
    ],
    "endpoints": [
        {
            "name": "c",
            "resource": {
                "cluster_name": "c",
                "endpoints": [
                    {
                        "locality": {"region": "r", "zone": "z"},
                        "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}],
                    }
                ],
            },
        }
    ],
}


@pytest.fixture
def pilot() -> Iterator[str]:
    """Something that answers as Pilot's debug page does, and only to our token."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers: dict[str, Any] = {"/debug/syncz": SYNCZ, f"/debug/config_dump?proxyID={quote(str(SYNCZ[0]['proxy']))}": CONFIG_DUMP}
            good = self.path in answers and self.headers["Authorization"] == "Bearer t0ken"
            body = json.dumps(answers[self.path] if good else {"detail": f"no {self.path}"}).encode()
            self.send_response(200 if good else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_proxy_status_has_istioctls_columns_and_names_the_cause_of_a_refusal(fourmast_run: Run, tmp_path: Path, pilot: str) -> None:
    file = kubeconfig(tmp_path)
    status = {**STATUS, "parts": [{"name": "istiod", "pid": 1, "problem": None, "listeners": {"pilot-debug": pilot}}]}
    (tmp_path / "status.json").write_text(json.dumps(status))
    lines = fourmast_run("proxy-status", "--kubeconfig", str(file)).out.splitlines()
    assert lines[0].split() == ["NAME", "CDS", "LDS", "EDS", "RDS", "VHDS", "VERSION"]
    assert lines[1].startswith("edge.istio-system   STALE (Never Acknowledged)   NOT SENT")
    assert lines[2].replace("NOT SENT", "NOT-SENT").split() == [
        "reviews.default",
        "SYNCED",
        "REJECTED",
        "STALE",
        "NOT-SENT",
        "-",
        "1.4.10",
    ]
    assert "✘ reviews.default refused LDS resource 0.0.0.0_9080: bad filter" in lines
    assert "  it comes from VirtualService default/reviews" in lines
    assert len(fourmast_run("ps", "reviews", "--kubeconfig", str(file), "--server", pilot).out.splitlines()) == 5
    assert "is not connected" in fourmast_run("ps", "gone", "--kubeconfig", str(file), "--server", pilot).err


@pytest.mark.parametrize(
    ("word", "rows"),
    [
        ("cluster", [["BlackHoleCluster", "-", "-", "-", "STATIC"], ["reviews", "9080", "v1", "outbound", "EDS"]]),
        ("listener", [["0.0.0.0", "9080", "HTTP+TCP", "0.0.0.0_9080"]]),
        ("route", [["9080", "a:80", "a", "+2", "1"]]),
        ("endpoint", [["10.0.0.1:80", "c", "r/z"]]),
    ],
)
def test_proxy_config_has_istioctls_columns(fourmast_run: Run, tmp_path: Path, pilot: str, word: str, rows: list[list[str]]) -> None:
    common = ("--kubeconfig", str(kubeconfig(tmp_path)), "--server", pilot)
    ran = fourmast_run("proxy-config", word, "reviews", *common)
    assert [line.split() for line in ran.out.splitlines()[1:]] == rows, ran.err
    assert json.loads(fourmast_run("pc", word, "reviews", *common, "-o", "json").out)[0] == CONFIG_DUMP[f"{word}s"][0]["resource"]
    assert len(fourmast_run("pc", word, "reviews", "--name", "nothing such", *common).out.splitlines()) == 1


def test_the_token_is_not_sent_to_another_machine_in_the_clear(fourmast_run: Run, tmp_path: Path) -> None:
    ran = fourmast_run("proxy-status", "--kubeconfig", str(kubeconfig(tmp_path)), "--server", "192.0.2.1:8080")
    assert "is another machine" in ran.err


async def test_ca_speaks_with_a_real_citadel(fourmast_run: Run, tmp_path: Path) -> None:
    async with running_citadel(tmp_path / "citadel") as citadel:
        file = tmp_path / "kubeconfig"
        write_kubeconfig(file, name="m", galley="127.0.0.1:1", roots=citadel.state_dir / "roots.pem", token=citadel.admin_token)
        common = ("--kubeconfig", str(file), "--server", citadel.addresses["admin"])

        async def ca(*arguments: str) -> Any:
            return await asyncio.to_thread(fourmast_run, "ca", *arguments, *common)

        join = tmp_path / "join.json"
        made = await ca("token", "create", "-n", "default", "-s", "sleep", "--ttl", "5m", "--uses", "2", "--out", str(join))
        assert made.code == 0, made.err
        assert "spiffe://cluster.local/ns/default/sa/sleep" in made.out
        assert json.loads(join.read_text())["token"]
        assert json.loads(join.read_text())["token"] not in made.out
        assert join.stat().st_mode & 0o777 == 0o600
        assert "default/sleep" in (await ca("token", "list")).out
        assert (await ca("root")).out == (citadel.state_dir / "roots.pem").read_text()
        assert (await ca("list", "-o", "json")).code == 0
        assert "is not a duration" in (await ca("token", "create", "-n", "d", "-s", "s", "--ttl", "5", "--out", "x")).err
