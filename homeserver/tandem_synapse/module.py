"""The module that Synapse loads: checks its settings and the Synapse it runs in, and wires the parts."""

from __future__ import annotations

from typing import Any

from synapse.module_api import ModuleApi
from synapse.module_api.errors import ConfigError

from tandem_synapse import config, hooks, schema, seams
from tandem_synapse.delivery import Delivery

_HOUR_MS = 3_600_000.0


class TandemModule:
    """``modules: [{module: tandem_synapse.TandemModule, config: {}}]`` in homeserver.yaml."""

    def __init__(self, settings: config.ModuleConfig, api: ModuleApi) -> None:
        inside = seams.Inside(api)
        if not inside.is_one_process():
            raise ConfigError(
                "tandem_synapse: this Synapse is configured with workers, and the module works in a Synapse of one "
                "process only. Take the module out of homeserver.yaml, or the workers."
            )
        conn = inside.connect()
        try:
            schema.migrate(conn)
        finally:
            conn.close()
        self._delivery = Delivery(inside, settings)
        inside.attach(self._delivery)
        api.run_as_background_process("tandem_start", self._delivery.start)
        api.looping_background_call(self._delivery.expire, _HOUR_MS, desc="tandem_expire_delivery_receipts")

    @staticmethod
    def parse_config(raw: dict[str, Any]) -> config.ModuleConfig:
        """Called while homeserver.yaml is read, before anything of Synapse is built.

        Raises ConfigError for a wrong setting, and for a Synapse whose inside is not the one we know.
        """
        settings = config.parse(raw or {})
        try:
            seams.install(hooks.MAKERS, accept_untested=settings.accept_untested_synapse)
        except seams.IncompatibleSynapse as error:
            raise ConfigError(f"tandem_synapse: {error}") from error
        return settings
