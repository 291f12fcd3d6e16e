# SPDX-License-Identifier: Apache-2.0
"""Flags before environment before file before default, each with its origin; secrets never shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from common.lifecycle.host import StartError
from common.lifecycle.settings import PartSettings, load


class Settings(PartSettings):
    greeting: str = "hello"
    password: SecretStr = SecretStr("")
    parts: tuple[str, ...] = ()
    number: int = 3


def effective(tmp_path: Path, flags: dict[str, object], environment: dict[str, str], file: str = ""):  # type: ignore[no-untyped-def]
    config = tmp_path / "settings.yaml"
    config.write_text(file)
    return load(Settings, prefix="T_", flags=flags, config=config, environment=environment)


def test_precedence_and_origins(tmp_path: Path) -> None:
    file = "greeting: file\nnumber: 4\nparts: [x]\n"
    found = effective(tmp_path, {"greeting": "flag", "number": None}, {"T_GREETING": "env", "T_NUMBER": "5"}, file)
    assert (found.settings.greeting, found.settings.number, found.settings.parts) == ("flag", 5, ("x",))
    assert found.origins["greeting"] == "flag --greeting"
    assert found.origins["number"] == "environment T_NUMBER"
    assert found.origins["parts"].startswith("file ")
    assert found.origins["trust_domain"] == "default"


def test_lists_in_the_environment_are_split_at_commas(tmp_path: Path) -> None:
    assert effective(tmp_path, {}, {"T_PARTS": "a,b"}).settings.parts == ("a", "b")


def test_secrets_are_masked(tmp_path: Path) -> None:
    lines = effective(tmp_path, {"password": "hunter2"}, {}).lines()
    assert not any("hunter2" in line for line in lines)
    assert any(line.startswith("password = ****") for line in lines)


def test_every_bad_setting_is_named_with_its_origin(tmp_path: Path) -> None:
    with pytest.raises(StartError) as caught:
        effective(tmp_path, {}, {"T_NUMBER": "many"}, "gretting: x\n")
    message = str(caught.value)
    assert "number" in message
    assert "environment T_NUMBER" in message
    assert "gretting" in message
    assert "settings.yaml" in message
