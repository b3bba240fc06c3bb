#!/bin/sh
# Installs the servers that tests need beyond Python: redis-server, PostgreSQL, Postfix's smtp-sink,
# swaks, msmtp, Prometheus with its promtool, Chromium for pages, and clients in other languages: Node with its
# packages, PHPMailer and, where there is a Java development kit, Jakarta Mail.
# As root on Debian or Ubuntu; anywhere else it names what is missing, which is an error only when CI is set.
# Running it again costs nothing.
set -eu

PATH="$PATH:/usr/sbin:/usr/local/sbin"
BINARIES="redis-server rabbitmq-server postgres smtp-sink swaks msmtp prometheus promtool chromium faketime"
BINARIES="$BINARIES node npm php"
PHPMAILER=/usr/share/php/libphp-phpmailer
JAKARTA_MAIL=/usr/share/java/jakarta-mail.jar
NODE=$(dirname "$0")/../tests/node

missing() {
    # Debian keeps PostgreSQL's programs out of PATH, in a folder per version; looked for again after installing.
    for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
    for binary in $BINARIES; do
        command -v "$binary" >/dev/null 2>&1 || echo "$binary"
    done
    [ -e "$PHPMAILER" ] || echo libphp-phpmailer
    [ -e "$JAKARTA_MAIL" ] || ! command -v javac >/dev/null 2>&1 || echo libjakarta-mail-java
}

node_packages() {
    for package in nodemailer openapi-fetch openapi-typescript typescript; do
        [ -d "$NODE/node_modules/$package" ] || return 1
    done
}

# Beside package.json, once. Without npm there is nothing to do: their tests say what is missing.
install_node_packages() {
    if node_packages || ! command -v npm >/dev/null 2>&1; then return; fi
    npm install --prefix "$NODE" --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null ||
        [ -z "${CI:-}" ]
}

package_of() {
    case "$1" in
    smtp-sink) echo postfix ;;
    postgres) echo postgresql ;;
    node) echo nodejs ;;
    php) echo php-cli ;;
    promtool) echo prometheus ;;
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
    for service in redis-server rabbitmq-server postgresql postfix prometheus; do
        systemctl disable --now "$service" >/dev/null 2>&1 || true
    done
}

wanted=$(missing)
if [ -z "$wanted" ]; then
    install_node_packages
    echo "all test servers are installed"
    exit 0
fi

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing:" $wanted >&2
    echo "their tests cannot run; on Debian or Ubuntu run this as root, on macOS: brew install redis postgresql swaks msmtp prometheus" >&2
    echo "(smtp-sink is part of Postfix)" >&2
    install_node_packages
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
install_node_packages
echo "installed:" $packages
