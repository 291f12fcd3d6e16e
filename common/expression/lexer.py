# SPDX-License-Identifier: Apache-2.0
"""Go's tokens, as far as expressions have them. Istio 1.4 read CEXL with Go's own scanner, so its rules hold:
a newline after an operand ends the expression, comments are blanks, and keywords cannot be names."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from common.expression.errors import ExpressionError

TokenKind = Literal["name", "int", "float", "char", "string", "operator", "end"]

MAX_LENGTH = 64 * 1024  # characters of one expression

KEYWORDS = frozenset(
    {"break", "case", "chan", "const", "continue", "default", "defer", "else", "fallthrough", "for", "func", "go", "goto", "if", "import"}
    | {"interface", "map", "package", "range", "return", "select", "struct", "switch", "type", "var"}
)


class Token(NamedTuple):
    kind: TokenKind
    text: str
    position: int


_BLANK = re.compile(r"[ \t\r]+|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TOKEN = re.compile(
    r"""
    (?P<float> (?: [0-9]+\.[0-9]* | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? | [0-9]+[eE][+-]?[0-9]+ )
  | (?P<int> [0-9][0-9A-Za-z_]* )
  | (?P<name> [^\W\d]\w* )
  | (?P<string> " (?: [^"\\\n] | \\[^\n] )* " | `[^`]*` )
  | (?P<char> ' (?: [^'\\\n] | \\[^\n] )+ ' )
  | (?P<operator> &\^= | <<= | >>= | \.\.\. | && | \|\| | == | != | <= | >= | << | >> | &\^ | <- | := | \+\+ | --
                | [-+*/%&|^]= | [-+*/%&|^<>=!()\[\]{},;.:] )
    """,
    re.VERBOSE,
)
_LITERALS = frozenset({"int", "float", "char", "string"})


def tokens(text: str) -> list[Token]:
    """Split `text`; the last token has the kind `end`. Raises ExpressionError of kind parse."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError("parse", f"expression is longer than {MAX_LENGTH} characters", MAX_LENGTH)
    found: list[Token] = []
    position = 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            if "\n" in blank[0]:
                _end_line(text, blank.end(), found)
            position = blank.end()
        elif text[position] == "\n":
            position += 1
            _end_line(text, position, found)
        else:
            found.append(_token(text, position))
            position += len(found[-1].text)
    found.append(Token("end", "", len(text)))
    return found


def _end_line(text: str, position: int, found: list[Token]) -> None:
    """Go puts a semicolon after an operand at the end of a line: nothing but blanks may follow it."""
    if not found or not (found[-1].kind in _LITERALS or found[-1].kind == "name" or found[-1].text in (")", "]", "}")):
        return
    rest = re.sub(_BLANK, "", text[position:]).strip()
    if rest:
        raise ExpressionError("parse", "the expression ends at the newline; put the operator at the end of the line", position - 1)


def _token(text: str, position: int) -> Token:
    found = _TOKEN.match(text, position)
    if found is None:
        character = text[position]
        if character in "\"'`":
            raise ExpressionError("parse", f"literal not terminated: {text[position : position + 20]}", position)
        raise ExpressionError("parse", f"illegal character {character!r}", position)
    kind: TokenKind = found.lastgroup  # type: ignore[assignment]  # the groups are named for the kinds
    if kind == "name" and found[0] in KEYWORDS:
        raise ExpressionError("parse", f"{found[0]!r} is a keyword of Go and cannot be part of a name", position)
    return Token(kind, found[0], position)
