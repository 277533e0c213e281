"""The push rules that Synapse gives each new account: the spec's predefined rules, in Synapse's own spelling."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
_LIGHT: Json = {"set_tweak": "highlight"}
_DARK: Json = {"set_tweak": "highlight", "value": False}
_SOUND: Json = {"set_tweak": "sound", "value": "default"}
_RING: Json = {"set_tweak": "sound", "value": "ring"}


def push_rules(user_id: str) -> Json:
    """The content of a new account's ``m.push_rules``."""
    localpart = user_id[1:].partition(":")[0]
    two_people: Json = {"kind": "room_member_count", "is": "2"}
    may_ring: Json = {"kind": "sender_notification_permission", "key": "room"}
    return {
        "global": {
            "override": [
                _rule("master", [], enabled=False),
                _rule("suppress_notices", [], _match("content.msgtype", "m.notice")),
                _rule(
                    "invite_for_me",
                    ["notify", _DARK, _SOUND],
                    _match("type", "m.room.member"),
                    _match("content.membership", "invite"),
                    _match("state_key", user_id),
                ),
                _rule("member_event", [], _match("type", "m.room.member")),
                _rule(
                    "is_user_mention",
                    ["notify", _LIGHT, _SOUND],
                    {
                        "kind": "event_property_contains",
                        "key": r"content.m\.mentions.user_ids",
                        "value": user_id,
                    },
                ),
                _rule("contains_display_name", ["notify", _LIGHT, _SOUND], {"kind": "contains_display_name"}),
                _rule(
                    "is_room_mention", ["notify", _LIGHT], _is(r"content.m\.mentions.room", True), may_ring
                ),
                _rule("roomnotif", ["notify", _LIGHT], may_ring, _match("content.body", "@room")),
                _rule(
                    "tombstone",
                    ["notify", _LIGHT],
                    _match("type", "m.room.tombstone"),
                    _match("state_key", ""),
                ),
                _rule("reaction", [], _match("type", "m.reaction")),
                _rule("room.server_acl", [], _match("type", "m.room.server_acl"), _match("state_key", "")),
                _rule("suppress_edits", [], _is(r"content.m\.relates_to.rel_type", "m.replace")),
            ],
            "content": [
                {
                    "rule_id": ".m.rule.contains_user_name",
                    "default": True,
                    "enabled": True,
                    "pattern": localpart,
                    "actions": ["notify", _LIGHT, _SOUND],
                }
            ],
            "room": [],
            "sender": [],
            "underride": [
                _rule("call", ["notify", _RING, _DARK], _match("type", "m.call.invite")),
                _rule(
                    "encrypted_room_one_to_one",
                    ["notify", _SOUND, _DARK],
                    _match("type", "m.room.encrypted"),
                    two_people,
                ),
                _rule(
                    "room_one_to_one", ["notify", _SOUND, _DARK], _match("type", "m.room.message"), two_people
                ),
                _rule("message", ["notify", _DARK], _match("type", "m.room.message")),
                _rule("encrypted", ["notify", _DARK], _match("type", "m.room.encrypted")),
            ],
        }
    }


def _rule(name: str, actions: list[Any], *conditions: Json, enabled: bool = True) -> Json:
    return {
        "rule_id": f".m.rule.{name}",
        "default": True,
        "enabled": enabled,
        "conditions": list(conditions),
        "actions": actions,
    }


def _match(key: str, pattern: str) -> Json:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _is(key: str, value: Any) -> Json:
    return {"kind": "event_property_is", "key": key, "value": value}
