#!/usr/bin/env bash
# Sets sipring beside its rivals and beside bare forwarders: the same calls through each, one core for the
# balancer, one for the load. Under ten minutes; results go to loadtest/results/NAME.{md,json,svg}.
#
#   loadtest/compare.sh [NAME [OPTIONS OF `sipring-loadtest compare`]]     NAME: 2026-11-compare
#
# As root it installs kamailio and nginx where they are missing, and gives sockets that ask for nothing
# larger receive buffers while it runs. What is not there is left out, and the results say so.
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"

name=${1:-2026-11-compare}
shift || true
target=${CARGO_TARGET_DIR:-target}

# Debian starts a service as soon as its package is in; these are wanted as programs only.
install_without_starting() {
    local policy=/usr/sbin/policy-rc.d ours=no
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
        echo "SKIPPED: not to be had: $*" >&2
    if [ "$ours" = yes ]; then rm -f "$policy"; fi
}

missing=()
command -v kamailio >/dev/null || missing+=(kamailio)
{ command -v nginx >/dev/null && [ -e /usr/lib/nginx/modules/ngx_stream_module.so ]; } || missing+=(nginx libnginx-mod-stream)
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ]; then
    install_without_starting "${missing[@]}" >&2
fi

cargo build --release --locked --workspace --bins

# nginx cannot ask for buffers of its sockets towards backends: the default must do.
default=/proc/sys/net/core/rmem_default
before=$(cat "$default")
if [ -w "$default" ]; then
    trap 'echo "$before" >"$default"' EXIT
    echo 4194304 >"$default"
fi

# Ends itself and all that it has started, should anything hang.
timeout --kill-after=10 580 "$target/release/sipring-loadtest" compare \
    --balancer "$target/release/sipring" --out "loadtest/results/$name" "$@"
