"""What the homeserver can do, as it says in ``/versions``."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass

from tandem_core.errors import NotMatrix
from tandem_core.http import Http
from tandem_core.store import session as store
from tandem_core.store.database import Database, Transaction
from tandem_core.types import Json

VERSIONS_PATH = "/_matrix/client/versions"
RECHECK_S = 3600.0
_FACT, _ASKED_AT = "capabilities", "capabilities_asked_at"
_SLIDING_SYNC = "org.matrix.simplified_msc3575"
_DELIVERY, _DELIVERY_STABLE = "org.matrix.msc4089", "org.matrix.msc4089.stable"
_DELIVERY_DEVICES = "im.tandem.delivery.v1"
_DELIVERY_BATCH, _TO_SERVER = "im.tandem.delivery.batch", "org.matrix.msc4246"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """``receipt_type`` is how this server wants delivery receipts named; None: it does not know them.

    ``delivery_batch``: it takes many at once.
    """

    sliding_sync: bool
    delivery: bool
    delivery_devices: bool
    receipt_type: str | None
    versions: tuple[str, ...] = ()
    delivery_batch: bool = False


def parse(answer: Json) -> Capabilities:
    """Read the answer of ``/versions``; raises NotMatrix if it is none."""
    versions, features = answer.get("versions"), answer.get("unstable_features")
    if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
        raise NotMatrix()
    flags = features if isinstance(features, dict) else {}

    def has(flag: str) -> bool:
        return flags.get(flag) is True

    stable = has(_DELIVERY_STABLE)
    delivery = stable or has(_DELIVERY)
    receipt_type = "m.delivery" if stable else "org.matrix.msc4089.delivery" if delivery else None
    return Capabilities(
        sliding_sync=has(_SLIDING_SYNC),
        delivery=delivery,
        delivery_devices=delivery and has(_DELIVERY_DEVICES),
        receipt_type=receipt_type,
        versions=tuple(versions),
        delivery_batch=delivery and has(_DELIVERY_BATCH) and has(_TO_SERVER),
    )


async def fetch(http: Http) -> Capabilities:
    """Ask the server; with the token, since features may depend on the user. Raises as ``Http.request``."""
    return parse(await http.request("GET", VERSIONS_PATH))


def keep(txn: Transaction, capabilities: Capabilities, now_ms: int) -> None:
    """Keep what the server said for the next start and for the other program."""
    store.set_fact(txn, _FACT, asdict(capabilities))
    store.set_fact(txn, _ASKED_AT, now_ms)


def kept(conn: sqlite3.Connection) -> Capabilities | None:
    """What the server said last; None if it was never asked."""
    said = store.fact(conn, _FACT)
    if not isinstance(said, dict):
        return None
    try:
        return Capabilities(**(said | {"versions": tuple(said.get("versions", ()))}))
    except TypeError:
        return None


def age_ms(conn: sqlite3.Connection, now_ms: int) -> int | None:
    """How old the kept answer is; None if the server was never asked."""
    asked_at = store.fact(conn, _ASKED_AT)
    return now_ms - asked_at if isinstance(asked_at, int) else None


async def refresh(db: Database, http: Http, *, now_ms: int) -> Capabilities:
    """Ask the server and keep the answer with its time; returns it. Raises as ``Http.request``."""
    said = await fetch(http)
    await db.write(keep, said, now_ms)
    return said
