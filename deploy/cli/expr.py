# SPDX-License-Identifier: Apache-2.0
"""`fourmast expr`: what an expression of Mixer's language means, by the reference evaluator."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deploy.cli.errors import BAD_DATA, CliError
from deploy.cli.output import output_option, print_value


@click.command()
@click.argument("expression", required=False)
@click.option(
    "--attributes", type=click.Path(dir_okay=False), metavar="FILE", help='JSON: {"name": value} or {"name": {"type": …, "value": …}}.'
)
@click.option(
    "--manifest", type=click.Path(dir_okay=False), metavar="FILE", help='JSON: {"name": "STRING"}; instead of the standard vocabulary.'
)
@click.option("--batch", is_flag=True, help='Read JSON lines {"expr", "attributes", "manifest"} and answer each with one line.')
@output_option("json", "yaml")
def expr(expression: str | None, attributes: str | None, manifest: str | None, batch: bool, output: str) -> None:
    """Check and evaluate an expression, for example:

    \b
    fourmast expr 'source.labels["app"] == "reviews" && request.size > 100' --attributes bag.json
    """
    if batch:
        if expression is not None or attributes or manifest:
            raise click.UsageError("--batch takes expressions, attributes and manifests from standard input only")
        _batch()
        return
    if expression is None:
        raise click.UsageError("give an EXPRESSION, or --batch")
    answer = evaluate(expression, _json_file(attributes), _json_file(manifest) if manifest else None)
    if output:
        print_value(answer, output)
    else:
        _print(answer)
    sys.exit(BAD_DATA if "error" in answer else 0)


def evaluate(expression: Any, attributes: Any, manifest: Any) -> dict[str, Any]:
    """`{"type", "value", "referenced"}`, or `{"error": {"kind", "message"}}`."""
    from common.expression import Evaluation, ExpressionError, Vocabulary, analyse
    from deploy.cli.attribute_values import as_json, read_bag

    try:
        vocabulary = Vocabulary.standard() if manifest is None else Vocabulary.of_names(_mapping(manifest, "the manifest"))
        bag, vocabulary = read_bag(_mapping(attributes, "the attributes"), vocabulary)
        tree = analyse(_text(expression), vocabulary)
        evaluation = Evaluation(bag)
        value = evaluation.strict(tree)
    except ExpressionError as error:
        place = f" at character {error.position + 1}" if error.position is not None else ""
        return {"error": {"kind": error.kind, "message": error.message + place}}
    referenced = dict.fromkeys(name if key is None else f"{name}[{key}]" for name, key in evaluation.referenced)
    return {"type": str(tree.type), "value": as_json(value), "referenced": list(referenced)}


def _text(expression: Any) -> str:
    from common.expression import ExpressionError

    if not isinstance(expression, str):
        raise ExpressionError("parse", f"the expression must be a text, not {expression!r}")
    return expression


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    from common.expression import ExpressionError

    if not isinstance(value, Mapping):
        raise ExpressionError("check", f"{what} must be a JSON object from names")
    return value


def _json_file(name: str | None) -> Any:
    if name is None:
        return {}
    try:
        return json.loads(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"cannot read {name}: {error.strerror}") from error
    except ValueError as error:
        raise CliError(f"{name} is not JSON: {error}", exit_code=BAD_DATA) from error


def _batch() -> None:
    """Every line has its own answer, so a wrong expression does not fail the batch."""
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
            answer = evaluate(request["expr"], request.get("attributes") or {}, request.get("manifest"))
        except (ValueError, KeyError, TypeError, AttributeError):
            answer = {"error": {"kind": "parse", "message": 'the line is not a JSON object with "expr"'}}
        click.echo(json.dumps(answer, ensure_ascii=False))


def _print(answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        click.echo(f"{answer['error']['kind']} error: {answer['error']['message']}", err=True)
        return
    click.echo(f"{json.dumps(answer['value'], ensure_ascii=False)}    {answer['type']}")
    if answer["referenced"]:
        click.echo(f"referenced: {', '.join(answer['referenced'])}")
