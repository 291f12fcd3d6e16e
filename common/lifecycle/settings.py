# SPDX-License-Identifier: Apache-2.0
"""Settings of a part: flags before environment before the `--config` file before defaults, each with its origin remembered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from common.lifecycle.host import StartError
from common.mesh import names


class PartSettings(BaseModel):
    """What every part can be told. Addresses are `host:port`; port 0 takes a free one, which `addresses.json` in the state directory then names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_dir: Path = Field(Path(".fourmast"), description="directory for everything the part must remember; made with mode 0700")
    trust_domain: str = Field(names.TRUST_DOMAIN, description="trust domain of the mesh's SPIFFE identities")
    monitoring_address: str = Field(f"127.0.0.1:{names.MONITORING}", description="/metrics, /healthz, /ready, /version; empty turns it off")
    ctrlz_address: str = Field(f"127.0.0.1:{names.CONTROLZ}", description="introspection pages (need an API token); empty turns them off")
    join_file: Path | None = Field(
        None, description="join token and root bundle from Citadel (0600); needed until the part holds a certificate"
    )
    citadel_address: str = Field(f"127.0.0.1:{names.CITADEL_CSR}", description="Citadel's certificate service (server TLS, join tokens)")
    citadel_renewal_address: str = Field(f"127.0.0.1:{names.CITADEL_RENEWAL}", description="Citadel's renewal service (mutual TLS)")
    log_output_level: str = Field("default:info", description="comma list of scope:level; levels debug, info, warning, error, none")
    log_as_json: bool = Field(False, description="one JSON object a line instead of text for people")
    trace_otlp_endpoint: str = Field("", description="OTLP/HTTP traces endpoint; empty keeps spans in the process for ControlZ")


class Effective(NamedTuple):
    """Settings after merging, with the origin of each: `flag --x`, `environment X`, `file F` or `default`."""

    settings: PartSettings
    origins: Mapping[str, str]

    def lines(self) -> list[str]:
        """`name = value  (origin)` for each setting; secrets are masked."""
        rows = []
        for name in type(self.settings).model_fields:
            value = getattr(self.settings, name)
            shown = "********" if isinstance(value, SecretStr) and value.get_secret_value() else value
            rows.append(f"{name} = {shown}  ({self.origins[name]})")
        return rows


P = TypeVar("P", bound=PartSettings)


def load(
    settings_type: type[P], *, prefix: str, flags: Mapping[str, Any], config: Path | None, environment: Mapping[str, str] = os.environ
) -> Effective:
    """Merge the sources; `prefix` is the environment prefix, as `GALLEY_`. Raises StartError that names every bad setting with its origin."""
    values: dict[str, Any] = {}
    origins = dict.fromkeys(settings_type.model_fields, "default")

    def take(found: Mapping[str, Any], origin: Mapping[str, str]) -> None:
        for name, value in found.items():
            values[name] = value
            origins[name] = origin[name]

    if config is not None:
        from_file = _read(config)
        take(from_file, dict.fromkeys(from_file, f"file {config}"))
    known = settings_type.model_fields
    from_environment = {name: environment[prefix + name.upper()] for name in known if prefix + name.upper() in environment}
    take(
        {name: _split(known[name].annotation, text) for name, text in from_environment.items()},
        {name: f"environment {prefix}{name.upper()}" for name in known},
    )
    given = {name: value for name, value in flags.items() if value is not None}
    take(given, {name: f"flag --{name.replace('_', '-')}" for name in given})
    try:
        return Effective(settings_type(**values), origins)
    except pydantic.ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} ({origins.get(str(e['loc'][0]), 'unknown')})" for e in error.errors()]
        raise StartError("settings are not usable:\n  " + "\n  ".join(problems)) from error


def _split(annotation: Any, text: str) -> Any:
    """Environment variables hold lists as comma-separated text."""
    return [part for part in text.split(",") if part] if is_list(annotation) else text


def is_list(annotation: Any) -> bool:
    """Whether a setting holds several values (`tuple[...]`)."""
    return getattr(annotation, "__origin__", None) in (tuple, list) or any(
        is_list(inner) for inner in get_args(annotation) if inner is not type(None)
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise StartError(f"cannot read the settings file {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise StartError(f"the settings file {path} must be a mapping of setting names to values")
    return content
