#!/bin/sh
# Installs what the tests need (tests/apt-packages.txt). Run as root on Debian or Ubuntu; does nothing if all is there.
set -eu
list=$(dirname "$0")/apt-packages.txt
missing=
for package in $(grep -v '^#' "$list"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# docker-registry must not start as a service: the tests run their own
exec apt-get install -q -y --no-install-recommends -o DPkg::Post-Invoke::=true $missing
