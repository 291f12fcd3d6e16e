# SPDX-License-Identifier: Apache-2.0
"""The join file: all that a new workload needs to become a member of the mesh, in one 0600 JSON file.

A token travels in a file and never by argument or environment, because those are readable by every process of the user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from common.identity.errors import EnrolmentError
from common.identity.private_file import write_private
from common.mesh.names import TRUST_DOMAIN

LARGEST = 256 * 1024  # bytes; a bundle of ten RSA roots is below 30 KB


class JoinFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A join token with what its bearer needs to trust Citadel before it holds a certificate."""

    token: str
    roots: str
    """PEM: the roots by which Citadel's own certificate is checked."""
    trust_domain: str = TRUST_DOMAIN
    citadel: str | None = None
    """`host:port` of the CSR service; None when the reader's settings say it."""
    renewal: str | None = None
    """`host:port` of the renewal service; None when the reader's settings say it."""
    api_keys: dict[str, Any] = {}
    """JWKS for API tokens."""
    spiffe_id: str | None = None
    """Whom the token makes its bearer: lets an agent notice that its workload was given another service account."""

    @classmethod
    def load(cls, path: Path) -> JoinFile:
        """Raises EnrolmentError naming the file when it is absent, too large or not a join file. Never repeats its content."""
        try:
            if path.stat().st_size > LARGEST:
                raise EnrolmentError("JOIN_FILE", f"join file {path} is larger than {LARGEST} bytes")
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise EnrolmentError("JOIN_FILE", f"join file {path} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise EnrolmentError("JOIN_FILE", f"join file {path} is not a join file: {error}") from error

    def save(self, path: Path) -> None:
        write_private(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
