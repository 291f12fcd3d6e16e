# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from common.lifecycle.host import StartError
from common.lifecycle.settings import PartSettings, load
from deploy.istiod.settings import PARTS, IstiodSettings, is_without, settings_of
from galley.settings import GalleySettings
from pilot.settings import PilotSettings


def test_every_setting_of_every_part_can_be_said() -> None:
    for part, kind in PARTS.items():
        own = set(kind.model_fields) - set(PartSettings.model_fields)
        assert own
        for name in own:
            assert IstiodSettings.model_fields[f"{part}_{name}"].description == kind.model_fields[name].description


@pytest.mark.parametrize("part", PARTS)
def test_unsaid_settings_are_those_of_the_part_alone(part: str) -> None:
    alone = PARTS[part]()
    merged = settings_of(part, PARTS[part], IstiodSettings())
    expected_to_differ = {"state_dir", "join_file", "galley_address", "galley_status_address"}
    for name in PARTS[part].model_fields:
        if name not in expected_to_differ:
            assert getattr(merged, name) == getattr(alone, name), name


def test_each_part_keeps_its_own_state_and_joins_by_its_own_token() -> None:
    pilot = settings_of("pilot", PilotSettings, IstiodSettings(state_dir=Path("/state")))
    assert pilot.state_dir == Path("/state/pilot")
    assert pilot.join_file == Path("/state/citadel/join/pilot.json")


def test_parts_find_each_other_wherever_they_listen() -> None:
    said = IstiodSettings(citadel_csr_address="0.0.0.0:1", galley_registration_address="10.0.0.1:2")  # type: ignore[call-arg]
    pilot = settings_of("pilot", PilotSettings, said)
    assert pilot.citadel_address == "127.0.0.1:1"
    assert pilot.galley_status_address == "10.0.0.1:2"


def test_a_parts_own_checks_apply() -> None:
    with pytest.raises(StartError, match=r"citadel_workload_cert_ttl: .*a certificate lasts"):
        settings_of("citadel", PARTS["citadel"], IstiodSettings(citadel_workload_cert_ttl="1000h0m0s" * 9))  # type: ignore[call-arg]


def test_only_mixer_can_be_left_out() -> None:
    assert is_without(load(IstiodSettings, prefix="ISTIOD_", flags={"without": ("mixer",)}, config=None).settings, "mixer")
    with pytest.raises(StartError, match="only mixer can be left out, not pilot"):
        load(IstiodSettings, prefix="ISTIOD_", flags={"without": ("pilot",)}, config=None)


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(StartError, match="galley_rest_adress"):
        load(IstiodSettings, prefix="ISTIOD_", flags={"galley_rest_adress": "x"}, config=None)


def test_environment_reaches_the_part() -> None:
    settings = load(IstiodSettings, prefix="ISTIOD_", flags={}, config=None, environment={"ISTIOD_GALLEY_LENIENT": "true"}).settings
    assert settings_of("galley", GalleySettings, settings).lenient
