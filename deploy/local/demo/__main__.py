# SPDX-License-Identifier: Apache-2.0
"""`fourmast demo` (which becomes this process): start the mesh, run the rows, print expected against observed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from deploy.local.demo import mixing, security, traffic
from deploy.local.demo.report import Progress, table
from deploy.local.demo.row import Observation, Result, Row
from deploy.local.demo.world import World
from deploy.local.mesh import LocalMesh, MeshRunning, StartFailed
from deploy.local.mesh_file import load

ROWS: tuple[Row, ...] = (
    traffic.ROWS[0],
    *security.ROWS[:2],
    *traffic.ROWS[1:],
    security.ROWS[2],
    *mixing.ROWS,
)
EXIT_STOPPED = 130  # by a signal, as shells have it
LONGEST = 60.0  # seconds for one row, after which it counts as false


async def run_row(world: World, row: Row) -> Result:
    """Bring the row's configuration into force (without its cause when sabotaged) and look."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(LONGEST):
            await world.configure(row.config, without=row.cause if world.sabotaged else ())
            seen = await row.observe(world)
    except TimeoutError:
        seen = Observation(False, f"nothing to be seen within {LONGEST:.0f} s")
    except Exception as error:
        seen = Observation(False, f"{type(error).__name__}: {error}")
    return Result(row.name, row.title, row.expected, seen.text, seen.ok, round(time.monotonic() - began, 1))


async def demo(options: argparse.Namespace) -> int:
    chosen = [row for row in ROWS if not options.row or row.name in options.row]
    progress = Progress(enabled=options.output == "table")
    results: list[Result] = []
    began = time.monotonic()
    stays = not options.once and sys.stdout.isatty()
    with contextlib.ExitStack() as files:
        mesh_path = files.enter_context(resources.as_file(resources.files("deploy.samples").joinpath("demo/mesh.yaml")))
        state = Path(files.enter_context(tempfile.TemporaryDirectory(prefix="fourmast-demo-")))
        async with LocalMesh(
            load(mesh_path), mode=options.mode, control_plane=options.control_plane, state_dir=state, progress=progress.say
        ) as mesh:
            world = World(mesh, sabotaged=options.sabotage)
            progress.say("applying the base configuration")
            await world.configure(())
            started = time.monotonic() - began
            progress.note(f"{mesh.describe()}; up after {started:.0f} s")
            for number, row in enumerate(chosen, 1):
                progress.say(f"row {number} of {len(chosen)}: {row.title}")
                results.append(await run_row(world, row))
                progress.result(results[-1])
            progress.end()
            print(
                json.dumps([r._asdict() for r in results], indent=1)
                if options.output == "json"
                else table(results, options.control_plane, mesh.mode)
            )
            print(
                f"{sum(r.ok for r in results)} of {len(results)} rows held; set-up {started:.0f} s, rows {time.monotonic() - began - started:.0f} s",
                file=sys.stderr,
            )
            if stays:
                print(
                    f"\nThe mesh stays up. Bookinfo: {mesh.gateway_url}/productpage\n  export FOURMAST_KUBECONFIG={mesh.kubeconfig}\nCtrl-C ends it."
                )
                await _until_stopped()
    if stays:
        progress.end()
        print("stopped; nothing is left running", file=sys.stderr)
    held = all(result.ok for result in results)
    if options.sabotage:
        return 1 if any(result.ok for result in results) else 0
    return 0 if held else 1


async def _until_stopped() -> None:
    """Ctrl-C is how a mesh that stays up is meant to end: no failure, so the rows alone decide about the exit code."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if task := asyncio.current_task():
            task.uncancel()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fourmast demo", description="A whole mesh on this machine: expected against observed.")
    parser.add_argument("--control-plane", choices=("split", "istiod"), default="split", help="four processes or one")
    parser.add_argument("--mode", choices=("auto", "netns", "none"), default="auto", help="how traffic is intercepted")
    parser.add_argument("--once", action="store_true", help="stop at the end instead of staying up, as without a terminal")
    parser.add_argument("--row", action="append", help=f"only this row (repeatable): {', '.join(row.name for row in ROWS)}")
    parser.add_argument("--sabotage", action="store_true", help="leave out each row's cause; exit 0 only if every row is false")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args(arguments)
    unknown = set(options.row or ()) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in ROWS)}")

    async def run() -> int:
        task = asyncio.create_task(demo(options))
        stopping = False

        def stop() -> None:
            nonlocal stopping
            if not stopping:  # a second Ctrl-C shall not disturb the taking down, which is bounded
                stopping = True
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by `fourmast demo` until here
        try:
            return await task
        except asyncio.CancelledError:
            print("\nstopped; nothing is left running", file=sys.stderr)
            return EXIT_STOPPED
        except (MeshRunning, StartFailed, OSError) as error:
            print(f"\nfourmast demo: {error}", file=sys.stderr)
            return 1

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
