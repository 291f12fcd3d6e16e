# SPDX-License-Identifier: Apache-2.0
"""Citadel's edges: the certificate service over gRPC and the admin interface over HTTPS."""
