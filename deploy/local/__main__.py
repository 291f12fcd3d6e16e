# SPDX-License-Identifier: Apache-2.0
"""What `fourmast up` and `fourmast down` become. A mesh runs in the foreground and ends on Ctrl-C, SIGTERM or `fourmast down`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.local import lock
from deploy.local.configuration import ConfigurationRefused
from deploy.local.mesh import LocalMesh, MeshRunning, StartFailed
from deploy.local.mesh_file import MeshFileError

EXIT_CONFIGURATION, EXIT_STOPPED = 1, 0
DOWN_WITHIN = 30.0  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fourmast")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", description="Run a mesh on this machine until Ctrl-C.")
    up.add_argument("mesh_file", type=Path, nargs="?", default=Path("mesh.yaml"), help="the mesh to run [default: mesh.yaml]")
    up.add_argument("--mode", choices=("auto", "netns", "none"), help="how traffic is intercepted [default: as the file says]")
    up.add_argument("--control-plane", choices=("split", "istiod"), help="four processes or one [default: as the file says]")
    up.add_argument("--state-dir", type=Path, help="where state is kept between runs [default: a temporary folder, removed at the end]")
    up.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    down = commands.add_parser("down", description="Stop a running mesh of this user.")
    down.add_argument("name", nargs="?", help="which one [default: the only one]")
    options = parser.parse_args(arguments)
    return asyncio.run(_until_signal(options)) if options.command == "up" else _down(options.name)


def _down(name: str | None) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by `fourmast down` until here
    meshes = lock.running()
    found = [mesh for mesh in meshes if name in (None, mesh["name"])]
    if len(found) != 1:
        print(f"fourmast down: {_which(name, [mesh['name'] for mesh in meshes])}", file=sys.stderr)
        return EXIT_CONFIGURATION
    pid = found[0]["pid"]
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + DOWN_WITHIN
    while any(mesh["pid"] == pid for mesh in lock.running()):
        if time.monotonic() > end:
            print(f"fourmast down: process {pid} did not end within {DOWN_WITHIN:.0f} s", file=sys.stderr)
            return EXIT_CONFIGURATION
        time.sleep(0.1)
    print(f"mesh {found[0]['name']} is down")
    return 0


def _which(name: str | None, there: Sequence[str]) -> str:
    """Why it is not clear which mesh to stop."""
    if not there:
        return "no mesh of yours runs here"
    names = ", ".join(there)
    return f"several meshes run here, say which: {names}" if name is None else f"no mesh named {name} runs here; there is {names}"


async def _until_signal(options: argparse.Namespace) -> int:
    running = asyncio.create_task(_run(options), name="mesh")
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # a second Ctrl-C shall not disturb the taking down, which is bounded
            stopping = True
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked by `fourmast up` until here
    try:
        await running
    except asyncio.CancelledError:
        print("stopped; nothing is left running", file=sys.stderr)
    except (MeshFileError, MeshRunning, StartFailed, ConfigurationRefused, OSError) as error:
        print(f"fourmast up: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    return EXIT_STOPPED


async def _run(options: argparse.Namespace) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", file=sys.stderr, flush=True)

    with _state_dir(options.state_dir) as state_dir:
        async with LocalMesh(
            options.mesh_file,
            mode=options.mode,
            control_plane=options.control_plane,
            state_dir=state_dir,
            progress=say,
            log_level=options.log_level,
        ) as mesh:
            print(mesh.describe())
            for line in mesh.directions():
                print(line)
            sys.stdout.flush()
            await asyncio.Event().wait()


@contextlib.contextmanager
def _state_dir(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    folder = Path(tempfile.mkdtemp(prefix="fourmast-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
