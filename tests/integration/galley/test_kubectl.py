# SPDX-License-Identifier: Apache-2.0
"""The stock kubectl against Galley, over HTTPS with the kubeconfig that Citadel writes, and validation left on.

Both a kubectl of Galley's own time and a present one; `make system` brings them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import textwrap
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import citadel.cli
from tests.running_citadel import running_citadel
from tests.running_galley import RunningGalley, joined_galley

pytestmark = pytest.mark.timeout(120)

MESH = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  selector: {app: reviews}
  ports:
  - {name: http, port: 9080, targetPort: 9080}
  - {name: http-admin, port: 9081, targetPort: admin}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1, port: {number: 9080}}
      weight: 90
    - destination: {host: reviews, subset: v2, port: {number: 9080}}
      weight: 10
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Kubectl:
    """One kubectl with a kubeconfig and a home of its own."""

    binary: str
    home: Path
    kubeconfig: Path

    async def __call__(self, *arguments: str, stdin: str = "", fails: bool = False, **environment: str) -> str:
        """What it printed; its errors when it `fails`, as it then must."""
        said = await self.run(*arguments, stdin=stdin, **environment)
        assert (said.code != 0) is fails, f"kubectl {' '.join(arguments)}: exit code {said.code}\n{said.out}\n{said.err}"
        return said.err if fails else said.out

    async def run(self, *arguments: str, stdin: str = "", **environment: str) -> Said:
        process = await self.start(*arguments, **environment)
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return Said(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        known = {"HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig), "PATH": os.environ["PATH"], "TMPDIR": str(self.home)}
        return await asyncio.create_subprocess_exec(
            self.binary, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env={**known, **environment}, cwd=self.home
        )

    @contextlib.asynccontextmanager
    async def watching(self, *arguments: str) -> AsyncIterator[asyncio.StreamReader]:
        """Lines of a kubectl that goes on until the block is left."""
        process = await self.start(*arguments)
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class Control:
    """A Galley that joined through a real Citadel, and that Citadel's kubeconfig."""

    galley: RunningGalley
    kubeconfig: Path


@pytest.fixture(scope="module")
async def control(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Control]:
    folder = tmp_path_factory.mktemp("kubectl")
    async with running_citadel(folder / "citadel") as authority, joined_galley(folder / "galley", authority) as galley:
        path = folder / "kubeconfig"
        arguments = ["--state-dir", str(authority.state_dir), "--galley-address", galley.addresses["rest"], "--out", str(path)]
        written = CliRunner().invoke(citadel.cli.main, ["kubeconfig", *arguments])
        assert written.exit_code == 0, written.output
        yield Control(galley, path)


