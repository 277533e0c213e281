"""The historical bugs of the field as patches: what each does to our code, and which tests must notice it.

Where a bug comes from is told by the issue that taught it (rust-sdk: matrix-org/matrix-rust-sdk, and so on), or by the
law or decision of ours that forbids it. An anchor is small and found exactly once; a stale one fails the run.
"""

from __future__ import annotations

from tests.mutations.of_the_backup import BACKUP
from tests.mutations.of_the_failed import FAILED
from tests.mutations.of_the_files import FILES
from tests.mutations.of_the_identity import IDENTITY
from tests.mutations.of_the_marks import MARKS
from tests.mutations.of_the_readers import READERS
from tests.mutations.of_the_secrets import SECRETS
from tests.mutations.of_the_settings import SETTINGS
from tests.mutations.of_the_store import FENCES, INBOX, TOKENS
from tests.mutations.of_the_verification import VERIFICATION
from tests.mutations.of_the_work import CRYPTO, RECEIPTS, SENDING
from tests.mutations.record import CORE_TESTS, Mutant

SOUND = (
    f"{CORE_TESTS}/store/test_inbox.py::test_equal_plaintext_events_are_two_events",
    f"{CORE_TESTS}/sync/test_apply.py::test_events_tokens_and_place_are_kept_together",
    f"{CORE_TESTS}/crypto/test_olm.py::test_two_devices_talk_both_ways",
    f"{CORE_TESTS}/crypto/test_group.py::test_a_message_is_read_by_the_other_and_by_both_programs_of_its_author",
    f"{CORE_TESTS}/receipts/test_judge_and_outbox.py::test_a_readable_message_owes_one_receipt_whoever_judges_it_and_how_often",
)
"""What works under every mutant (unless it is what must notice it): a first try shows none of these bugs."""

MUTANTS: tuple[Mutant, ...] = (
    *INBOX,
    *TOKENS,
    *READERS,
    *FENCES,
    *CRYPTO,
    *IDENTITY,
    *SECRETS,
    *BACKUP,
    *VERIFICATION,
    *SENDING,
    *RECEIPTS,
    *FAILED,
    *MARKS,
    *SETTINGS,
    *FILES,
)
