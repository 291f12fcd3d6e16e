# SPDX-License-Identifier: Apache-2.0
"""What istiod is made of: the builds of the four parts, with MCP inside the process.

Each part joins at Citadel for itself, over the same loopback wire as if it were alone, so that every listener keeps its own part's identity.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import citadel.app
import galley.app
import pilot.app
from citadel.settings import CitadelSettings
from common.lifecycle import Component, Life
from common.lifecycle.settings import PartSettings
from deploy.istiod.settings import is_without, settings_of
from galley.settings import GalleySettings
from pilot.settings import PilotSettings


def build(settings: PartSettings) -> Sequence[Component]:
    """Citadel, Galley, Mixer, Pilot, each starting when the ones that it needs are ready."""
    citadel_part = Step(citadel.app.build(settings_of("citadel", CitadelSettings, settings)))
    galley_component = galley.app.build(settings_of("galley", GalleySettings, settings))
    galley_part = Step(galley_component, after=citadel_part)
    pilot_settings = settings_of("pilot", PilotSettings, settings)
    pilot_part = Step(pilot.app.build(pilot_settings, config_source=galley_component.config_source), after=galley_part)
    steps = [citadel_part, galley_part, pilot_part]
    if not is_without(settings, "mixer"):
        import mixer.app  # not before: a process without Mixer need not hold its adapters
        from mixer.settings import MixerSettings

        mixer_settings = settings_of("mixer", MixerSettings, settings)
        steps.insert(2, Step(mixer.app.build(mixer_settings, config_source=galley_component.another_config_source()), after=galley_part))
    _show_keys(settings.state_dir)
    return steps


class Step:
    """A component that starts only when another has been ready once. A later fault of that other does not stop it."""

    def __init__(self, component: Component, *, after: Step | None = None) -> None:
        self._component = component
        self._after = after
        self._up = asyncio.Event()

    @property
    def name(self) -> str:
        return self._component.name

    async def run(self, life: Life) -> None:
        if self._after is not None and not await self._wait(self._after, life):
            return
        watching = asyncio.create_task(self._watch(life), name=f"{self.name} is up")
        try:
            await self._component.run(life)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self, life: Life) -> None:
        await life.until_ready()
        self._up.set()

    async def _wait(self, other: Step, life: Life) -> bool:
        """False when asked to stop meanwhile."""
        life.not_ready(f"waiting for {other.name}")
        up = asyncio.create_task(other._up.wait())
        stop = asyncio.create_task(life.stopping.wait())
        try:
            await asyncio.wait([up, stop], return_when=asyncio.FIRST_COMPLETED)
            return up.done()
        finally:
            up.cancel()
            stop.cancel()


def _show_keys(state_dir: Path) -> None:
    """ControlZ looks for the keys of API tokens in the process's state directory; Citadel writes them in its own."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (state_dir / "jwks.json").symlink_to(Path("citadel") / "jwks.json")
