#!/usr/bin/env bash
# What steering does for one trunk: how the load spreads over two workers, what is handed over, what a message costs.
#
#   loadtest/steering.sh [ROUNDS]     ROUNDS: 5
#
# Whole calls from one source port (a trunk) and from 32, with steering off and on, each in turn in every round; the table has
# the medians. Received: each worker's share of the datagrams. Build before: cargo build --release --workspace --bins
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."

rounds=${1:-5}
target=${CARGO_TARGET_DIR:-target}
seconds=1.5
warm_up=0.4
rate=2000
backends=127.0.0.1:22271,127.0.0.1:22272,127.0.0.1:22273,127.0.0.1:22274
directory=$(mktemp -d)
balancer=
trap '[ -z "$balancer" ] || kill "$balancer"; rm -r "$directory"' EXIT

# one SOURCES STEERING LOAD: a line of figures, appended to the point's file
one() {
    local options report="$directory/report" tries=0
    case $3 in
        rate) options=(--rate $rate) ;;
        full) options=(--in-flight 128) ;;
    esac
    {
        printf 'workers = 2\nsteering = "%s"\nbackend_ports = "22201-22202"\n[admin]\nlisten = "127.0.0.1:22200"\n' "$2"
        printf '[cluster]\nkey = "00112233445566778899aabbccddeeff"\n[[listener]]\nbind = "udp:127.0.0.1:22260"\n[[pool]]\n'
        for port in 22271 22272 22273 22274; do printf '[[pool.backend]]\naddress = "127.0.0.1:%s"\n' $port; done
    } >"$directory/config"
    : >"$directory/log"
    "$target/release/sipring" run --config "$directory/config" >"$directory/log" 2>&1 &
    balancer=$!
    until grep -q 'listens on' "$directory/log"; do
        tries=$((tries + 1))
        if [ $tries -gt 100 ]; then cat "$directory/log" >&2; exit 1; fi
        sleep 0.05
    done
    grep -q "steering ${2/auto/on}" "$directory/log" || { cat "$directory/log" >&2; exit 1; }
    "$target/release/sipring-loadtest" load --to 127.0.0.1:22260 --backends $backends --watch "$balancer" \
        --sources "$1" --seconds $seconds --warm-up $warm_up "${options[@]}" >"$report" 2>>"$directory/load.log" || true
    sleep 1.1 # the workers tell their CPU time once a second
    "$target/release/sipring" ctl --admin 127.0.0.1:22200 workers |
        awk -v cost="$(figure us_per_message "$report")" -v lost="$(sed -n 's/.*"lost_share":\([0-9.eE+-]*\).*/\1/p' "$report")" '
            NR > 1 { received[$1] = $2; over += $5; cpu[$1] = $NF; all += $2; time += $NF }
            END {
                low = received[0] < received[1] ? received[0] : received[1]
                busy = cpu[0] > cpu[1] ? cpu[0] : cpu[1]
                print 100 * low / all, 100 * over / all, 100 * busy / time, cost, 100 * lost
            }' >>"$directory/$1.$2.$3"
    kill "$balancer"
    wait "$balancer" 2>/dev/null || true
    balancer=
}

# figure NAME FILE: of the balancer, from the report.
figure() {
    sed -n 's/.*"balancer":{[^}]*"'"$1"'":\([0-9.eE+-]*\).*/\1/p' "$2"
}

# median FILE COLUMN
median() {
    awk -v column="$2" '{ print $column }' "$1" | sort -g | sed -n "$(((rounds + 1) / 2))p"
}

for ((round = 1; round <= rounds; round++)); do
    for load in rate full; do
        for sources in 1 32; do
            for steering in off auto; do one $sources $steering $load; done
        done
    done
done
printf '| source ports | load | steering | received, lesser worker | handed over | CPU, busier worker | us a message | lost |\n'
printf '|---|---|---|---|---|---|---|---|\n'
for sources in 1 32; do
    for load in rate full; do
        for steering in off auto; do
            file="$directory/$sources.$steering.$load"
            printf '| %s | %s | %s | %.1f %% | %.1f %% | %.1f %% | %.2f | %.2f %% |\n' $sources \
                "${load/rate/$rate calls a second}" "${steering/auto/on}" "$(median "$file" 1)" "$(median "$file" 2)" \
                "$(median "$file" 3)" "$(median "$file" 4)" "$(median "$file" 5)"
        done
    done
done
