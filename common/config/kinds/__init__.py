# SPDX-License-Identifier: Apache-2.0
"""Every kind of configuration, defined once. Importing this package registers them all."""

from common.config.kinds import (
    api_spec,
    authentication,
    authorization,
    core,
    ingress,
    legacy_mixer,
    mesh,
    mixer,
    networking,
    rbac,
    request_authentication,
)

__all__ = [
    "api_spec",
    "authentication",
    "authorization",
    "core",
    "ingress",
    "legacy_mixer",
    "mesh",
    "mixer",
    "networking",
    "rbac",
    "request_authentication",
]
