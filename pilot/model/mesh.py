# SPDX-License-Identifier: Apache-2.0
"""MeshConfig as the generator reads it. The resource is looked up by name; without one the defaults hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from common.config.kinds.mesh import MESH_CONFIG, NAME, MeshConfig
from common.config.resource import Resource
from common.mesh.names import ROOT_NAMESPACE

DEFAULT_MESH = MeshConfig()


def mesh_config(resources: Mapping[str, Mapping[str, Resource[Any]]]) -> MeshConfig:
    """The mesh's settings: the MeshConfig `default` of the root namespace."""
    resource = resources.get(MESH_CONFIG.collection, {}).get(f"{ROOT_NAMESPACE}/{NAME}")
    spec = resource.spec if resource is not None else DEFAULT_MESH
    return spec if isinstance(spec, MeshConfig) else DEFAULT_MESH
