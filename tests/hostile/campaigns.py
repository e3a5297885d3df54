"""The campaigns by name."""

from __future__ import annotations

from tests.hostile.dockerfiles import campaign as dockerfiles
from tests.hostile.manifests import campaign as manifests
from tests.hostile.tars import campaign as tars
from tests.hostile.workers import Campaign

CAMPAIGNS = {
    "dockerfiles": Campaign(dockerfiles.run),
    "manifests": Campaign(manifests.run),
    "tars": Campaign(tars.run, tars.Place, tars.Place.close),
}
