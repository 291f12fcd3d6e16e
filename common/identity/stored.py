# SPDX-License-Identifier: Apache-2.0
"""The identity at rest: one 0600 file, replaced by rename, so that a key never lies beside another key's certificate.

The key of a request under way is kept too. If the process dies, or Citadel's answer is lost, after a single-use token was spent,
the next attempt asks for the same key, and Citadel accepts the same token for the same key a little longer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from common.identity.certificates import key_pem, load_key, new_key
from common.identity.material import KeyMaterial
from common.identity.private_file import write_private
from common.identity.request import Issued

log = structlog.get_logger("identity")


class _File(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    certificate_chain: str
    private_key: str
    roots: str
    api_keys: dict[str, Any]


class StoredIdentity:
    """The files of one name in one state directory.

    `<name>.identity.json`; while a request is under way `<name>.pending-key.pem`; and Citadel's public keys for API tokens in `jwks.json`,
    where the introspection pages of the process look for them.
    """

    def __init__(self, state_dir: Path, name: str) -> None:
        self.path = state_dir / f"{name}.identity.json"
        self._pending = state_dir / f"{name}.pending-key.pem"
        self._api_keys = state_dir / "jwks.json"

    def load(self) -> Issued | None:
        """None when there is none, or when it cannot be read: a damaged identity is as good as none, a token brings a new one."""
        try:
            stored = msgspec.json.decode(self.path.read_bytes(), type=_File)
            material = KeyMaterial.of(
                certificate_chain_pem=stored.certificate_chain.encode(),
                private_key_pem=stored.private_key.encode(),
                roots_pem=stored.roots.encode(),
            )
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, ValueError) as error:
            log.warning("the stored identity cannot be used", path=str(self.path), reason=str(error))
            return None
        return Issued(material, stored.api_keys)

    def save(self, issued: Issued) -> None:
        material = issued.material
        stored = _File(
            certificate_chain=material.certificate_chain_pem.decode(),
            private_key=material.private_key_pem.decode(),
            roots=material.roots_pem.decode(),
            api_keys=dict(issued.api_keys),
        )
        write_private(self._api_keys, msgspec.json.encode(stored.api_keys))
        write_private(self.path, msgspec.json.encode(stored))
        self._pending.unlink(missing_ok=True)

    def older_than(self, other: Path) -> bool:
        return self.path.stat().st_mtime_ns < other.stat().st_mtime_ns

    def pending_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of the request under way; made, and written down, for the first attempt."""
        try:
            return load_key(self._pending.read_bytes())
        except FileNotFoundError:
            pass
        except ValueError as error:
            log.warning("the pending key cannot be used", path=str(self._pending), reason=str(error))
        key = new_key()
        write_private(self._pending, key_pem(key))
        return key
