"""``python -m tandem_appservice``."""

from __future__ import annotations

from tandem_appservice.main import main

raise SystemExit(main())
