# SPDX-License-Identifier: Apache-2.0
"""Lines, levels, and where files may not go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.expression.values import Duration, Timestamp
from mixer.adapters.contract import Batch
from mixer.adapters.rotation import RotatingFile
from mixer.errors import HandlerError
from tests.unit.mixer.adapters.building import build, shape
from tests.unit.mixer.resources import environment

LOG = shape(
    "logentry",
    {
        "severity": '"Info"',
        "timestamp": "request.time",
        "variables": {"latency": "response.duration", "code": "response.code", "from": "source.ip"},
    },
    "accesslog.instance.ns",
)
METRIC = shape("metric", {"value": "1", "dimensions": {"app": 'source.labels["app"] | "?"'}}, "count.instance.ns")
ROW = ((200, bytes([10, 0, 0, 1]), Duration(5_000_000)), Timestamp(1_420_211_075 * 10**9), "Info", "", ())


async def written(tmp_path: Path, params: dict[str, Any], *batches: Batch) -> list[str]:
    path = tmp_path / "log"
    handler = build("stdio", {"logStream": "FILE", "outputPath": str(path), **params}, within=environment(output_directories=(tmp_path,)))
    await handler.report(batches)
    await handler.close()
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_text().splitlines()


async def test_a_log_entry_is_one_json_line_with_sorted_variables(tmp_path: Path) -> None:
    (line,) = await written(tmp_path, {}, Batch(LOG, [ROW]))
    assert line == (
        '{"level":"info","time":"2015-01-02T15:04:35Z","instance":"accesslog.instance.ns","code":200,"from":"10.0.0.1","latency":"5ms"}'
    )


async def test_a_metric_is_a_line_with_value_and_dimensions(tmp_path: Path) -> None:
    (line,) = await written(tmp_path, {"metric_level": "WARNING"}, Batch(METRIC, [(1, ("a",), "", ())]))
    expected = {"level": "warning", "time": "2017-07-14T02:40:00Z", "instance": "count.instance.ns", "value": 1, "app": "a"}
    assert json.loads(line) == expected


async def test_severities_choose_levels_and_low_levels_are_dropped(tmp_path: Path) -> None:
    rows = [(*ROW[:2], severity, "", ()) for severity in ("Info", "Bad", "unknown")]
    params = {"severity_levels": {"Bad": "ERROR"}, "output_level": "WARNING"}
    lines = await written(tmp_path, params, Batch(LOG, rows))
    assert [json.loads(line)["level"] for line in lines] == ["error"]


async def test_text_lines(tmp_path: Path) -> None:
    (line,) = await written(tmp_path, {"outputAsJson": False}, Batch(METRIC, [(1, ("a\nb",), "", ())]))
    assert line == '2017-07-14T02:40:00Z\tinfo\tcount.instance.ns\t{"value": 1, "app": "a\\nb"}'


async def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    handler = build("stdio", {})
    await handler.report([Batch(METRIC, [(1, ("a",), "", ())])])
    assert json.loads(capfdbinary.readouterr().out)["app"] == "a"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"logStream": "FILE"}, "params.outputPath"),
        ({"logStream": "FILE", "outputPath": "/etc/passwd"}, "params.outputPath"),
        ({"logStream": "FILE", "outputPath": "{allowed}/../escaped"}, "params.outputPath"),
        ({"logStream": "FILE", "outputPath": "{allowed}/link/file"}, "params.outputPath"),
        ({"logStream": "FILE", "outputPath": "{allowed}/missing/file"}, "params.outputPath"),
        ({"logStream": "FILE", "outputPath": "{allowed}/direct"}, "params.outputPath"),
        ({"logStream": "STDOUT", "outputPath": "{allowed}/file"}, "params.outputPath"),
        ({"logStream": "ROTATED_FILE", "outputPath": "{allowed}/f", "maxRotatedFiles": -1}, "params.maxRotatedFiles"),
    ],
)
def test_files_only_where_allowed(tmp_path: Path, params: dict[str, Any], field: str) -> None:
    allowed, elsewhere = tmp_path / "allowed", tmp_path / "elsewhere"
    allowed.mkdir()
    elsewhere.mkdir()
    (allowed / "link").symlink_to(elsewhere)
    (allowed / "direct").symlink_to(elsewhere / "target")
    given = {key: value.format(allowed=allowed) if isinstance(value, str) else value for key, value in params.items()}
    with pytest.raises(HandlerError) as caught:
        build("stdio", given, within=environment(output_directories=(allowed,)))
    assert caught.value.field == field
    assert list(elsewhere.iterdir()) == []


def test_rotation_by_size_and_age_keeps_whole_lines_and_some_files(tmp_path: Path) -> None:
    now = [1_500_000_000.0]
    file = RotatingFile(tmp_path / "a.log", max_bytes=10, max_age=100, max_files=2, wall=lambda: now[0])
    for line in (b"12345678\n", b"abcdefgh\n", b"ABCDEFGH\n", b"last\n"):
        now[0] += 1
        file.write(line)
    now[0] += 200
    file.write(b"old?\n")
    file.close()
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found.pop("a.log") == b"old?\n"
    assert sorted(found.values()) == [b"ABCDEFGH\n", b"last\n"]
