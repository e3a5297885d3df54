#!/bin/sh
# Installs what the tests need (tests/apt-packages.txt). As root, on Debian or Ubuntu; does nothing if all is there.
set -eu
list=$(dirname "$0")/apt-packages.txt
missing=
for package in $(grep -v '^#' "$list"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
# docker-registry, docker.io, containerd and podman bring services along; the tests start their own. None is started
# now (101 is "not allowed", policy-rc.d(8)), and none of those that are new at the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
before=$(ls /lib/systemd/system 2>/dev/null || true)
apt-get update -q
apt-get install -q -y --no-install-recommends $missing
command -v systemctl >/dev/null || exit 0
for unit in docker-registry.service docker.service docker.socket containerd.service podman.service podman.socket \
    podman-restart.service podman-auto-update.service podman-auto-update.timer; do
    if [ -e "/lib/systemd/system/$unit" ] && ! echo "$before" | grep -qxF "$unit"; then
        systemctl disable --quiet "$unit" 2>/dev/null || true
    fi
done
