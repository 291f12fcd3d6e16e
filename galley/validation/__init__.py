# SPDX-License-Identifier: Apache-2.0
"""What a resource must keep to before it is stored: rules on one resource at a time, over the structure that its schema gives it.

Rules follow Istio 1.4, without its accidents, and add what Envoy 1.40 would refuse. How resources fit each other is for galley.analysis.
"""

from galley.validation.context import Context
from galley.validation.documents import DocumentResult, validate_documents, validate_files, validate_value
from galley.validation.rules import validate

__all__ = ["Context", "DocumentResult", "validate", "validate_documents", "validate_files", "validate_value"]
