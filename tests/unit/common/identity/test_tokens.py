# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from citadel.authority.api_keys import TokenSigner, new_api_key
from common.identity.errors import TokenError
from common.identity.tokens import LEEWAY, LONGEST, Caller, TokenVerifier, bearer_token

NOW = datetime(2026, 1, 1, tzinfo=UTC)
signer = TokenSigner([new_api_key()])


def verifier(*, after: timedelta = timedelta(0), keys: TokenSigner = signer) -> TokenVerifier:
    return TokenVerifier.from_jwks(lambda: keys.jwks, clock=lambda: (NOW + after).timestamp())


def code_of(token: str, checked_by: TokenVerifier) -> str:
    with pytest.raises(TokenError) as caught:
        checked_by.verify(token)
    assert not token or token not in str(caught.value)
    return caught.value.code


def test_a_signed_token_names_its_caller() -> None:
    token = signer.sign("anna", "editor", namespaces=["b", "a"], lifetime=timedelta(hours=1), now=NOW)
    assert verifier().verify(token) == Caller("anna", "editor", frozenset({"a", "b"}))


def test_time_bounds_a_token() -> None:
    token = signer.sign("anna", "viewer", lifetime=timedelta(hours=1), now=NOW)
    assert verifier(after=timedelta(hours=1)).verify(token).name == "anna"
    assert code_of(token, verifier(after=timedelta(hours=1, seconds=LEEWAY + 1))) == "EXPIRED"
    assert code_of(token, verifier(after=timedelta(seconds=-LEEWAY - 1))) == "CLAIMS"


def test_another_meshs_token_is_refused() -> None:
    other = TokenSigner([new_api_key()])
    token = other.sign("anna", "admin", lifetime=timedelta(hours=1), now=NOW)
    assert code_of(token, verifier()) in ("SIGNATURE", "MALFORMED")  # the key id is unknown, too


def test_every_changed_character_breaks_a_token() -> None:
    token = signer.sign("anna", "admin", lifetime=timedelta(hours=1), now=NOW)
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "eve"}).encode()).rstrip(b"=").decode()
    assert code_of(f"{header}.{forged}.{signature}", verifier()) == "SIGNATURE"
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    assert code_of(f"{unsigned}.{payload}.", verifier()) == "MALFORMED"


@pytest.mark.parametrize(
    ("token", "code"), [("", "MISSING"), ("zz", "MALFORMED"), ("a.b.c", "MALFORMED"), ("x" * (LONGEST + 1), "MALFORMED")]
)
def test_what_is_no_token_is_refused(token: str, code: str) -> None:
    assert code_of(token, verifier()) == code


def test_without_keys_nothing_is_accepted(tmp_path: Path) -> None:
    token = signer.sign("anna", "admin", lifetime=timedelta(hours=1), now=NOW)
    assert code_of(token, TokenVerifier.from_jwks(lambda: {"keys": []})) == "NO_KEYS"
    assert code_of(token, TokenVerifier.from_jwks(tmp_path / "absent.json")) == "NO_KEYS"


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(TokenSigner([new_api_key()]).jwks))
    checked_by = TokenVerifier.from_jwks(path, clock=NOW.timestamp)
    token = signer.sign("anna", "viewer", lifetime=timedelta(hours=1), now=NOW)
    code_of(token, checked_by)
    replacement = tmp_path / "new"
    replacement.write_text(json.dumps(signer.jwks))
    replacement.rename(path)
    assert checked_by.verify(token).name == "anna"


def test_an_older_key_goes_on_being_accepted() -> None:
    old, new = new_api_key(), new_api_key()
    token = TokenSigner([old]).sign("anna", "viewer", lifetime=timedelta(hours=1), now=NOW)
    assert verifier(keys=TokenSigner([new, old])).verify(token).name == "anna"


def test_public_keys_are_public() -> None:
    assert all("d" not in key for key in signer.jwks["keys"])


@pytest.mark.parametrize(
    ("caller", "namespace", "reads", "edits"),
    [
        (Caller("a", "admin"), "istio-system", True, True),
        (Caller("a", "admin"), "", True, True),
        (Caller("e", "editor"), "default", True, True),
        (Caller("e", "editor"), "istio-system", True, False),
        (Caller("e", "editor"), "", True, False),
        (Caller("e", "editor", frozenset({"default"})), "default", True, True),
        (Caller("e", "editor", frozenset({"default"})), "other", False, False),
        (Caller("e", "editor", frozenset({"istio-system"})), "istio-system", True, False),
        (Caller("v", "viewer"), "default", True, False),
        (Caller("v", "viewer", frozenset({"default"})), "other", False, False),
    ],
)
def test_roles_and_namespaces_bound_a_caller(caller: Caller, namespace: str, reads: bool, edits: bool) -> None:
    assert (caller.may_read(namespace), caller.may_edit(namespace)) == (reads, edits)


@pytest.mark.parametrize(
    ("header", "token"), [(None, ""), ("", ""), ("Basic abc", ""), ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer", "")]
)
def test_the_bearer_header(header: str | None, token: str) -> None:
    assert bearer_token(header) == token
