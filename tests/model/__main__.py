"""``python -m tests.model [--wide]``: explore the design and its variants; print a table and the counter-examples.

``--wide`` adds larger bounds for the design, which take many minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from tests.model.explorer import Found
from tests.model.protocol import Bounds, State
from tests.model.variants import BOUNDS, FENCED, VARIANTS, WIDE, explore_design, explore_variant


def main(is_wide: bool) -> int:
    """Exit status 1 if the design breaks a promise or a variant keeps the one it should break."""
    faults = 0
    shown: list[str] = []
    print(f"{'':46} {'states':>9} {'transitions':>12} {'depth':>6} {'s':>6}  verdict")
    for name, bounds in (BOUNDS | (WIDE if is_wide else {})).items():
        found = _row(f"design: {name}", partial(explore_design, bounds))
        if found.broken is not None:
            faults += 1
            shown.append(f"THE DESIGN: {name}\n{found.broken}")
    fenced = _row("a fence instead of the lock", partial(explore_design, Bounds(1, 1, late=False), FENCED))
    faults += fenced.broken is not None
    for variant in VARIANTS:
        found = _row(variant.name, partial(explore_variant, variant))
        faults += found.broken is None
        shown.append(f"{variant.name}\n{found.broken or f'     nothing found against: {variant.breaks}'}")
    print("\nShortest counter-examples\n")
    print("\n\n".join(shown))
    return 1 if faults else 0


def _row(name: str, explored: Callable[[], Found[State]]) -> Found[State]:
    began = time.monotonic()
    found = explored()
    seconds = time.monotonic() - began
    if found.broken is None:
        verdict = "keeps every promise"
    else:
        verdict = f"BREAKS in {len(found.broken.trace)} steps: {found.broken.promise}"
    print(
        f"{name:46} {found.states:9,} {found.transitions:12,} {found.depth:6} {seconds:6.1f}  {verdict}",
        flush=True,
    )
    return found


if __name__ == "__main__":
    raise SystemExit(main("--wide" in sys.argv[1:]))
