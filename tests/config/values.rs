//! Values out of range, words that are not known, cluster keys.

use super::wrong;

#[test]
fn values_out_of_range() {
    // no workers
    wrong(
        r#"
workers = 0
"#,
        r#"
error: `workers` is out of range: `0`
 --> sipring.toml:1:11
  |
1 | workers = 0
  |           ^ expected 1 to 256
"#,
    );
    // too many workers
    wrong(
        r#"
workers = 257
"#,
        r#"
error: `workers` is out of range: `257`
 --> sipring.toml:1:11
  |
1 | workers = 257
  |           ^^^ expected 1 to 256
"#,
    );
    // a negative weight
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
weight = -1
"#,
        r#"
error: `weight` is out of range: `-1`
 --> sipring.toml:4:10
  |
4 | weight = -1
  |          ^^ expected 0 to 65535
"#,
    );
    // a weight beyond its range
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
weight = 65_536
"#,
        r#"
error: `weight` is out of range: `65_536`
 --> sipring.toml:4:10
  |
4 | weight = 65_536
  |          ^^^^^^ expected 0 to 65535
"#,
    );
    // a number beyond all ranges
    wrong(
        r#"
[cluster]
hash_seed = 9223372036854775808
"#,
        r#"
error: `hash_seed` is out of range: `9223372036854775808`
 --> sipring.toml:2:13
  |
2 | hash_seed = 9223372036854775808
  |             ^^^^^^^^^^^^^^^^^^^ expected 0 to 9223372036854775807
"#,
    );
    // a message beyond sip
    wrong(
        r#"
[limits]
max_message = 65536
"#,
        r#"
error: `max_message` is out of range: `65536`
 --> sipring.toml:2:15
  |
2 | max_message = 65536
  |               ^^^^^ expected 1024 to 65535
"#,
    );
    // a budget that retransmissions would feel
    wrong(
        r#"
[limits]
latency_budget_us = 10_001
"#,
        r#"
error: `latency_budget_us` is out of range: `10_001`
 --> sipring.toml:2:21
  |
2 | latency_budget_us = 10_001
  |                     ^^^^^^ expected 0 to 10000
"#,
    );
    // a size below one datagram
    wrong(
        r#"
[limits]
receive_buffer = "63KiB"
"#,
        r#"
error: `receive_buffer` is out of range: `"63KiB"`
 --> sipring.toml:2:18
  |
2 | receive_buffer = "63KiB"
  |                  ^^^^^^^ expected 65536 to 536870912
"#,
    );
    // a size in another unit
    wrong(
        r#"
[limits]
receive_buffer = "4MB"
"#,
        r#"
error: `4MB` is not a size
 --> sipring.toml:2:20
  |
2 | receive_buffer = "4MB"
  |                    ^^ not a unit
  |
  = help: write bytes, or KiB, MiB or GiB, such as 4194304 or "4MiB"
"#,
    );
    // a duration too short
    wrong(
        r#"
[limits]
dialog_idle = "31s"
"#,
        r#"
error: `31s` is out of range
 --> sipring.toml:2:16
  |
2 | dialog_idle = "31s"
  |                ^^^ expected 32s to 30d
"#,
    );
    // a duration without unit
    wrong(
        r#"
[limits]
registration_idle = "70"
"#,
        r#"
error: `70` is not a duration
 --> sipring.toml:2:24
  |
2 | registration_idle = "70"
  |                        ^ a unit is missing
  |
  = help: write numbers with their unit (d, h, m, s), such as "12h" or "1h30m"
"#,
    );
    // reversed backend ports
    wrong(
        r#"
backend_ports = "15091-15060"
"#,
        r#"
error: the range `15091-15060` ends before it begins
 --> sipring.toml:1:18
  |
1 | backend_ports = "15091-15060"
  |                  ^^^^^^^^^^^ the first port must not be above the last
  |
  = help: did you mean "15060-15091"?
"#,
    );
    // too many backend ports
    wrong(
        r#"
backend_ports = "15000-15256"
"#,
        r#"
error: the range `15000-15256` has 257 ports
 --> sipring.toml:1:18
  |
1 | backend_ports = "15000-15256"
  |                  ^^^^^^^^^^^ at most 256
  |
  = help: all of them are opened; as many as the workers of the largest node are enough
"#,
    );
    // backend ports of another form
    wrong(
        r#"
backend_ports = "any"
"#,
        r#"
error: `any` is not a range of ports
 --> sipring.toml:1:18
  |
1 | backend_ports = "any"
  |                  ^^^ expected FIRST-LAST or `listener`
  |
  = help: the default is "15060-15091"
"#,
    );
}

