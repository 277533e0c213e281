"""The wraps around how Synapse sends transactions to application services (MSC3682, MSC4203).

``seams`` knows where they go. Services that ask for nothing of ours get the originals.
"""

from __future__ import annotations

import logging
from typing import Any

from tandem_synapse import seams
from tandem_synapse.appservice_to_device import ToDeviceSource
from tandem_synapse.appservice_transactions import Extras, Transactions

logger = logging.getLogger(__name__)


def _notify(original: seams.Method) -> seams.Method:
    def notify_interested_services_ephemeral(self: Any, stream_key: Any, new_token: Any, users: Any) -> Any:
        transactions = seams.attached(self, Transactions)
        if transactions is not None:
            transactions.notice(stream_key, users)
        return original(self, stream_key, new_token, users)

    return notify_interested_services_ephemeral


def _stock_to_device(original: seams.Method) -> seams.Method:
    async def _get_to_device_messages(self: Any, service: Any, new_token: Any, users: Any) -> Any:
        transactions = seams.attached(self, Transactions)
        if transactions is not None and transactions.is_lossless(service):
            return []  # they come from the inbox, when the transaction is made
        return await original(self, service, new_token, users)

    return _get_to_device_messages


def _device_lists(original: seams.Method) -> seams.Method:
    async def _get_device_list_summary(self: Any, appservice: Any, new_key: int) -> Any:
        summary = await original(self, appservice, new_key)
        transactions = seams.attached(self, Transactions)
        if transactions is None or not summary or not transactions.is_lossless(appservice):
            return summary
        # Synapse drops them where a transaction fails, and keeps none for a service that is away.
        keys = seams.KeyState.of(None, None, summary)
        await transactions.note_devices(appservice, keys.changed)
        return seams.KeyState(left=keys.left).device_lists

    return _get_device_list_summary


def _send(original: seams.Method) -> seams.Method:
    async def send(
        self: Any,
        service: Any,
        events: Any,
        ephemeral: Any = None,
        to_device_messages: Any = None,
        one_time_keys_count: Any = None,
        unused_fallback_keys: Any = None,
        device_list_summary: Any = None,
    ) -> Any:
        stock = [each for each in ephemeral or () if each is not seams.AppServices.WAKE]
        transactions = seams.attached(self, Transactions)
        if transactions is None or not transactions.serves(service):
            return await original(
                self,
                service,
                events,
                stock,
                to_device_messages,
                one_time_keys_count,
                unused_fallback_keys,
                device_list_summary,
            )
        is_waiting = await transactions.has_older(service)
        is_up = not is_waiting and await self._is_service_up(service)
        extras = await _gathered(transactions, service) if is_up or events else Extras()
        if not (events or stock or to_device_messages or device_list_summary or extras):
            await transactions.pass_by(service)
            return None
        if extras.to_device and one_time_keys_count is not None:
            one_time_keys_count, unused_fallback_keys = await transactions.key_counts(
                service, events, stock, extras
            )
        if extras.changed:
            keys = seams.KeyState.of(None, None, device_list_summary).and_changed(extras.changed)
            device_list_summary = keys.device_lists
        await original(
            self,
            service,
            events,
            stock,
            to_device_messages,
            one_time_keys_count,
            unused_fallback_keys,
            device_list_summary,
        )
        return await transactions.after(service)

    return send


async def _gathered(transactions: Transactions, service: Any) -> Extras:
    try:
        return await transactions.gather(service)
    except Exception:
        # Synapse's own part goes out all the same; ours stays where it is, for the next look.
        logger.exception("Could not read what service %s is to be told", service.id)
        return Extras()


def _create(original: seams.Method) -> seams.Method:
    async def create_appservice_txn(
        self: Any,
        service: Any,
        events: Any,
        ephemeral: Any,
        to_device_messages: Any,
        one_time_keys_count: Any,
        unused_fallback_keys: Any,
        device_list_summary: Any,
    ) -> Any:
        made = await original(
            self,
            service=service,
            events=events,
            ephemeral=ephemeral,
            to_device_messages=to_device_messages,
            one_time_keys_count=one_time_keys_count,
            unused_fallback_keys=unused_fallback_keys,
            device_list_summary=device_list_summary,
        )
        transactions = seams.attached(self, Transactions)
        if transactions is not None and transactions.serves(service):
            keys = seams.KeyState.of(one_time_keys_count, unused_fallback_keys, device_list_summary)
            await transactions.bind(service, made.id, keys)
        return made

    return create_appservice_txn


