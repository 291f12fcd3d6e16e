# SPDX-License-Identifier: Apache-2.0
"""Names of Mixer's own metrics (port 15014), Istio 1.4's. The mesh metrics that adapters make are not these: they stand on port 42422."""

from __future__ import annotations

from functools import cache
from typing import Final

from common.telemetry.metrics import Registry, process_registry

CONFIG_ATTRIBUTES: Final = "mixer_config_attributes_total"
CONFIG_HANDLERS: Final = "mixer_config_handler_configs_total"
CONFIG_INSTANCES: Final = "mixer_config_instance_configs_total"
CONFIG_INSTANCE_ERRORS: Final = "mixer_config_instance_config_errors_total"
CONFIG_RULES: Final = "mixer_config_rule_configs_total"
CONFIG_RULE_ERRORS: Final = "mixer_config_rule_config_errors_total"
HANDLER_ERRORS: Final = "mixer_config_handler_validation_error_total"
HANDLERS_NEW: Final = "mixer_handler_new_handlers_total"
HANDLERS_REUSED: Final = "mixer_handler_reused_handlers_total"
HANDLERS_CLOSED: Final = "mixer_handler_closed_handlers_total"
HANDLERS_CLOSE_FAILED: Final = "mixer_handler_close_failures_total"
DESTINATIONS: Final = "mixer_dispatcher_destinations_per_variety_total"
DISPATCHES: Final = "mixer_runtime_dispatches_total"
DISPATCH_DURATION: Final = "mixer_runtime_dispatch_duration_seconds"
REQUESTS_SHED: Final = "mixer_loadshedding_requests_throttled"

_DISPATCH_LABELS = ("meshFunction", "handler", "adapter", "error")
_DURATIONS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class MixerMetrics:
    """The instruments of one Mixer. Gauges describe the current snapshot."""

    def __init__(self, registry: Registry) -> None:
        gauge = registry.gauge
        self.attributes = gauge(CONFIG_ATTRIBUTES, "Attributes of the current configuration.")
        self.handler_configs = gauge(CONFIG_HANDLERS, "Handlers of the current configuration.")
        self.instance_configs = gauge(CONFIG_INSTANCES, "Instances of the current configuration.")
        self.instance_errors = gauge(CONFIG_INSTANCE_ERRORS, "Mistakes found in instances.")
        self.rule_configs = gauge(CONFIG_RULES, "Rules of the current configuration.")
        self.rule_errors = gauge(CONFIG_RULE_ERRORS, "Mistakes found in rules.")
        self.handler_errors = gauge(HANDLER_ERRORS, "Mistakes found in handlers.")
        self.new_handlers = gauge(HANDLERS_NEW, "Handlers built for the current configuration.")
        self.reused_handlers = gauge(HANDLERS_REUSED, "Handlers kept from the configuration before.")
        self.closed_handlers = gauge(HANDLERS_CLOSED, "Handlers closed at the last change.")
        self.close_failures = gauge(HANDLERS_CLOSE_FAILED, "Handlers whose close failed at the last change.")
        self.destinations = gauge(DESTINATIONS, "Handler and instance pairs of all tables.", ("variety",))
        self.dispatches = registry.counter(DISPATCHES, "Calls of adapters.", _DISPATCH_LABELS)
        self.dispatch_duration = registry.histogram(
            DISPATCH_DURATION, "Seconds that calls of adapters took.", _DISPATCH_LABELS, buckets=_DURATIONS
        )
        self.shed = registry.gauge(REQUESTS_SHED, "Requests refused by load shedding.")

    def dispatched(self, function: str, handler: str, adapter: str, failed: bool, seconds: float) -> None:
        """Account for one call of an adapter; `function` is the template's name."""
        labels = (function, handler, adapter, "true" if failed else "false")
        self.dispatches.add(1, *labels)
        self.dispatch_duration.observe(seconds, *labels)


@cache
def process_metrics() -> MixerMetrics:
    """The instruments on this process's page; one set, however often the part is restarted."""
    return MixerMetrics(process_registry)
