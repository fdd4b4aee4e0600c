#!/usr/bin/env bash
# What a message costs the balancer as one thing grows: its CPU per forwarded message at a fixed rate and at saturation.
#
#   loadtest/curve.sh AXIS [ROUNDS] [FILE]     AXIS: workers, backends, pins, size or listeners; ROUNDS: 3
#
# All points of an axis have a turn in each round; the table has the medians. An axis takes a minute. The balancer runs on the
# last core (two workers: on all), the load on the first. Build before: cargo build --release --workspace --bins
# To FILE the figures are added as lines of JSON: sipring-loadtest curve --figures FILE --out FILE.svg draws them, all axes.
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."

axis=${1:?AXIS: workers, backends, pins, size or listeners}
rounds=${2:-3}
kept=${3:-/dev/null}
target=${CARGO_TARGET_DIR:-target}
seconds=1.5
warm_up=0.4
rate=3000
first_backend=22071
last_core=$(($(nproc) - 1))
directory=$(mktemp -d)
balancer=
trap '[ -z "$balancer" ] || kill "$balancer"; rm -r "$directory"' EXIT
ulimit -n "$(ulimit -Hn)"

case $axis in
    workers) points=(1 2) ;;
    backends) points=(1 4 16 100 1000) ;;
    pins) points=(1000 100000 1000000 10000000) ;;
    size) points=(0 500 1000 2000 3500) ;;
    listeners) points=(1 4 16 64) ;;
    *) echo "$axis: workers, backends, pins, size or listeners" >&2; exit 2 ;;
esac

# config WORKERS BACKENDS PINS LISTENERS
config() {
    local n
    printf 'workers = %s\nbackend_ports = "22001-22004"\n' "$1"
    printf '[limits]\npins = %s\n[admin]\nlisten = "127.0.0.1:22000"\n' "$3"
    printf '[cluster]\nkey = "00112233445566778899aabbccddeeff"\n'
    for ((n = 1; n <= $4; n++)); do printf '[[listener]]\nbind = "udp:127.0.0.%s:22060"\n' "$n"; done
    printf '[[pool]]\n'
    for ((n = 0; n < $2; n++)); do printf '[[pool.backend]]\naddress = "127.0.0.1:%s"\n' $((first_backend + n)); done
}

# load BACKENDS OPTIONS...: JSON on its standard output. Lost calls are a result.
load() {
    local count=$1 list
    shift
    list=$(seq -f '127.0.0.1:%.0f' -s, "$first_backend" $((first_backend + count - 1)))
    taskset -c 0 "$target/release/sipring-loadtest" load --to 127.0.0.1:22060 --backends "$list" --watch "$balancer" \
        --seconds $seconds --warm-up $warm_up "$@" 2>>"$directory/load.log" || true
}

# figure NAME FILE: of the balancer, from the report.
figure() {
    sed -n 's/.*"balancer":{[^}]*"'"$1"'":\([0-9.eE+-]*\).*/\1/p' "$2" | sed '$a\'
}

# one POINT ROUND
one() {
    local point=$1 workers=1 backends=4 pins=1000000 listeners=1 cores=$last_core body=() load file
    case $axis in
        workers) workers=$point; [ "$point" -eq 1 ] || cores=0-$last_core ;;
        backends) backends=$point ;;
        pins) pins=$point ;;
        listeners) listeners=$point ;;
        size) body=(--mix message=1 --body "$point") ;;
    esac
    config "$workers" "$backends" "$pins" "$listeners" >"$directory/config"
    taskset -c "$cores" "$target/release/sipring" run --config "$directory/config" >"$directory/log" 2>&1 &
    balancer=$!
    local tries=0
    until exec 3<>/dev/tcp/127.0.0.1/22000 && printf 'GET /live HTTP/1.0\r\n\r\n' >&3 && grep -q '^HTTP/1.. 200' <&3; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then cat "$directory/log" >&2; exit 1; fi
        sleep 0.1
    done 2>/dev/null
    exec 3>&-
    for load in rate full; do
        file="$directory/$point.$load.$2"
        if [ $load = rate ]; then
            load "$backends" "${body[@]}" --rate $rate >"$file"
        else
            load "$backends" "${body[@]}" --in-flight 128 >"$file"
        fi
    done
    kill "$balancer"
    wait "$balancer" 2>/dev/null || true
    balancer=
}

# median POINT LOAD FIGURE
median() {
    local round
    for ((round = 1; round <= rounds; round++)); do
        figure "$3" "$directory/$1.$2.$round"
    done | sort -g | sed -n "$(((rounds + 1) / 2))p"
}

for ((round = 1; round <= rounds; round++)); do
    for point in "${points[@]}"; do one "$point" "$round"; done
done
printf '| %s | us a message, %s a second | of which user | us a message, saturated | of which user | cores, saturated | MiB |\n' "$axis" "$rate"
printf '|---|---|---|---|---|---|---|\n'
for point in "${points[@]}"; do
    figures=("$point" "$(median "$point" rate us_per_message)" "$(median "$point" rate user_share)"
        "$(median "$point" full us_per_message)" "$(median "$point" full user_share)"
        "$(median "$point" full cores)" "$(median "$point" full rss_mib)")
    printf '| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f |\n' "${figures[@]}"
    printf '{"axis":"%s","point":%s,"rate_us":%.2f,"rate_user_share":%.2f,"saturated_us":%.2f,"saturated_user_share":%.2f,"saturated_cores":%.2f,"rss_mib":%.0f}\n' \
        "$axis" "${figures[@]}" >>"$kept"
done
