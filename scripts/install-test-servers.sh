#!/bin/sh
# Installs the servers that tests need beyond Python: redis-server, PostgreSQL, Postfix's smtp-sink,
# swaks, msmtp, and Chromium for pages.
# As root on Debian or Ubuntu; anywhere else it names what is missing, which is an error only when CI is set.
# Running it again costs nothing.
set -eu

PATH="$PATH:/usr/sbin:/usr/local/sbin"
BINARIES="redis-server rabbitmq-server postgres smtp-sink swaks msmtp chromium faketime"

missing() {
    # Debian keeps PostgreSQL's programs out of PATH, in a folder per version; looked for again after installing.
    for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
    for binary in $BINARIES; do
        command -v "$binary" >/dev/null 2>&1 || echo "$binary"
    done
}

package_of() {
    case "$1" in
    smtp-sink) echo postfix ;;
    postgres) echo postgresql ;;
    *) echo "$1" ;;
    esac
}

# Packages start what they install. Tests bring up their own, on ports of their own.
forbid_services() {
    [ -e /usr/sbin/policy-rc.d ] && return
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
}

stop_services() {
    [ -d /run/systemd/system ] || return 0
    for service in redis-server rabbitmq-server postgresql postfix; do
        systemctl disable --now "$service" >/dev/null 2>&1 || true
    done
}

wanted=$(missing)
if [ -z "$wanted" ]; then
    echo "all test servers are installed"
    exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:" $wanted >&2
    echo "their tests cannot run; on Debian or Ubuntu run this as root, on macOS: brew install redis postgresql swaks msmtp" >&2
    echo "(smtp-sink is part of Postfix)" >&2
    [ -z "${CI:-}" ]
    exit
fi

forbid_services
export DEBIAN_FRONTEND=noninteractive
packages=$(for binary in $wanted; do package_of "$binary"; done)
apt-get update -qq
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $packages >/dev/null
stop_services

still=$(missing)
if [ -n "$still" ]; then
    echo "could not install:" $still >&2
    exit 1
fi
echo "installed:" $packages