#[test]
fn words_that_are_none_of_those_expected() {
    // a misspelt policy
    wrong(
        r#"
[[pool]]
policy = "round-robbin"
"#,
        r#"
error: unknown policy `round-robbin`
 --> sipring.toml:2:11
  |
2 | policy = "round-robbin"
  |           ^^^^^^^^^^^^ no policy that there is
  |
  = help: did you mean "round-robin"? they are "call-id-hash", "source-hash", "aor-hash", "header-hash", "round-robin", "random", "least-dialogs", "least-transactions", "least-work", "latency"
"#,
    );
    // a misspelt hash
    wrong(
        r#"
[[pool]]
hash = "meglev"
"#,
        r#"
error: unknown hash `meglev`
 --> sipring.toml:2:9
  |
2 | hash = "meglev"
  |         ^^^^^^ expected "rendezvous" or "maglev"
  |
  = help: did you mean "maglev"?
"#,
    );
    // a misspelt state
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
state = "drain"
"#,
        r#"
error: unknown state `drain`
 --> sipring.toml:4:10
  |
4 | state = "drain"
  |          ^^^^^ expected "ready" or "drained" or "down"
  |
  = help: did you mean "drained"?
"#,
    );
    // a misspelt path mode
    wrong(
        r#"
path = "never"
"#,
        r#"
error: unknown path mode `never`
 --> sipring.toml:1:9
  |
1 | path = "never"
  |         ^^^^^ expected "always" or "supported" or "off"
"#,
    );
    // a misspelt level
    wrong(
        r#"
[log]
level = "warning"
"#,
        r#"
error: unknown log level `warning`
 --> sipring.toml:2:10
  |
2 | level = "warning"
  |          ^^^^^^^ expected "error" or "warn" or "info" or "debug"
"#,
    );
    // a name with a space
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
name = "proxy 1"
"#,
        r#"
error: the name `proxy 1` has a character that no name may have
 --> sipring.toml:4:14
  |
4 | name = "proxy 1"
  |              ^ expected ASCII letters, digits and . _ - : [ ] @ /
"#,
    );
}

#[test]
fn health() {
    // an interval that nobody can keep
    wrong(
        r#"
[[pool]]
[pool.health]
interval = "99ms"
"#,
        r#"
error: `99ms` is out of range
 --> sipring.toml:3:13
  |
3 | interval = "99ms"
  |             ^^^^ expected 100ms to 1d
"#,
    );
    // shares beyond the whole, and no numbers at all
    wrong(
        r#"
[[pool]]
[pool.health]
jitter = 1.001
panic = "half"
"#,
        r#"
error: `jitter` is out of range: `1.001`
 --> sipring.toml:3:10
  |
3 | jitter = 1.001
  |          ^^^^^ expected 0.0 to 1.0

error: `panic` is a string
 --> sipring.toml:4:9
  |
4 | panic = "half"
  |         ^^^^^^ expected a number from 0 to 1
  |
  = help: such as: panic = 0.5
"#,
    );
    // a code that is not final, and one that is no number
    wrong(
        r#"
[[pool]]
[pool.health]
codes = [200, 199, "404"]
"#,
        r#"
error: `codes` is out of range: `199`
 --> sipring.toml:3:15
  |
3 | codes = [200, 199, "404"]
  |               ^^^ expected 200 to 699

error: `codes` is a string
 --> sipring.toml:3:20
  |
3 | codes = [200, 199, "404"]
  |                    ^^^^^ expected a whole number
  |
  = help: such as: codes = [200]
"#,
    );
    // a probe that would ring
    wrong(
        r#"
[[pool]]
[pool.health]
method = "INVITE"
"#,
        r#"
error: `INVITE` cannot be a probe
 --> sipring.toml:3:11
  |
3 | method = "INVITE"
  |           ^^^^^^ it belongs to a call
  |
  = help: OPTIONS asks for a sign of life and changes nothing (RFC 3261 11)
"#,
    );
}

#[test]
fn keys_are_never_shown() {
    // a short key
    wrong(
        r#"
[cluster]
key = "00112233445566778899aabbccddeef"
"#,
        r#"
error: a key has 32 hex digits; here are 31
 --> sipring.toml:2:8
  |
2 | key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected 32 hex digits
  |
  = help: draw one with: openssl rand -hex 16
"#,
    );
    // a key with a wrong digit
    wrong(
        r#"
[cluster]
key = "00112233445566778899aabbccddeefg"
"#,
        r#"
error: a key has hex digits only
 --> sipring.toml:2:39
  |
2 | key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |                                       ^ not a hex digit
  |
  = help: draw one with: openssl rand -hex 16
"#,
    );
}