@pytest.fixture(scope="module", params=["1.20", "1.37"])
def kubectl(request: pytest.FixtureRequest, control: Control, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    binary = shutil.which(f"kubectl-{request.param}")
    if binary is None:
        pytest.skip(f"kubectl-{request.param} is not installed (make system)")
    return Kubectl(binary, tmp_path_factory.mktemp(f"home-{request.param}"), control.kubeconfig)


@pytest.fixture
async def mesh(kubectl: Kubectl) -> AsyncIterator[str]:
    """The documents of MESH, applied; deleted by their file afterwards."""
    assert await kubectl("apply", "-f", "-", stdin=MESH) == (
        "namespace/shop created\n"
        "service/reviews created\n"
        "virtualservice.networking.istio.io/reviews created\n"
        "destinationrule.networking.istio.io/reviews created\n"
    )
    yield MESH
    await kubectl("delete", "--ignore-not-found", "-f", "-", stdin=MESH)


def table(text: str) -> list[list[str]]:
    """Rows of cells, the header first."""
    return [re.split(r" {2,}", line.rstrip()) for line in text.splitlines() if line]


async def test_apply_again_changes_nothing_and_a_change_is_one(kubectl: Kubectl, mesh: str) -> None:
    assert set(re.findall(r"\w+$", await kubectl("apply", "-f", "-", stdin=mesh), re.M)) == {"unchanged"}
    changed = await kubectl("apply", "-f", "-", stdin=mesh.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"))
    assert [line.split()[-1] for line in changed.splitlines()] == ["unchanged", "unchanged", "configured", "unchanged"]
    # What is taken out of the file leaves the object, because kubectl remembers what it applied last.
    await kubectl(
        "apply",
        "-f",
        "-",
        stdin=mesh.replace("labels: {app: reviews}}\nspec:\n  hosts", "}\nspec:\n  hosts").replace(
            "  - {name: v2, labels: {version: v2}}\n", ""
        ),
    )
    assert await kubectl("get", "vs,dr", "-n", "shop", "-o", "jsonpath={.items[*].metadata.labels}{.items[*].spec.subsets[*].name}") == "v1"
    await kubectl("apply", "-f", "-", stdin=mesh.replace("9081", "9082"))
    assert await kubectl("get", "svc", "reviews", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}") == "9080 9082"


async def test_get_in_its_forms(kubectl: Kubectl, mesh: str) -> None:
    header, row = table(await kubectl("get", "vs", "-n", "shop"))
    assert (header, row[:3]) == (["NAME", "GATEWAYS", "HOSTS", "AGE"], ["reviews", "mesh", "reviews"])
    header, row = table(await kubectl("get", "svc", "--all-namespaces", "-o", "wide"))
    assert header == ["NAMESPACE", "NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR", "FINDINGS", "SOURCE"]
    assert row[:3] + row[5:6] + row[7:8] == ["shop", "reviews", "ClusterIP", "9080/TCP,9081/TCP", "app=reviews"]
    as_json = json.loads(await kubectl("get", "vs", "reviews", "-n", "shop", "-o", "json"))
    assert as_json["spec"]["http"][0]["route"][0]["weight"] == 90
    assert "weight: 90" in await kubectl("get", "vs", "reviews", "-n", "shop", "-o", "yaml")
    assert await kubectl("get", "vs,svc", "-n", "shop", "-l", "app=reviews", "-o", "name") == (
        "virtualservice.networking.istio.io/reviews\nservice/reviews\n"
    )
    assert await kubectl("get", "vs,dr", "-n", "shop", "-l", "app", "-o", "name") == "virtualservice.networking.istio.io/reviews\n"
    by_field = ["--field-selector", "metadata.name=reviews", "--sort-by", ".metadata.name", "-L", "app"]
    assert table(await kubectl("get", "vs", "-A", *by_field))[1][-1] == "reviews"
    assert await kubectl("get", "vs", "-A", "--field-selector", "metadata.name=other", "-o", "name") == ""
    assert {"reviews"} == set(re.findall(r"/(\w+)", await kubectl("get", "networking-istio-io", "-n", "shop", "-o", "name")))


async def test_describe(kubectl: Kubectl, mesh: str) -> None:
    described = await kubectl("describe", "vs", "reviews", "-n", "shop")
    assert re.search(r"Kind: +VirtualService\n(.*\n)+Spec:\n +Hosts:\n +reviews\n", described)
    assert re.search(r"Port: +http-admin +9081", await kubectl("describe", "svc", "reviews", "-n", "shop"))


async def test_diff_shows_the_change_and_stores_nothing(kubectl: Kubectl, mesh: str) -> None:
    said = await kubectl.run("diff", "-f", "-", stdin=mesh.replace("weight: 90", "weight: 80").replace("weight: 10", "weight: 20"))
    changes = [line for line in said.out.splitlines() if re.match(r"[-+] ", line)]
    assert (said.code, [line.strip("+- ") for line in changes]) == (
        1,
        ["generation: 1", "generation: 2", "weight: 90", "weight: 80", "weight: 10", "weight: 20"],
    )
    assert await kubectl("diff", "-f", "-", stdin=mesh) == ""
    dry = await kubectl("apply", "--dry-run=server", "-f", "-", stdin=mesh.replace("9081", "9082"))
    assert "service/reviews configured (server dry run)" in dry
    assert await kubectl("get", "svc", "reviews", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}") == "9080 9081"


async def test_mistakes_are_explained(kubectl: Kubectl, mesh: str) -> None:
    wrong = mesh.replace("hosts: [reviews]", "host: reviews").replace("weight: 90", "weight: many")
    said = await kubectl("apply", "-f", "-", stdin=wrong, fails=True)
    assert "spec.http[0].route[0].weight" in said
    assert "unknown field" in said
    unchecked = await kubectl("apply", "--validate=false", "-f", "-", stdin=wrong, fails=True)
    assert unchecked.startswith('The VirtualService "reviews" is invalid'), "Galley's own words, on the object"
    assert "spec.host: unknown field 'host'; did you mean 'hosts'?" in unchecked
    assert "VirtualService shop/none does not exist" in await kubectl("get", "vs", "none", "-n", "shop", fails=True)


async def test_edit(kubectl: Kubectl, mesh: str) -> None:
    assert "edited" in await kubectl("edit", "dr", "reviews", "-n", "shop", EDITOR="sed -i s/v2/v3/g")
    assert await kubectl("get", "dr", "reviews", "-n", "shop", "-o", "jsonpath={.spec.subsets[*].name}") == "v1 v3"


async def test_patches_labels_and_annotations(kubectl: Kubectl, mesh: str) -> None:
    one = ("vs", "reviews", "-n", "shop")
    await kubectl("label", *one, "tier=web", "app-")
    await kubectl("annotate", *one, "note=hello")
    metadata = json.loads(await kubectl("get", *one, "-o", "json"))["metadata"]
    assert (metadata["labels"], metadata["annotations"]["note"]) == ({"tier": "web"}, "hello")
    await kubectl("patch", *one, "--type=merge", "-p", '{"spec":{"hosts":["reviews","also"]}}')
    await kubectl("patch", *one, "--type=json", "-p", '[{"op":"add","path":"/spec/hosts/-","value":"more"}]')
    assert await kubectl("get", *one, "-o", "jsonpath={.spec.hosts}") == '["reviews","also","more"]'
    await kubectl("patch", "svc", "reviews", "-n", "shop", "-p", '{"spec":{"ports":[{"port":9081,"name":"tcp-admin"}]}}')
    names = await kubectl("get", "svc", "reviews", "-n", "shop", "-o", "jsonpath={.spec.ports[*].name}")
    assert names == "http tcp-admin", "the strategic merge patch found the port by its number"


async def test_explain(kubectl: Kubectl) -> None:
    explained = await kubectl("explain", "virtualservice.spec.http.route")
    assert re.search(r"destination\s+<Object> -required-", explained)
    assert "One weighted destination" in explained
    assert re.search(r"targetPort\s+<string>", await kubectl("explain", "service.spec.ports"))


async def test_api_resources(kubectl: Kubectl) -> None:
    rows = table(await kubectl("api-resources", "--api-group", "networking.istio.io"))
    assert ["virtualservices", "vs", "networking.istio.io/v1alpha3", "true", "VirtualService"] in rows
    assert await kubectl("api-resources", fails=False), "no API of Galley looks like an outage"


async def test_create_replace_and_delete(kubectl: Kubectl, mesh: str, tmp_path: Path) -> None:
    file = tmp_path / "ratings.yaml"
    file.write_text(textwrap.dedent(MESH.split("---\n")[3]).replace("name: reviews, namespace", "name: ratings, namespace"))
    assert await kubectl("create", "-f", str(file)) == "destinationrule.networking.istio.io/ratings created\n"
    assert "DestinationRule shop/ratings exists already" in await kubectl("create", "-f", str(file), fails=True)
    assert await kubectl("replace", "-f", str(file)) == "destinationrule.networking.istio.io/ratings replaced\n"
    assert "deleted" in await kubectl("delete", "-f", str(file))
    assert "deleted" in await kubectl("delete", "dr", "reviews", "-n", "shop"), "kubectl waits until it is gone"
    assert await kubectl("get", "dr", "-n", "shop", "-o", "name") == ""


async def test_create_from_flags(kubectl: Kubectl) -> None:
    """Newer kubectls send these two in Kubernetes' protobuf form."""
    assert await kubectl("create", "namespace", "made") == "namespace/made created\n"
    assert await kubectl("create", "service", "clusterip", "web", "--tcp=80:8080", "-n", "made") == "service/web created\n"
    assert await kubectl("get", "svc", "web", "-n", "made", "-o", "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort}") == "80 8080"
    assert "Type: " in await kubectl("describe", "svc", "web", "-n", "made")
    await kubectl("delete", "svc/web", "-n", "made")
    await kubectl("delete", "namespace", "made")


async def test_get_watches(kubectl: Kubectl, mesh: str) -> None:
    async with kubectl.watching("get", "dr", "-n", "shop", "-w") as lines:

        async def line() -> list[str]:
            return re.split(r" {2,}", (await asyncio.wait_for(lines.readline(), 15)).decode().rstrip())

        assert await line() == ["NAME", "HOST", "AGE"]
        assert (await line())[:2] == ["reviews", "reviews"]
        await kubectl("patch", "dr", "reviews", "-n", "shop", "--type=merge", "-p", '{"spec":{"host":"reviews.shop"}}')
        assert (await line())[:2] == ["reviews", "reviews.shop"]


async def test_a_stranger_is_turned_away(kubectl: Kubectl, control: Control, tmp_path: Path) -> None:
    text = control.kubeconfig.read_text()
    token = re.search(r"token: (\S+)", text)
    assert token is not None
    forged = tmp_path / "kubeconfig"
    forged.write_text(text.replace(token[1], token[1][:-8] + "AAAAAAAA"))
    stranger = Kubectl(kubectl.binary, tmp_path, forged)
    assert (
        "must be logged in" in (said := await stranger("get", "vs", fails=True)) or "Unauthorized" in said or "provide credentials" in said
    )
