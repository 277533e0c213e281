"""The module that Synapse loads: checks its settings and the Synapse it runs in, and wires the parts."""

from __future__ import annotations

from typing import Any

from synapse.config import ConfigError
from synapse.module_api import ModuleApi

from tandem_synapse import config, schema, seams
from tandem_synapse.delivery import Delivery

_HOUR_MS = 3_600_000.0


class TandemModule:
    """``modules: [{module: tandem_synapse.TandemModule, config: {}}]`` in homeserver.yaml."""

    def __init__(self, settings: config.ModuleConfig, api: ModuleApi) -> None:
        hs = seams.homeserver(api)
        schema.migrate(hs)
        self._delivery = Delivery(hs, settings)
        seams.attach(hs, self._delivery)
        api.looping_background_call(self._delivery.expire, _HOUR_MS, desc="tandem_expire_delivery_receipts")

    @staticmethod
    def parse_config(raw: dict[str, Any]) -> config.ModuleConfig:
        """Called while homeserver.yaml is read, before anything of Synapse is built.

        Raises ConfigError for a wrong setting, and for a Synapse whose inside is not the one we know.
        """
        settings = config.parse(raw or {})
        try:
            seams.install()
        except seams.IncompatibleSynapse as error:
            raise ConfigError(f"tandem_synapse: {error}") from error
        return settings
