# SPDX-License-Identifier: Apache-2.0
"""`pilot serve | config check | version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lifecycle.command import part_command
from pilot.settings import PilotSettings

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: PilotSettings) -> Component:
    from pilot.app import build

    return build(settings)


main = part_command("pilot", PilotSettings, _build, about="Discovery: configuration and endpoints become Envoy's xDS.")
