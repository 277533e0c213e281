"""What stands in for the module where it cannot even be loaded: a sentence for the administrator."""

from __future__ import annotations

from typing import Any, NoReturn

from synapse.module_api.errors import ConfigError

from tandem_synapse import versions


def refusing(error: Exception) -> type:
    """A module that refuses to start; ``error`` says what this Synapse lacks."""

    class TandemModule:
        @staticmethod
        def parse_config(_raw: dict[str, Any]) -> NoReturn:
            raise ConfigError(
                f"tandem_synapse: this is Synapse {versions.RUNNING}, and {versions.WORDS}; here it cannot be loaded "
                f"({error}). Install a version of the module for this Synapse, or take it out of homeserver.yaml."
            ) from error

    return TandemModule
