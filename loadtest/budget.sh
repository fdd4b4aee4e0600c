#!/usr/bin/env bash
# What a latency budget buys: CPU per message against latency, budgets in microseconds from none to 1000.
#
#   loadtest/budget.sh LOAD [ROUNDS]     LOAD: calls a second, or "full" (128 in flight); ROUNDS: 7
#
# One balancer with one worker on the last core gets each budget by a reload, in turn, and each round begins with another; the load runs
# on the first core. The table has medians and quartiles; ratios are of one round. Seven rounds take a minute.
# Build before: cargo build --release --workspace --bins
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."

load=${1:?LOAD: calls a second, or full}
rounds=${2:-7}
target=${CARGO_TARGET_DIR:-target}
budgets=(0 50 100 200 500 1000)
backends=127.0.0.1:22371,127.0.0.1:22372,127.0.0.1:22373,127.0.0.1:22374
options=(--rate "$load")
[ "$load" != full ] || options=(--in-flight 128)
directory=$(mktemp -d)
balancer=
: >"$directory/log"
trap '[ -z "$balancer" ] || { kill "$balancer"; wait "$balancer" || true; }; rm -r "$directory"' EXIT

# config BUDGET
config() {
    printf 'workers = 1\nbackend_ports = "22301-22301"\n[limits]\nlatency_budget_us = %s\n' "$1"
    printf '[admin]\nlisten = "127.0.0.1:22300"\n[cluster]\nkey = "00112233445566778899aabbccddeeff"\n'
    printf '[[listener]]\nbind = "udp:127.0.0.1:22360"\n[[pool]]\n[pool.health]\nenabled = false\n'
    printf '[[pool.backend]]\naddress = "%s"\n' ${backends//,/ }
}

# counts: datagrams received, enters, waits for more; all so far.
counts() {
    exec 3<>/dev/tcp/127.0.0.1/22300
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    awk '/^sipring_datagrams_received_total / { received = $2 } /^sipring_uring_enters_total\{/ { enters = $2 }
        /^sipring_uring_gathers_total\{/ { gathers = $2 } END { print received, enters, gathers }' <&3
    exec 3>&-
}

# one BUDGET: a line of figures, appended to the budget's file
one() {
    local report="$directory/report" before
    config "$1" >"$directory/config"
    "$target/release/sipring" ctl --admin 127.0.0.1:22300 reload >/dev/null
    before=$(counts)
    taskset -c 0 "$target/release/sipring-loadtest" load --to 127.0.0.1:22360 --backends $backends --watch "$balancer" \
        --seconds 0.8 --warm-up 0.3 "${options[@]}" >"$report" 2>>"$directory/load.log" || true
    printf '%s %s %s\n' "$before" "$(counts)" "$(sed -E 's/.*"lost_share":([^,]*).*"answer":\{[^}]*"p50":([0-9]*)[^}]*"p99":([0-9]*).*"balancer":\{[^}]*"us_per_message":([^,]*).*/\1 \2 \3 \4/' "$report")" |
        awk '{ print $10, ($4 - $1) / ($5 - $2), 100 * ($6 - $3) / ($5 - $2), $8, $9, 100 * $7 }' >>"$directory/$1"
}

# quantile FILE COLUMN QUARTER
quantile() {
    awk -v column="$2" '{ print $column }' "$1" | sort -g | sed -n "$(((rounds - 1) * $3 / 4 + 1))p"
}

config 0 >"$directory/config"
taskset -c $(($(nproc) - 1)) "$target/release/sipring" run --config "$directory/config" >"$directory/log" 2>&1 &
balancer=$!
tries=0
until grep -q 'listens on' "$directory/log"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then cat "$directory/log" >&2; exit 1; fi
    sleep 0.05
done
for ((round = 0; round < rounds; round++)); do
    for ((step = 0; step < ${#budgets[@]}; step++)); do one "${budgets[(step * 5 + round) % ${#budgets[@]}]}"; done
done
printf '| budget, us | us a message | of that without | messages an enter | turns that waited | p50, us | p99, us | lost |\n|---|---|---|---|---|---|---|---|\n'
for budget in "${budgets[@]}"; do
    file="$directory/$budget"
    paste -d' ' "$file" "$directory/0" | awk '{ print $1 / $7 }' >"$file.ratio"
    printf '| %s | %.2f | %.3f (%.3f to %.3f) | %.1f | %.0f %% | %.0f | %.0f | %.2f %% |\n' "$budget" "$(quantile "$file" 1 2)" \
        "$(quantile "$file.ratio" 1 2)" "$(quantile "$file.ratio" 1 1)" "$(quantile "$file.ratio" 1 3)" "$(quantile "$file" 2 2)" \
        "$(quantile "$file" 3 2)" "$(quantile "$file" 4 2)" "$(quantile "$file" 5 2)" "$(quantile "$file" 6 2)"
done
