# packages.sh - what Guichet needs of Debian's packages, and how it is installed without starting anything.
#
# Sourced by deploy/local and tests/run. Works on Debian 12 and 13.

packages_build="gcc libc6-dev make cmake pkg-config protobuf-c-compiler protobuf-compiler libprotobuf-dev libprotobuf-c-dev
  libnng-dev libpq-dev libcurl4-openssl-dev libuv1-dev libmicrohttpd-dev libwslay-dev libjson-c-dev libyaml-dev
  libsodium-dev libssl-dev libcmocka-dev"
packages_run="postgresql nginx-light curl ca-certificates procps"
packages_test="git"

# packages_missing PACKAGE…: prints those that are not installed.
packages_missing() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

# packages_install PACKAGE…: installs what is missing. Debian's packages start their daemons and make a database
# cluster when they are installed; we want neither: policy-rc.d and createcluster.conf say no while we install.
packages_install() {
    local missing policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.conf placed="" as_root="" status=0
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "these packages are missing, and only root can install them: $missing" >&2; return 1; }
        as_root=sudo
    fi
    echo "installing: $missing"
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null; $as_root chmod +x "$policy"; placed=$policy; }
    [ -e "$cluster" ] || { $as_root mkdir -p "${cluster%/*}"; echo "create_main_cluster = false" | $as_root tee "$cluster" >/dev/null; }
    $as_root apt-get update -qq || status=$?
    [ $status != 0 ] || DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 $missing >/tmp/guichet-packages.$$ 2>&1 || status=$?
    [ $status = 0 ] || tail -20 /tmp/guichet-packages.$$ >&2
    rm -f /tmp/guichet-packages.$$
    [ -z "$placed" ] || $as_root rm -f "$placed"
    return $status
}
