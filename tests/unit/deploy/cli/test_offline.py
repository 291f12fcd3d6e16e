# SPDX-License-Identifier: Apache-2.0
"""validate, analyze, expr and version: no mesh needed. Their JSON is a contract for scripts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

GOOD = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec:\n  ports: [{name: http, port: 9080}]\n"
BROKEN = """\
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match:
    - uri: {prefx: /a}
    route:
    - destination: {host: raings}
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / f"f{len(list(tmp_path.iterdir()))}.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_validate_says_place_sentence_and_line(fourmast_run: Run, file: Callable[[str], str]) -> None:
    name = file(GOOD + "---\n" + BROKEN)
    ran = fourmast_run("validate", "-f", name)
    assert (ran.code, ran.out) == (65, "")
    assert ran.err.splitlines() == [
        f"{name}:14:13: VirtualService default/reviews",
        "    spec.http[0].match[0].uri.prefx: unknown field 'prefx'; did you mean 'prefix'?",
        "   14 |     - uri: {prefx: /a}",
        "      |             ^",
        "✘ 1 problem in 1 of 2 resources",
    ]


def test_validate_json_is_the_contract(fourmast_run: Run, file: Callable[[str], str]) -> None:
    ran = fourmast_run("validate", "-f", file(GOOD + "---\n" + BROKEN), "-o", "json")
    assert ran.code == 65
    message = "unknown field 'prefx'; did you mean 'prefix'?"
    assert json.loads(ran.out) == [
        {"resource": "Service default/reviews", "valid": True, "errors": []},
        {
            "resource": "VirtualService default/reviews",
            "valid": False,
            "errors": [{"path": "spec.http[0].match[0].uri.prefx", "line": 14, "message": message}],
        },
    ]


