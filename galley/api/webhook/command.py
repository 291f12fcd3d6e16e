# SPDX-License-Identifier: Apache-2.0
"""`galley webhook manifest`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from common.lifecycle.command import EXIT_CONFIGURATION
from common.mesh.names import ROOT_NAMESPACE


@click.group()
def webhook() -> None:
    """The admission webhook, for meshes whose configuration is kept in Kubernetes."""


@webhook.command()
@click.option("--ca", type=click.Path(path_type=Path, dir_okay=False), required=True, help="PEM file with Citadel's roots (its roots.pem)")
@click.option("--url", default="", help="Galley's webhook as the API server reaches it, https://host:9443, when it is not a service")
@click.option("--service", default="istio-galley", show_default=True, help="service of the cluster that leads to Galley")
@click.option("--namespace", default=ROOT_NAMESPACE, show_default=True, help="namespace of that service")
@click.option("--port", default=443, show_default=True, help="port of that service")
@click.option("--failure-policy", type=click.Choice(["Fail", "Ignore"]), default="Fail", show_default=True, help="when no Galley answers")
def manifest(ca: Path, url: str, service: str, namespace: str, port: int, failure_policy: Literal["Fail", "Ignore"]) -> None:
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
    client = {"url": url} if url else {"service": {"name": service, "namespace": namespace, "port": port}}
    click.echo(yaml.safe_dump(build(client, pem, failure_policy=failure_policy), sort_keys=False), nl=False)
