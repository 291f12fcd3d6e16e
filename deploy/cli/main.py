# SPDX-License-Identifier: Apache-2.0
"""The entry of `fourmast`: which commands there are, each imported only when it runs.

Plain click, as the parts' own commands use: a lazy group is one overridden method there.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import Final, NamedTuple

import click

from deploy.cli.errors import INTERNAL, CliError


class Entry(NamedTuple):
    """A command: `module:attribute` of its click object, and the line that help shows without importing it."""

    target: str
    help: str


SECTIONS: Final[dict[str, dict[str, Entry]]] = {
    "A mesh on this machine": {
        "demo": Entry("deploy.cli.local:demo", "Show everything: a whole mesh, expected against observed."),
        "up": Entry("deploy.cli.local:up", "Start the mesh that a mesh.yaml describes."),
        "down": Entry("deploy.cli.local:down", "Stop a running mesh."),
        "status": Entry("deploy.cli.status:status", "Show the parts of the mesh and where they listen."),
    },
    "Configuration": {
        "apply": Entry("deploy.cli.apply:apply", "Create or change resources from files, all or nothing."),
        "get": Entry("deploy.cli.get:get", "List resources, or print one."),
        "describe": Entry("deploy.cli.describe:describe", "Show a resource with its status and what is known about it."),
        "diff": Entry("deploy.cli.diff:diff", "Show what `apply` would change, or what changed between revisions."),
        "history": Entry("deploy.cli.history:history", "List the changes of one resource, or of all."),
        "rollback": Entry("deploy.cli.rollback:rollback", "Bring resources back to an earlier revision."),
        "wait": Entry("deploy.cli.wait:wait", "Wait until a resource is in force at the proxies or in Mixer."),
        "trace": Entry("deploy.cli.trace:trace", "Show the way of a change, from Galley to each Envoy."),
        "delete": Entry("deploy.cli.delete:delete", "Delete resources, by name or as files have them."),
    },
    "Before you apply": {
        "validate": Entry("deploy.cli.validate:validate", "Check files, with or without a mesh: structure and rules."),
        "analyze": Entry("deploy.cli.analyze:analyze", "Find what does not fit together, in files or in the mesh."),
        "expr": Entry("deploy.cli.expr:expr", "Evaluate an expression of Mixer's language."),
    },
    "Proxies and identities": {
        "proxy-status": Entry("deploy.cli.proxy_status:proxy_status", "Show which proxies have which configuration."),
        "proxy-config": Entry("deploy.cli.proxy_config:proxy_config", "Show the clusters, listeners, routes or endpoints of a proxy."),
        "ca": Entry("deploy.cli.ca:ca", "Work with Citadel: join tokens, roots, certificates."),
    },
    "": {
        "version": Entry("deploy.cli.version:version", "Print the version."),
    },
}
ALIASES: Final = {"ps": "proxy-status", "pc": "proxy-config", "analyse": "analyze", "des": "describe", "rm": "delete"}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        entry = next((commands[name] for commands in SECTIONS.values() if name in commands), None)
        if entry is None:
            return None
        module, _, attribute = entry.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], [*self.list_commands(ctx), *ALIASES], 1)
            ctx.fail(f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title or "Other"):
                formatter.write_dl([(name, entry.help) for name, entry in commands.items()], col_max=14)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from deploy.cli.version import version

        ctx.invoke(version, output="")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version.")
def fourmast() -> None:
    """Istio's original control plane - Pilot, Mixer, Citadel, Galley - on a machine without Kubernetes.

    Start with `fourmast demo`, or `fourmast up` and then `fourmast apply -f FILE`.
    """


def main() -> None:
    """Run the command line. Exit codes: 0 good, 1 could not be done, 2 usage, 65 bad data, 70 internal, 79 findings."""
    try:
        fourmast.main(prog_name="fourmast")
    except CliError as error:
        click.echo(f"fourmast: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `fourmast get … | head` is no error
        sys.exit(0)
    except Exception as error:
        if os.environ.get("FOURMAST_DEBUG"):
            raise
        click.echo(
            f"fourmast: internal error: {type(error).__name__}: {error}\nSet FOURMAST_DEBUG=1 to see where; please report it.", err=True
        )
        sys.exit(INTERNAL)


if __name__ == "__main__":
    main()
