"""The host's own network namespace."""

from __future__ import annotations

from pyd.network.endpoint import Endpoint, NetworkOptions, Site


class HostDriver:
    name = "host"

    def check(self, options: NetworkOptions) -> None:
        """Nothing contradicts it: published ports are discarded with a warning, as Docker does."""

    def connect(self, options: NetworkOptions, site: Site) -> Endpoint:
        warnings = ("Published ports are discarded when using host network mode",) if options.ports else ()
        # the host is reached where it is, whether the bridge exists or not
        return Endpoint(network=self.name, namespace="", gateway="127.0.0.1", warnings=warnings)
