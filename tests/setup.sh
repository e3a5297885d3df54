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
apt-get update -q
apt-get install -q -y --no-install-recommends $missing
# the package starts a service on port 5000 where systemd runs; the tests start their own
case $missing in *docker-registry*)
    ! command -v systemctl >/dev/null || systemctl disable --now docker-registry 2>/dev/null || true ;;
esac
