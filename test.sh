#!/usr/bin/env bash
# Every check that this project has, in one go. Exit status 0: all of them passed.
#
# Installs what it needs from Debian's packages when that is missing (as root; otherwise what cannot
# run is SKIPPED, and said so). The output of each step goes to target/test-logs/; what matters of
# it is shown here, and on failure its end.
set -euo pipefail
cd "$(dirname "$0")"

export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin"
export CARGO_TERM_COLOR=never
LOGS=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$LOGS"

# step NAME COMMAND...: runs it, says how long it took, stops everything if it fails.
step() {
    local name=$1 log started=$SECONDS
    shift
    log="$LOGS/${name// /-}.log"
    printf '\n== %s: %s\n' "$name" "$*"
    if ! "$@" >"$log" 2>&1; then
        # The first failures stand far above the end of a long log.
        grep -nE '^(error|thread .* panicked|SKIPPED|test .* FAILED)' "$log" | head -n 40 || true
        printf -- '-- the end of %s\n' "$log"
        tail -n 100 "$log"
        printf '\nFAILED: %s, after %d s; all of its output: %s\n' "$name" $((SECONDS - started)) "$log"
        exit 1
    fi
    grep -E '^(test result:|     Running |   Doc-tests |SKIPPED|RESULT )' "$log" || true
    printf '   ok, %d s\n' $((SECONDS - started))
}

# A program of each package that the tests play with, the C compiler for mimalloc, and that of the steering program.
declare -A PACKAGE_OF=([sipp]=sip-tester [kamailio]=kamailio [sipsak]=sipsak [ip]=iproute2 [nft]=nftables [cc]=build-essential
    [prometheus]=prometheus [promtool]=prometheus [chromium]=chromium [valgrind]=valgrind [clang]=clang)

missing_packages() {
    local program
    for program in "${!PACKAGE_OF[@]}"; do
        command -v "$program" >/dev/null || echo "${PACKAGE_OF[$program]}"
    done | sort -u
}

# Debian starts a service as soon as its package is in; this one is wanted as a program only.
install_without_starting() {
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } || status=$?
    if [ "$ours" = yes ]; then rm -f "$policy"; fi
    return "$status"
}

prepare() {
    if ! command -v cargo >/dev/null; then
        echo "cargo is not installed: see https://rustup.rs (the toolchain is named in rust-toolchain.toml)" >&2
        exit 1
    fi
    mapfile -t missing < <(missing_packages)
    if [ ${#missing[@]} -eq 0 ]; then
        export SIPRING_REQUIRE_PEERS=1
    elif [ "$(id -u)" -eq 0 ]; then
        step "install packages" install_without_starting "${missing[@]}"
        export SIPRING_REQUIRE_PEERS=1
    else
        printf '\nSKIPPED: some tests with real peers: not root, and these packages are missing: %s\n' "${missing[*]}"
    fi
    step "fetch crates" cargo fetch --locked
}

prepare
step "format" cargo fmt --all --check
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
step "tests" cargo test --workspace --locked
# Growth of the core's instruction counts beyond their accepted figures fails; it builds the core alone.
if command -v valgrind >/dev/null; then
    step "instructions" cargo bench -p sipring-instructions --locked
else
    printf '\nSKIPPED: instruction counts: valgrind is not installed\n'
fi
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items
# The first thing that a newcomer starts; it fails if a call is lost, a dialog changes its backend, or a
# scene (drain, death with failover, good and refused reload) does not go as it should.
step "demo" cargo run --profile test --locked -- demo --seconds 6

printf '\nAll checks passed in %d s.\n' "$SECONDS"
