# SPDX-License-Identifier: Apache-2.0
"""OpenAPI 2.0 in the protobuf form of gnostic, as far as Galley describes its kinds in it."""
