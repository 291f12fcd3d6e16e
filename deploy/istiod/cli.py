# SPDX-License-Identifier: Apache-2.0
"""`istiod serve | config check | version`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.lifecycle.command import part_command
from common.lifecycle.settings import PartSettings
from deploy.istiod.settings import IstiodSettings

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: PartSettings) -> Sequence[Component]:
    from deploy.istiod.app import build

    return build(settings)


main = part_command("istiod", IstiodSettings, _build, about="Pilot, Mixer, Citadel and Galley in one process.")

if __name__ == "__main__":
    main()
