"""A network namespace with nothing but loopback in it."""

from __future__ import annotations

from pyd.network.endpoint import Endpoint, NetworkOptions, Site


class NoneDriver:
    name = "none"

    def check(self, options: NetworkOptions) -> None:
        """Nothing contradicts it: Docker takes ports, too, and publishes none."""

    def connect(self, options: NetworkOptions, site: Site) -> Endpoint:
        return Endpoint(network=self.name)
