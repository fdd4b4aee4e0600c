#!/usr/bin/env bash
# Do the counts stay true? A balancer with least-work, caps and failover is treated badly for SECONDS (default 180): backends
# lose datagrams and are killed, callers die in the middle of their calls, the configuration is reloaded all the time. No
# count may ever be negative, and within the idle limit after the last message all of them must be 0.
#
#   loadtest/soak.sh [SECONDS] [OUT.md]        target/release/sipring and sipring-loadtest must be built
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."
SECONDS_OF_LOAD=${1:-180}
OUT=${2:-}
BIN=${CARGO_TARGET_DIR:-target}/release
DIR=$(mktemp -d)
PORT=$((20000 + RANDOM % 8000))
IDLE_S=32
declare -A PIDS=()
cleanup() {
    for pid in "${PIDS[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$DIR"
}
trap cleanup EXIT

config() { # the order of the backends is another one in each file
    cat <<CONFIG
workers = 2
backend_ports = "$((PORT + 100))-$((PORT + 101))"
[admin]
listen = "127.0.0.1:$((PORT + 1))"
[[listener]]
bind = "udp:127.0.0.1:$PORT"
[limits]
dialog_idle = "${IDLE_S}s"
failover_after = "1s"
[cluster]
key = "00112233445566778899aabbccddeeff"
[[pool]]
policy = "least-work"
[pool.health]
interval = "500ms"
timeout = "300ms"
CONFIG
    for n in $(shuf -e 1 2 3); do
        printf '[[pool.backend]]\nname = "b%s"\naddress = "127.0.0.1:%s"\nweight = %s\ndialogs_max = 400\n' \
            "$n" $((PORT + 10 + n)) $((1 + RANDOM % 3))
    done
}

backend() { # NUMBER OPTIONS...
    local n=$1
    shift
    "$BIN/sipring-loadtest" backend --listen "127.0.0.1:$((PORT + 10 + n))" --name "b$n" --seed "$n" "$@" >/dev/null 2>&1 &
    PIDS[b$n]=$!
}

caller() { # NAME OPTIONS...
    local name=$1
    shift
    "$BIN/sipring-loadtest" caller --to "127.0.0.1:$PORT" --seed $RANDOM "$@" >/dev/null 2>&1 &
    PIDS[$name]=$!
}

slay() { # NAME; one that is gone, or was never there, is fine
    if [ -n "${PIDS[$1]:-}" ]; then kill -9 "${PIDS[$1]}" 2>/dev/null || true; fi
}

metrics() { curl -sf "http://127.0.0.1:$((PORT + 1))/metrics"; }

# The gauges that count what is there; a negative one would be near 2^64.
counts() {
    metrics | grep -E '^sipring_(calls|dialogs|backend_calls|backend_dialogs|backend_transactions)[ {]'
}

config >"$DIR/sipring.toml"
"$BIN/sipring" run --config "$DIR/sipring.toml" 2>"$DIR/log" &
PIDS[sipring]=$!
backend 1 --drop-per-mille 20 --ring-ms 0-300
backend 2 --drop-per-mille 50 --ring-ms 0-2000
backend 3 --ring-ms 0-100
for _ in $(seq 50); do metrics >/dev/null && break || sleep 0.1; done

highest=0 reloads=0 deaths=0 callers=0 samples=0
end=$(($(date +%s) + SECONDS_OF_LOAD))
while [ "$(date +%s)" -lt "$end" ]; do
    caller "c$((callers % 3))" --rate 60 --hold-ms 200-3000 --callee-hangs-up 30 --seconds 6
    callers=$((callers + 1))
    for _ in 1 2 3 4; do
        sleep 0.5
        config >"$DIR/sipring.toml"
        kill -HUP "${PIDS[sipring]}"
        reloads=$((reloads + 1))
        worst=$(counts | awk '{ if ($2 > max) max = $2 } END { printf "%d", max }')
        samples=$((samples + 1))
        if [ "$worst" -gt 1000000 ]; then
            echo "a count is negative:" >&2
            counts >&2
            exit 1
        fi
        if [ "$worst" -gt "$highest" ]; then highest=$worst; fi
    done
    # In the middle of its calls: no BYE will ever come. And a backend with everything that it holds.
    slay "c$(((callers + 1) % 3))"
    if [ $((callers % 4)) -eq 0 ]; then
        slay b3
        deaths=$((deaths + 1))
        sleep 1
        backend 3 --ring-ms 0-100
    fi
done

begun=$(metrics | awk '/^sipring_call_attempts_total/ { print $2 }')
over=$(metrics | awk '/^sipring_failovers_total/ { sum += $2 } END { print sum }')
refused=$(metrics | awk '/^sipring_answers_total.*overloaded/ { print $2 }')
for name in c0 c1 c2 b1 b2 b3; do slay "$name"; done
at_end=$(metrics | awk '/^sipring_calls / { print $2 }')
# 200 s for an INVITE that rang; the hand of the table goes round in ten seconds, gauges are told each second.
limit=$((IDLE_S + 215))
waited=0
while [ "$waited" -lt "$limit" ]; do
    sleep 5
    waited=$((waited + 5))
    left=$(counts | awk '{ sum += $2 } END { printf "%d", sum }')
    [ "$left" -eq 0 ] && break
done
if [ "$left" -ne 0 ]; then
    echo "after $waited s without a message something is still counted:" >&2
    counts >&2
    exit 1
fi
RESULT="| $SECONDS_OF_LOAD s | $begun | $over | ${refused:-0} | $callers, all killed | $deaths | $reloads | $samples | $highest | $at_end | $waited s |"
echo "RESULT $RESULT"
if [ -n "$OUT" ]; then
    {
        echo "# Counts over a soak"
        echo
        echo "Do the counts of calls, dialogs and open transactions stay true while messages are lost, callers and backends die and the"
        echo "configuration is reloaded? Policy least-work, a cap of 400 calls a backend, two workers; \`loadtest/soak.sh\` fails if a count is"
        echo "ever negative, or not 0 in the end."
        echo
        echo "| load | calls begun | failovers | 503, all full | callers | backends killed | reloads | samples | highest count | calls counted when all was killed | all 0 after |"
        echo "|---|---|---|---|---|---|---|---|---|---|---|"
        echo "$RESULT"
        echo
        echo "A dialog without traffic is forgotten after $IDLE_S s here, an INVITE that rang after 200 s."
        echo
        echo "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ *//'), $(nproc) cores, Linux $(uname -r); the machine had other work."
    } >"$OUT"
fi