def test_validate_is_content_with_good_files_and_directories(fourmast_run: Run, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yml").write_text(GOOD)
    (tmp_path / "b.json").write_text('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}')
    (tmp_path / "notes.txt").write_text("not YAML: [")
    ran = fourmast_run("validate", "-f", str(tmp_path))
    assert (ran.code, ran.out, ran.err) == (0, "✔ 2 resources valid\n", "")


def test_validate_reads_standard_input_and_is_lenient_when_asked(fourmast_run: Run) -> None:
    assert fourmast_run("validate", "-f", "-", stdin=BROKEN).code == 65
    assert fourmast_run("validate", "-f", "-", "--lenient", stdin=BROKEN).code == 0


def test_a_file_that_is_not_there_is_named(fourmast_run: Run) -> None:
    ran = fourmast_run("validate", "-f", "/no/such.yaml")
    assert (ran.code, ran.err) == (1, "fourmast: cannot read /no/such.yaml: No such file or directory\n")


def test_analyze_json_is_the_contract(fourmast_run: Run, file: Callable[[str], str]) -> None:
    name = file(GOOD + "---\n" + BROKEN.replace("prefx", "prefix"))
    ran = fourmast_run("analyze", "-f", name, "-o", "json")
    assert ran.code == 79
    (finding,) = json.loads(ran.out)
    assert {key: finding[key] for key in ("code", "level", "resource", "message")} == {
        "code": "IST0101",
        "level": "Error",
        "resource": "VirtualService default/reviews",
        "message": 'Referenced host not found: "raings"',
    }
    assert (finding["path"], finding["file"], finding["line"]) == ("spec.http[0].route[0].destination.host", name, 16)


def test_analyze_reads_as_in_istio(fourmast_run: Run, file: Callable[[str], str]) -> None:
    name = file(BROKEN.replace("prefx", "prefix"))
    ran = fourmast_run("analyze", name)
    assert ran.out == f'Error [IST0101] (VirtualService default/reviews {name}:10) Referenced host not found: "raings"\n'
    assert fourmast_run("analyze", file(GOOD)).out == "✔ No validation issues found.\n"


def test_analyze_thresholds(fourmast_run: Run, file: Callable[[str], str]) -> None:
    info = file(GOOD.replace("name: http", "name: web"))
    assert fourmast_run("analyze", info).code == 0
    assert fourmast_run("analyze", info, "--failure-threshold", "info").code == 79
    hidden = fourmast_run("analyze", info, "--output-threshold", "Warning", "--failure-threshold", "info")
    assert ("IST0118" in hidden.out, hidden.code) == (False, 79), "what is not shown still fails"


@pytest.mark.parametrize("wish", ["IST0118=Service default/*", "IST0118=Service reviews.default", "*=Service *", "IST01*=*"])
def test_analyze_leaves_out_what_is_suppressed(fourmast_run: Run, file: Callable[[str], str], wish: str) -> None:
    info = file(GOOD.replace("name: http", "name: web"))
    ran = fourmast_run("analyze", info, "--failure-threshold", "Info", "-S", wish)
    assert (ran.code, ran.out) == (0, "✔ No validation issues found.\n")
    assert fourmast_run("analyze", info, "--failure-threshold", "Info", "-S", "IST0101=*", "-S", "IST0118=Service other/*").code == 79
    assert fourmast_run("analyze", info, "-S", "IST0118").code == 2


def test_a_resource_may_ask_not_to_be_told(fourmast_run: Run, file: Callable[[str], str]) -> None:
    told = GOOD.replace("name: http", "name: web")
    quiet = told.replace("metadata: {name: reviews", 'metadata: {annotations: {galley.istio.io/analyze-suppress: "IST0118"}, name: reviews')
    assert quiet != told
    assert "IST0118" in fourmast_run("analyze", file(told)).out
    assert fourmast_run("analyze", file(quiet)).out == "✔ No validation issues found.\n"


def test_the_same_resource_twice_is_told_where_it_stands(fourmast_run: Run, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(GOOD)
    ran = fourmast_run("analyze", "-f", str(tmp_path))
    assert ran.code == 79
    assert ran.out.startswith(f"Error [IST0106] (Service default/reviews {tmp_path}/b.yaml:")
    assert ran.out.endswith(f"is defined twice; first in {tmp_path}/a.yaml:1\n")


def test_analyze_lists_what_it_can_find(fourmast_run: Run) -> None:
    listed = fourmast_run("analyze", "-L").out
    assert "IST0101   ReferencedResourceNotFound " in listed


def test_analyze_does_not_pass_over_what_is_broken(fourmast_run: Run, file: Callable[[str], str]) -> None:
    ran = fourmast_run("analyze", "-f", file(BROKEN), "-o", "json")
    assert ran.code == 79
    assert [(finding["code"], "prefx" in finding["message"]) for finding in json.loads(ran.out)] == [("IST0106", True)]


BAG = json.dumps(
    {
        "source.labels": {"app": "reviews"},
        "request.size": 200,
        "response.duration": "1.5s",
        "source.ip": "10.0.0.1",
        "my.own": {"type": "DOUBLE", "value": 2},
    }
)


@pytest.mark.parametrize(
    ("expression", "type_", "value", "referenced"),
    [
        ('source.labels["app"] == "reviews"', "BOOL", True, ["source.labels[app]"]),
        ("request.size + 1", "INT64", 201, ["request.size"]),
        ("response.duration", "DURATION", "1.5s", ["response.duration"]),
        ("source.ip", "IP_ADDRESS", "10.0.0.1", ["source.ip"]),
        ('source.user | "nobody"', "STRING", "nobody", ["source.user"]),
        ("source.labels", "STRING_MAP", {"app": "reviews"}, []),
        ("my.own", "DOUBLE", 2.0, ["my.own"]),
    ],
)
def test_expr_json_is_the_contract(
    fourmast_run: Run, file: Callable[[str], str], expression: str, type_: str, value: Any, referenced: list[str]
) -> None:
    ran = fourmast_run("expr", expression, "--attributes", file(BAG), "-o", "json")
    assert (ran.code, json.loads(ran.out)) == (0, {"type": type_, "value": value, "referenced": referenced})


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("request.size +", "parse"),
        ("no.such == 1", "check"),
        ('request.size == "a"', "check"),
        ("source.user", "eval"),
        ("destination.port", "eval"),
    ],
)
def test_expr_errors_have_a_kind(fourmast_run: Run, file: Callable[[str], str], expression: str, kind: str) -> None:
    ran = fourmast_run("expr", expression, "--attributes", file('{"destination.port": "not a number"}'), "-o", "json")
    assert (ran.code, json.loads(ran.out)["error"]["kind"]) == (65, kind)


