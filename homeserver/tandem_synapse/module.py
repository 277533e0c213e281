"""The module that Synapse loads: checks its settings and the Synapse it runs in, and wires the parts."""

from __future__ import annotations

from typing import Any

from synapse.module_api import ModuleApi
from synapse.module_api.errors import ConfigError

from tandem_synapse import (
    config,
    federation_hooks,
    hooks,
    replication_hooks,
    schema,
    seams,
    tidy_hooks,
)
from tandem_synapse.delivery import Delivery
from tandem_synapse.federation import Federation
from tandem_synapse.relay import Relay
from tandem_synapse.releaser import LOOK_EVERY_MS

_HOUR_MS = 3_600_000.0
_MAKERS = {**hooks.MAKERS, **replication_hooks.MAKERS, **tidy_hooks.MAKERS, **federation_hooks.MAKERS}


class TandemModule:
    """``modules: [{module: tandem_synapse.TandemModule, config: {}}]`` in homeserver.yaml."""

    def __init__(self, settings: config.ModuleConfig, api: ModuleApi) -> None:
        inside = seams.Inside(api)
        _refuse_what_is_not_supported(inside)
        conn = inside.connect()
        try:
            if inside.is_main:
                schema.migrate(conn)
            else:
                schema.check(conn)
        finally:
            conn.close()
        relay = Relay(inside)
        inside.attach(relay)
        federation = Federation(inside, settings) if settings.federate else None
        outgoing = None if federation is None else federation.outgoing
        self._delivery = Delivery(inside, relay, settings, outgoing)
        inside.attach(self._delivery)
        if federation is not None:
            federation.begin(self._delivery.take_from_elsewhere)
        if inside.is_writer:
            # Timers have one home, whichever process Synapse has run its own background tasks.
            api.run_as_background_process("tandem_start", self._delivery.start)
            api.looping_background_call(
                self._delivery.releaser.look,
                LOOK_EVERY_MS,
                desc="tandem_release_delivery_receipts",
                run_on_all_instances=True,
            )
            api.looping_background_call(
                self._delivery.expire,
                _HOUR_MS,
                desc="tandem_expire_delivery_receipts",
                run_on_all_instances=True,
            )
        if inside.is_main:
            # Synapse tells the main process, whichever process closed the account.
            api.register_third_party_rules_callbacks(
                on_user_deactivation_status_changed=self._delivery.account_changed
            )

    @staticmethod
    def parse_config(raw: dict[str, Any]) -> config.ModuleConfig:
        """Called while homeserver.yaml is read, before anything of Synapse is built.

        Raises ConfigError for a wrong setting, and for a Synapse whose inside is not the one we know.
        """
        settings = config.parse(raw or {})
        try:
            seams.install(_MAKERS, accept_untested=settings.accept_untested_synapse)
        except seams.IncompatibleSynapse as error:
            raise ConfigError(f"tandem_synapse: {error}") from error
        return settings


def _refuse_what_is_not_supported(inside: seams.Inside) -> None:
    writers = inside.receipt_writers
    if len(writers) > 1:
        raise ConfigError(
            f"tandem_synapse: stream_writers gives the receipts stream to {len(writers)} processes "
            f"({', '.join(writers)}), and the module works with one. Leave one of them under receipts."
        )
