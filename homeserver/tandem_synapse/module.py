"""The module that Synapse loads: checks its settings and the Synapse it runs in, and wires the parts."""

from __future__ import annotations

import logging
from typing import Any

from synapse.module_api import ModuleApi
from synapse.module_api.errors import ConfigError

from tandem_synapse import (
    appservice_hooks,
    config,
    federation_hooks,
    hooks,
    replication_hooks,
    schema,
    seams,
    tidy_hooks,
    to_server_hooks,
)
from tandem_synapse.appservice_to_device import ToDeviceSource
from tandem_synapse.appservice_transactions import Transactions, read_wishes
from tandem_synapse.batch import BATCH_TYPE, Batches
from tandem_synapse.delivery import Delivery
from tandem_synapse.durable import DurableReceipts
from tandem_synapse.federation import Federation
from tandem_synapse.relay import Relay
from tandem_synapse.releaser import LOOK_EVERY_MS
from tandem_synapse.to_server import ToServer, register_to_server_handler

logger = logging.getLogger(__name__)

_MINUTE_MS = 60_000.0
_HOUR_MS = 3_600_000.0
_MAKERS = {
    **hooks.MAKERS,
    **replication_hooks.MAKERS,
    **tidy_hooks.MAKERS,
    **federation_hooks.MAKERS,
    **to_server_hooks.MAKERS,
    **appservice_hooks.MAKERS,
}


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
            _serve_application_services(inside, api, conn)
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
        self._durable = self._take_messages(api, inside, relay, settings)
        if inside.is_writer:
            # Timers have one home, whichever process Synapse has run its own background tasks.
            api.run_as_background_process("tandem_start", self._start)
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

    async def _start(self) -> None:
        await self._delivery.start()
        if self._durable is not None:
            await self._durable.start()

    def _take_messages(
        self, api: ModuleApi, inside: seams.Inside, relay: Relay, settings: config.ModuleConfig
    ) -> DurableReceipts | None:
        """To-device messages to and from the server itself, and what goes by them."""
        other = inside.who_has_the_address()
        if other is not None:
            logger.warning(
                "tandem_synapse: %s, and %s. It is left as it is, and the server does not use the name: no batches of "
                "receipts, no receipts as to-device events, no handlers of other modules. Deactivate the account (or "
                "change the registration) and restart Synapse to have them.",
                inside.address,
                other,
            )
            return None
        to_server = ToServer(api, inside, relay, settings)
        inside.attach(to_server)
        register_to_server_handler(api, BATCH_TYPE, Batches(self._delivery).handle, before_answer=True)
        return DurableReceipts(api, inside, settings, self._delivery, to_server)

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


def _serve_application_services(inside: seams.Inside, api: ModuleApi, conn: schema.Connection) -> None:
    """MSC3682 and MSC4203, for the services that ask for it in their registrations."""
    services = seams.AppServices(api)
    wishes = read_wishes(services)
    to_device = ToDeviceSource(inside, services, wishes)
    inside.attach(to_device)  # in every process: any may delete from the inbox
    if services.is_pushing:
        transactions = Transactions(inside, services, wishes, to_device)
        transactions.prepare(conn)
        inside.attach(transactions)
        api.run_as_background_process("tandem_look_after_services", transactions.look)
        api.looping_background_call(
            transactions.look, _MINUTE_MS, desc="tandem_look_after_services", run_on_all_instances=True
        )
