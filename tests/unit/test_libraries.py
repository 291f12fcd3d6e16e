# SPDX-License-Identifier: Apache-2.0
"""Envoy's wheel, xds-protos and OpenTelemetry share top-level packages on disk; all three must load in one process, and Envoy must run."""

import shutil
import subprocess
import sys
from pathlib import Path


def test_envoy_xds_and_opentelemetry_load_together() -> None:
    from envoy.config.cluster.v3 import cluster_pb2
    from google.rpc import status_pb2
    from opentelemetry.sdk.trace import TracerProvider

    assert cluster_pb2.Cluster(name="x").SerializeToString()
    assert status_pb2.Status(code=7).code == 7
    assert TracerProvider().get_tracer("t")


def test_the_envoy_binary_runs_and_is_the_version_that_we_generate_for() -> None:
    binary = shutil.which("envoy", path=str(Path(sys.executable).parent))
    assert binary is not None
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    assert "/1.40." in output
