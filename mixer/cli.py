# SPDX-License-Identifier: Apache-2.0
"""`mixer serve | config check | version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lifecycle.command import part_command
from mixer.settings import MixerSettings

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: MixerSettings) -> Component:
    from mixer.app import build

    return build(settings)


main = part_command("mixer", MixerSettings, _build, about="Policy and telemetry: attributes become decisions and metrics.")

if __name__ == "__main__":
    main()
