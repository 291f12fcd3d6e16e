# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.identity.errors import EnrolmentError
from common.identity.join_file import LARGEST, JoinFile
from common.identity.private_file import write_private


def test_a_private_file_is_its_owners_only_whatever_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    previous = os.umask(0)
    try:
        write_private(path, b"one")
        path.chmod(0o644)
        write_private(path, b"two")
    finally:
        os.umask(previous)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(path.parent) == ["secret"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    write_private(path, b"one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["secret"]


def test_a_join_file_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    written = JoinFile(token="t", roots="PEM", citadel="127.0.0.1:8060", api_keys={"keys": [{"kid": "1"}]})
    written.save(tmp_path / "join.json")
    assert JoinFile.load(tmp_path / "join.json") == written
    assert (tmp_path / "join.json").stat().st_mode & 0o777 == 0o600
    assert b'"apiKeys"' in (tmp_path / "join.json").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"not json", b'{"token": 7, "roots": ""}', b'{"roots": "PEM"}', b" " * (LARGEST + 1)])
def test_a_bad_join_file_is_named_but_not_repeated(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "join.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EnrolmentError, match=str(path)) as caught:
        JoinFile.load(path)
    assert caught.value.code == "JOIN_FILE"
    assert "not json" not in str(caught.value)