def _push(original: seams.Method) -> seams.Method:
    async def push_bulk(
        self: Any,
        service: Any,
        events: Any,
        ephemeral: Any,
        to_device_messages: Any,
        one_time_keys_count: Any,
        unused_fallback_keys: Any,
        device_list_summary: Any,
        txn_id: int | None = None,
    ) -> Any:
        transactions = seams.attached(self, Transactions)
        api = self
        if transactions is not None and txn_id is not None and transactions.serves(service):
            bound = await transactions.bound(service, txn_id)
            api = seams.WithFields(self, bound.fields)
            to_device_messages = bound.to_device or to_device_messages
            if bound.keys is not None:  # Synapse has forgotten them when it tries again
                one_time_keys_count, unused_fallback_keys = bound.keys.counts, bound.keys.fallback
                device_list_summary = bound.keys.device_lists
        return await original(
            api,
            service,
            events,
            ephemeral,
            to_device_messages,
            one_time_keys_count,
            unused_fallback_keys,
            device_list_summary,
            txn_id,
        )

    return push_bulk


def _complete(original: seams.Method) -> seams.Method:
    async def complete_appservice_txn(self: Any, txn_id: int, service: Any) -> Any:
        transactions = seams.attached(self, Transactions)
        if transactions is not None and transactions.serves(service):
            await transactions.arrived(service, txn_id)
        return await original(self, txn_id, service)

    return complete_appservice_txn


def _recovered(original: seams.Method) -> seams.Method:
    async def on_recovered(self: Any, recoverer: Any) -> Any:
        await original(self, recoverer)
        transactions = seams.attached(self, Transactions)
        if transactions is not None and transactions.serves(recoverer.service):
            await transactions.recovered(recoverer.service)

    return on_recovered


def _start_recoverer(original: seams.Method) -> seams.Method:
    def start_recoverer(self: Any, service: Any) -> Any:
        # We and Synapse may both have seen that the service is away.
        return None if service.id in self.recoverers else original(self, service)

    return start_recoverer


def _delete_from_inbox(original: seams.Method) -> seams.Method:
    async def delete_messages_for_device_between(
        self: Any,
        user_id: str,
        device_id: str | None,
        from_stream_id: int | None,
        to_stream_id: int,
        limit: int,
    ) -> Any:
        to_device = seams.attached(self, ToDeviceSource)
        if to_device is not None:
            await to_device.keep(user_id, to_stream_id)
        return await original(self, user_id, device_id, from_stream_id, to_stream_id, limit)

    return delete_messages_for_device_between


def _put_device(original: seams.Method) -> seams.Method:
    async def on_PUT(self: Any, request: Any, device_id: str) -> Any:
        status, body = await original(self, request, device_id)
        to_device = seams.attached(self, ToDeviceSource)
        if to_device is not None and status == 201:  # MSC4190: only services create devices here
            requester = request.requester  # the original has asked who it is; that may be asked once
            as_id = seams.service_of(requester)
            if as_id is not None:
                await to_device.made(as_id, requester.user.to_string(), device_id)
        return status, body

    return on_PUT


def _service_login(original: seams.Method) -> seams.Method:
    async def _do_appservice_login(
        self: Any,
        login_submission: Any,
        appservice: Any,
        should_issue_refresh_token: bool = False,
        *,
        request_info: Any,
    ) -> Any:
        to_device = seams.attached(self, ToDeviceSource)
        asked = login_submission.get("device_id")
        owners = await to_device.owners_of(asked) if to_device is not None and asked else set()
        result = await original(
            self, login_submission, appservice, should_issue_refresh_token, request_info=request_info
        )
        if to_device is not None and result["user_id"] not in owners:
            await to_device.made(appservice.id, result["user_id"], result["device_id"])
        return result

    return _do_appservice_login


MAKERS: dict[str, seams.Maker] = {
    seams.NOTIFY_SERVICES: _notify,
    seams.STOCK_TO_DEVICE: _stock_to_device,
    seams.DEVICE_LISTS: _device_lists,
    seams.SEND_TO_SERVICE: _send,
    seams.ON_RECOVERED: _recovered,
    seams.START_RECOVERER: _start_recoverer,
    seams.CREATE_TRANSACTION: _create,
    seams.COMPLETE_TRANSACTION: _complete,
    seams.PUSH_BULK: _push,
    seams.DELETE_FROM_INBOX: _delete_from_inbox,
    seams.PUT_DEVICE: _put_device,
    seams.SERVICE_LOGIN: _service_login,
}
