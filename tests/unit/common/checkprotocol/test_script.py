# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from common.checkprotocol.message import PATH
from common.checkprotocol.script import CHECK_SCRIPT_VARIABLE, check_script, check_script_digest

LONGEST_STRING = 128 * 1024
"""Bytes of one argument or variable, with its name and the closing NUL, that Linux hands to a program (MAX_ARG_STRLEN)."""


def test_the_text_is_whole_and_without_what_nobody_reads() -> None:
    assert f'"mixer-check", "{PATH}"' in check_script()
    assert "@" not in check_script()
    assert not [line for line in check_script().splitlines() if line.startswith((" ", "--"))]


def test_the_text_is_far_below_what_one_variable_may_hold() -> None:
    variable = f"{CHECK_SCRIPT_VARIABLE}={check_script()}".encode()
    assert b"\0" not in variable
    assert len(variable) < LONGEST_STRING / 4


def test_the_digest_fits_into_the_metadata_of_a_node() -> None:
    assert 8 <= len(bytes.fromhex(check_script_digest())) <= 12
