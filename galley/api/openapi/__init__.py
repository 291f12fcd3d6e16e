# SPDX-License-Identifier: Apache-2.0
"""The kinds as OpenAPI 2.0, from which kubectl explains, validates and learns what it may ask for."""

from galley.api.openapi.document import openapi_document
from galley.api.openapi.routes import openapi_routes
from galley.api.openapi.wire import to_wire

__all__ = ["openapi_document", "openapi_routes", "to_wire"]
