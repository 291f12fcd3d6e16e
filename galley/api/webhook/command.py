# SPDX-License-Identifier: Apache-2.0
"""`galley webhook manifest`."""

from __future__ import annotations

import sys
import urllib.parse
from pathlib import Path
from typing import Any, Literal

import click

from common.lifecycle.command import EXIT_CONFIGURATION
from common.mesh.names import ROOT_NAMESPACE, control_plane_dns_name

HOST = control_plane_dns_name("galley")


@click.group()
def webhook() -> None:
    """The admission webhook, for meshes whose configuration is kept in Kubernetes."""


@webhook.command()
@click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PEM file with Citadel's roots (its roots.pem)")
@click.option("--url", default="", help=f"https://{HOST}:PORT, for a Galley outside of the cluster that the API server finds by that name")
@click.option(
    "--port", default=443, show_default=True, help="port of the service istio-galley in istio-system, for a Galley in the cluster"
)
@click.option("--failure-policy", type=click.Choice(["Fail", "Ignore"]), default="Fail", show_default=True, help="when no Galley answers")
def manifest(ca: Path, url: str, port: int, failure_policy: Literal["Fail", "Ignore"]) -> None:
    """Print the ValidatingWebhookConfiguration, for `kubectl apply -f -`.

    It names each of Istio's kinds and no other, so `Fail` can never hold up anything else.
    """
    import yaml
    from cryptography import x509

    from galley.api.webhook.manifest import manifest as build

    try:
        pem = ca.read_bytes()
        x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
        click.echo(f"galley: {ca}: {reason}", err=True)
        sys.exit(EXIT_CONFIGURATION)
    address = urllib.parse.urlsplit(url)
    if url and (address.scheme, address.hostname) != ("https", HOST):
        click.echo(f"galley: {url}: must be https://{HOST}:PORT, because that is the name in Galley's certificate", err=True)
        sys.exit(EXIT_CONFIGURATION)
    client: dict[str, Any] = {"url": url} if url else {"service": {"name": "istio-galley", "namespace": ROOT_NAMESPACE, "port": port}}
    click.echo(yaml.safe_dump(build(client, pem, failure_policy=failure_policy), sort_keys=False), nl=False)
