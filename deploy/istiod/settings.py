# SPDX-License-Identifier: Apache-2.0
"""istiod's settings: what a process needs once, and every part's own settings under the part's name.

`galley serve --rest-address X` is `istiod serve --galley-rest-address X`. Each part keeps its state in a folder of its name below the state
directory, exactly as four processes do that are told `--state-dir S/citadel`, `S/galley` and so on: so both can take turns on one state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeVar

import pydantic
from pydantic import Field

from citadel.settings import CitadelSettings
from common.lifecycle.host import StartError
from common.lifecycle.settings import PartSettings
from galley.settings import GalleySettings
from mixer.settings import MixerSettings
from pilot.settings import PilotSettings

P = TypeVar("P", bound=PartSettings)

PARTS: Final[dict[str, type[PartSettings]]] = {
    "citadel": CitadelSettings,
    "galley": GalleySettings,
    "mixer": MixerSettings,
    "pilot": PilotSettings,
}


class _Process(PartSettings):
    """What istiod has that no part has."""

    without: tuple[str, ...] = Field((), description="parts that run elsewhere and are served from here: mixer")

    @pydantic.field_validator("without")
    @classmethod
    def _can_be_left_out(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(value) - {"mixer"}):
            raise ValueError(f"only mixer can be left out, not {', '.join(unknown)}")
        return value


def _own_fields(part: str, settings: type[PartSettings]) -> dict[str, Any]:
    """A part's settings that are not every part's, under their istiod names."""
    fields = settings.model_fields.items()
    return {f"{part}_{name}": (field.annotation, field) for name, field in fields if name not in PartSettings.model_fields}


IstiodSettings: type[PartSettings] = pydantic.create_model(
    "IstiodSettings",
    __base__=_Process,
    __doc__="Settings of `istiod serve`.",
    **{name: field for part, settings in PARTS.items() for name, field in _own_fields(part, settings).items()},
)


def settings_of(part: str, kind: type[P], istiod: PartSettings) -> P:
    """One part's settings out of istiod's. Raises StartError when the part itself refuses them (its own validators run again)."""
    values: dict[str, Any] = {name: getattr(istiod, name) for name in PartSettings.model_fields}
    values |= {name: _value(istiod, f"{part}_{name}") for name in kind.model_fields if name not in PartSettings.model_fields}
    values["state_dir"] = istiod.state_dir / part
    values |= _neighbours(part, kind, istiod)
    try:
        return kind(**values)
    except pydantic.ValidationError as error:
        problems = [f"{part}_{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        raise StartError("settings are not usable:\n  " + "\n  ".join(problems)) from error


def is_without(istiod: PartSettings, part: str) -> bool:
    return part in _value(istiod, "without")


def _neighbours(part: str, kind: type[PartSettings], istiod: PartSettings) -> dict[str, Any]:
    """Where a part finds the others: in this process, so nobody has to say it."""
    found: dict[str, Any] = {}
    if part != "citadel":
        found["join_file"] = Path(istiod.state_dir) / "citadel" / "join" / f"{part}.json"
        found["citadel_address"] = _dialled(_value(istiod, "citadel_csr_address"))
        found["citadel_renewal_address"] = _dialled(_value(istiod, "citadel_renewal_address"))
    if "galley_status_address" in kind.model_fields:
        found["galley_status_address"] = _dialled(_value(istiod, "galley_registration_address"))
    if "galley_address" in kind.model_fields:
        found["galley_address"] = _dialled(_value(istiod, "galley_mcp_address"))
    return found


def _value(istiod: PartSettings, name: str) -> Any:
    return getattr(istiod, name)


def _dialled(address: str) -> str:
    """The address by which to reach a listener of this machine."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0") else address