def test_expr_takes_a_vocabulary_instead_of_the_standard_one(fourmast_run: Run, file: Callable[[str], str]) -> None:
    manifest = file('{"a.b": "INT64"}')
    ran = fourmast_run("expr", "a.b + 2", "--manifest", manifest, "--attributes", file('{"a.b": 3}'), "-o", "json")
    assert json.loads(ran.out)["value"] == 5
    assert fourmast_run("expr", "source.ip", "--manifest", manifest).code == 65
    assert "unknown value type" in fourmast_run("expr", "a", "--manifest", file('{"a": "NUMBER"}')).err


def test_expr_batch_answers_each_line(fourmast_run: Run) -> None:
    lines = [{"expr": "a + 1", "attributes": {"a": 1}, "manifest": {"a": "INT64"}}, {"expr": "("}, {"no": 1}, 5]
    ran = fourmast_run("expr", "--batch", stdin="\n".join(map(json.dumps, lines)))
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert answers[0] == {"type": "INT64", "value": 2, "referenced": ["a"]}
    assert [answer["error"]["kind"] for answer in answers[1:]] == ["parse", "parse", "parse"]


def test_expr_for_people(fourmast_run: Run, file: Callable[[str], str]) -> None:
    ran = fourmast_run("expr", 'source.labels["app"]', "--attributes", file(BAG))
    assert ran.out == '"reviews"    STRING\nreferenced: source.labels[app]\n'
    assert fourmast_run("expr", "nope").err == "check error: unknown attribute nope at character 1\n"
    assert fourmast_run("expr").code == 2


def test_help_lists_every_command_and_a_misspelt_one_is_recognised(fourmast_run: Run) -> None:
    from deploy.cli.main import SECTIONS

    shown = fourmast_run("--help").out
    assert all(name in shown for commands in SECTIONS.values() for name in commands)
    assert "Did you mean 'validate'?" in fourmast_run("validat").err


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "apply",
        "get",
        "describe",
        "diff",
        "wait",
        "delete",
        "validate",
        "analyze",
        "expr",
        "proxy-status",
        "proxy-config",
        "ca",
        "version",
    ],
)
def test_every_command_can_be_imported_and_explains_itself(fourmast_run: Run, command: str) -> None:
    ran = fourmast_run(command, "--help")
    assert ran.code == 0
    assert "Usage:" in ran.out


def test_without_a_mesh_the_way_to_one_is_shown(fourmast_run: Run) -> None:
    assert fourmast_run("get", "vs").err.startswith("fourmast: no mesh found")
    assert fourmast_run("get", "virtualservis").err == "fourmast: unknown kind 'virtualservis'; did you mean 'virtualservices'?\n"


def test_version_may_be_asked_as_an_option(fourmast_run: Run) -> None:
    assert fourmast_run("--version").out == fourmast_run("version").out


def test_version_imports_nothing_heavy() -> None:
    heavy = ("httpx", "msgspec", "yaml", "jsonschema", "galley")
    code = f"import sys, deploy.cli.main, deploy.cli.version; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "deploy.cli.main", "version"], check=True, capture_output=True)
    assert time.monotonic() - started < 2  # 0.1 s on an idle machine
