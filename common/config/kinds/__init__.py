# SPDX-License-Identifier: Apache-2.0
"""Every kind of configuration, defined once. Importing this package registers them all."""

from common.config.kinds import authentication, core, mesh, mixer, networking

__all__ = ["authentication", "core", "mesh", "mixer", "networking"]
