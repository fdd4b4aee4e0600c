#!/usr/bin/env bash
# A backend of three fails under a steady load, in five ways, and comes back: tests/wire/scenes.rs, in
# release, one scene after the other. What they measured goes to OUT.md and OUT.json.
#
#   loadtest/failover.sh [OUT]     OUT: loadtest/results/2026-11-failover
set -euo pipefail
. "$(dirname "$0")/usage.sh"
cd "$(dirname "$0")/.."
OUT=${1:-loadtest/results/2026-11-failover}
FIGURES=$(mktemp -d)
trap 'rm -r "$FIGURES"' EXIT
mkdir -p "$(dirname "$OUT")"
SIPRING_FIGURES=$FIGURES cargo test --release --locked --test wire scenes:: -- --test-threads=1
python3 - "$FIGURES" "$OUT" <<'PYTHON'
import json, os, pathlib, platform, sys

figures, out = sys.argv[1:]
order = ["killed", "black-hole", "503", "deaf-to-calls", "slow"]
scenes = [json.loads(pathlib.Path(figures, f"{name}.json").read_text()) for name in order]
cpu = next(line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
machine = {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release()}
pathlib.Path(out + ".json").write_text(json.dumps({"machine": machine, "scenes": scenes}, indent=1) + "\n")
rows = "\n".join(
    f"| {s['scene']} | {s['calls']} | {s['lost']} | {s['failed_over']} | {s['silence']} / {s['refused']} / {s['unreachable']} "
    f"| {s['down_after_ms'] / 1000:.1f} s | {s['ready_after_ms'] / 1000:.1f} s | {s['used_after_ms'] / 1000:.1f} s | {s['extra_dialogs']} | {s['disturbed']} |"
    for s in scenes
)
pathlib.Path(out + ".md").write_text(f"""# A backend fails under load

One of three backends fails, is found out, is mended five seconds later, and is used again; 40 calls a second, each held for 0.5 to 3 s, two
workers, everything on loopback. Health: interval 0.5 s, timeout 0.5 s, rise 2, fall 3; `failover_after` 3 s.

| scene | calls | lost | failed over | by silence / 503 / ICMP | down after | ready after | used after | extra dialogs ended | disturbed |
|---|---|---|---|---|---|---|---|---|---|
{rows}

* killed: its port is closed. black-hole: nothing goes in. 503: probes and calls get 503. deaf-to-calls: it answers OPTIONS and no INVITE of a new
  call. slow: new calls are answered after 4 to 8 s, OPTIONS at once.
* lost: calls that did not go from INVITE to the answered BYE. down after: from the failure until no new call is sent to it. ready after, used after:
  from the mending until it may have new calls, and until the first one. disturbed: dialogs of the two others that lost a message for good.
* deaf-to-calls and slow are up again after two good probes and down again by their next calls, later each time; ready at once means that they were
  up when they were mended. Down is the first time.
* extra dialogs ended: the slow backend's 200 came after another's and was forwarded, as RFC 3261 16.7 item 5 wants it; the caller acknowledges it and
  ends that dialog (13.2.2.4), and its call goes on with the other backend.

{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; `loadtest/failover.sh`. Caller, backends and balancer share the cores, and the
machine had other work: the times are upper bounds.
""")
PYTHON
