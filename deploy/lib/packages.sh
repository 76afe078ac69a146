# packages.sh - what Guichet needs of Debian's packages, and how it is installed without starting anything.
#
# Sourced by deploy/local and tests/run. Works on Debian 12 and 13.

packages_build="gcc libc6-dev make cmake pkg-config protobuf-c-compiler protobuf-compiler libprotobuf-dev libprotobuf-c-dev
  libnng-dev libpq-dev libcurl4-openssl-dev libuv1-dev libmicrohttpd-dev libwslay-dev libjson-c-dev libyaml-dev
  libsodium-dev libssl-dev libsqlite3-dev libcmocka-dev"
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
    local missing as_root=""
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "these packages are missing, and only root can install them: $missing" >&2; return 1; }
        as_root=sudo
    fi
    echo "installing: $missing"
    # A shell of its own: whatever ends it, what was placed is taken away again.
    (
        policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.conf placed="" log=$(mktemp)
        trap '[ -z "$placed" ] || $as_root rm -f $placed; rm -f "$log"' EXIT
        trap 'exit 130' INT TERM HUP
        if [ ! -e "$policy" ]; then
            placed=$policy
            printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
            $as_root chmod 755 "$policy"
        fi
        if [ ! -e "$cluster" ]; then
            $as_root mkdir -p "${cluster%/*}"
            echo "create_main_cluster = false" | $as_root tee "$cluster" >/dev/null
        fi
        if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 $missing; } >"$log" 2>&1; then
            tail -20 "$log" >&2
            exit 1
        fi
        # Debian's own nginx would come up at the next boot.
        case " $missing" in *" nginx"*) [ ! -d /run/systemd/system ] || $as_root systemctl disable --quiet nginx ;; esac
    )
}
