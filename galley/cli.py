# SPDX-License-Identifier: Apache-2.0
"""`galley serve | config check | version`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.lifecycle.command import part_command
from galley.settings import GalleySettings

if TYPE_CHECKING:
    from common.lifecycle import Component


def _build(settings: GalleySettings) -> Component:
    from galley.app import build

    return build(settings)


main = part_command("galley", GalleySettings, _build, about="The mesh's configuration: accepted, validated, stored, distributed.")

if __name__ == "__main__":
    main()
