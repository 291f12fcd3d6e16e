# SPDX-License-Identifier: Apache-2.0
"""The component that every process runs first: monitoring (open) and ControlZ (with an API token), and `addresses.json`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping

from common.lifecycle.component import Life
from common.lifecycle.http import address_of, bind, serve_http
from common.lifecycle.settings import Effective


class Introspection:
    """Serves what the process says about itself. It starts before the parts, so that /ready can say what is still missing."""

    name = "introspection"

    def __init__(self, process: str, effective: Effective, lives: Mapping[str, Life]) -> None:
        self._process, self._effective, self._lives = process, effective, lives

    async def run(self, life: Life) -> None:
        settings = self._effective.settings
        async with contextlib.AsyncExitStack() as stack:
            # Imported when wanted: ten sidecars on a machine need neither, and FastAPI is a third of their memory.
            if settings.monitoring_address:
                from common.controlz.monitoring import monitoring_app

                sock = bind(settings.monitoring_address)
                life.listening("monitoring", address_of(sock))
                await stack.enter_async_context(serve_http(monitoring_app(self._lives), sock))
            if settings.ctrlz_address:
                from common.controlz.pages import controlz_app

                sock = bind(settings.ctrlz_address)
                life.listening("ctrlz", address_of(sock))
                app = controlz_app(self._process, self._effective, self._lives, jwks_file=settings.state_dir / "jwks.json")
                await stack.enter_async_context(serve_http(app, sock))
            life.ready()
            writer = asyncio.create_task(self._keep_addresses({self.name: life, **self._lives}))
            await life.stopping.wait()
            writer.cancel()

    async def _keep_addresses(self, lives: Mapping[str, Life]) -> None:
        """Write what is bound, whenever it changes: launchers and tests read it when ports were left to the system.

        Not before a part listens: a second process on the same state directory, which ends with a StartError, must not replace the
        running one's file.
        """
        path = self._effective.settings.state_dir / "addresses.json"
        written = ""
        while True:
            text = json.dumps({name: life.addresses for name, life in lives.items()}, indent=1, sort_keys=True)
            if text != written and any(life.addresses for name, life in lives.items() if name != self.name):
                temporary = path.with_suffix(".new")
                temporary.write_text(text)
                os.replace(temporary, path)
                written = text
            waits = [asyncio.create_task(life.until_changed()) for life in lives.values()]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
