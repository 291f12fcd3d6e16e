# SPDX-License-Identifier: Apache-2.0
"""Derive type stubs for Envoy's messages from the descriptors in xds-protos, so that a misspelt Envoy field fails `make lint`.

The stubs go to `.cache/typings` and are never committed; they are made again only when xds-protos changes.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor, descriptor_pb2

TYPINGS = Path(__file__).parents[1] / ".cache" / "typings"
TOPS = ("envoy", "xds", "udpa", "validate")


def _files() -> dict[str, descriptor.FileDescriptor]:
    """Every message file of xds-protos and what they import, dependencies first."""
    import envoy

    site = Path(next(iter(envoy.__path__))).parent
    found: dict[str, descriptor.FileDescriptor] = {}

    def visit(file: descriptor.FileDescriptor) -> None:
        if file.name not in found:
            for dependency in file.dependencies:
                visit(dependency)
            found[file.name] = file

    for top in TOPS:
        for path in sorted((site / top).rglob("*_pb2.py")):
            visit(importlib.import_module(".".join(path.relative_to(site).with_suffix("").parts)).DESCRIPTOR)
    return found


def main() -> int:
    stamp = TYPINGS / ".version"
    version = f"{importlib.metadata.version('xds-protos')} {importlib.metadata.version('grpcio-tools')}"
    if stamp.exists() and stamp.read_text() == version:
        print(f"stubs for xds-protos {version} are there")
        return 0
    files = _files()
    described = descriptor_pb2.FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(described.file.add())
    TYPINGS.mkdir(parents=True, exist_ok=True)
    names = [name for name in files if name.split("/")[0] in TOPS]
    with tempfile.NamedTemporaryFile(suffix=".descriptors") as blob:
        blob.write(described.SerializeToString())
        blob.flush()
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={blob.name}", f"--pyi_out={TYPINGS}", *names]
        subprocess.run(command, check=True)
    for folder in {path.parent for path in TYPINGS.rglob("*.pyi")}:
        while folder != TYPINGS:
            (folder / "__init__.pyi").touch()
            folder = folder.parent
    stamp.write_text(version)
    print(f"{len(names)} stubs for xds-protos {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
