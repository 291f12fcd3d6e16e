# SPDX-License-Identifier: Apache-2.0
"""The configuration model: what a resource is, which kinds there are, and how both are read and written.

A room without I/O: whoever opens files or sockets does it elsewhere and hands bytes in.
"""

from common.config import kinds  # registers every kind, so that nobody can forget to
from common.config.registry import Kind, KindRegistry, registry
from common.config.resource import Metadata, Resource, ResourceKey, decode, encode

__all__ = ["Kind", "KindRegistry", "Metadata", "Resource", "ResourceKey", "decode", "encode", "kinds", "registry"]
