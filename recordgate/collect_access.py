"""Makes a collector's surroundings of the settings."""

from __future__ import annotations

from recordgate.collecting.addresses import Allowed
from recordgate.collecting.walk import Surroundings
from recordgate.settings import Settings
from stores.contract.model import Contract


def surroundings(settings: Settings, url: str, contract: Contract) -> Surroundings:
    """Return a collector's surroundings by the settings; `url` is canonical's."""
    return Surroundings(
        url,
        contract,
        settings.data_dir,
        Allowed.parse(settings.collect_allow),
        keep=settings.collect_keep,
    )
