//! Files that are no TOML, and keys that are unknown, missing, or of another type.

use super::wrong;

#[test]
fn what_is_not_toml_is_shown_where_it_stops_being_so() {
    // a key without value
    wrong(
        r#"
workers =
"#,
        r#"
error: this is not TOML
 --> sipring.toml:1:10
  |
1 | workers =
  |          ^ string values must be quoted, expected literal string
"#,
    );
    // a string without end
    wrong(
        r#"
[log]
level = "info
"#,
        r#"
error: this is not TOML
 --> sipring.toml:2:14
  |
2 | level = "info
  |              ^ invalid basic string, expected `"`
"#,
    );
    // a header without end
    wrong(
        r#"
[[listener]
bind = "udp:0.0.0.0"
"#,
        r#"
error: this is not TOML
 --> sipring.toml:1:12
  |
1 | [[listener]
  |            ^ unclosed array table, expected `]`
"#,
    );
    // a key twice
    wrong(
        r#"
workers = 2
workers = 3
"#,
        r#"
error: this is not TOML
 --> sipring.toml:2:1
  |
2 | workers = 3
  | ^^^^^^^ duplicate key
"#,
    );
    // a table twice
    wrong(
        r#"
[log]
level = "info"
[log]
"#,
        r#"
error: this is not TOML
 --> sipring.toml:3:2
  |
3 | [log]
  |  ^^^ duplicate key
"#,
    );
    // a broken line that holds a key
    wrong(
        r#"
[cluster]
key = "00112233445566778899aabbccddeeff
"#,
        r#"
error: this is not TOML
 --> sipring.toml:2:40
  |
2 | key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
  |                                        ^ invalid basic string, expected `"`
"#,
    );
}

#[test]
fn unknown_and_missing_keys() {
    // an unknown key near a known one
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
wieght = 3
"#,
        r#"
error: unknown key `wieght`
 --> sipring.toml:4:1
  |
4 | wieght = 3
  | ^^^^^^ not a key of [[pool.backend]]
  |
  = help: did you mean `weight`?
  = help: keys here: address, backup, calls_per_second_max, dialogs_max, name, priority, source, state, weight
"#,
    );
    // an unknown key near nothing
    wrong(
        r#"
[log]
colour = true
"#,
        r#"
error: unknown key `colour`
 --> sipring.toml:2:1
  |
2 | colour = true
  | ^^^^^^ not a key of [log]
  |
  = help: keys here: file, level, messages, sample
"#,
    );
    // an unknown table
    wrong(
        r#"
[limit]
pins = 5000
"#,
        r#"
error: unknown key `limit`
 --> sipring.toml:1:2
  |
1 | [limit]
  |  ^^^^^ not a key of the top level
  |
  = help: did you mean `limits`?
  = help: keys here: admin, backend_ports, cluster, dns, limits, listener, log, path, pool, record_route, route, steering, work, workers
"#,
    );
    // a key in the wrong table
    wrong(
        r#"
[admin]
listen = "127.0.0.1"
[log]
workers = 3
"#,
        r#"
error: unknown key `workers`
 --> sipring.toml:4:1
  |
4 | workers = 3
  | ^^^^^^^ not a key of [log]
  |
  = help: keys here: file, level, messages, sample
"#,
    );
    // a table of a later version
    wrong(
        r#"
[tls]
certificate = "a.pem"
"#,
        r#"
error: `tls` comes with a later version
 --> sipring.toml:1:2
  |
1 | [tls]
  |  ^^^ not yet a key of the top level
"#,
    );
    // a key of a later version
    wrong(
        r#"
[cluster]
node = 1
"#,
        r#"
error: `node` comes with a later version
 --> sipring.toml:2:1
  |
2 | node = 1
  | ^^^^ not yet a key of [cluster]
"#,
    );
    // a missing bind
    wrong(
        r#"
[[listener]]
advertise = "sip.example.com"
"#,
        r#"
error: `bind` is missing
 --> sipring.toml:1:1
  |
1 | [[listener]]
  | ^^^^^^^^^^^^ this [[listener]] has none
  |
  = help: add a line such as: bind = "udp:0.0.0.0:5060"
"#,
    );
    // a missing address
    wrong(
        r#"
[[pool]]
[[pool.backend]]
name = "a"
"#,
        r#"
error: `address` is missing
 --> sipring.toml:2:1
  |
2 | [[pool.backend]]
  | ^^^^^^^^^^^^^^^^ this [[pool.backend]] has none
  |
  = help: add a line such as: address = "10.0.0.11:5060"
"#,
    );
    // every problem at once
    wrong(
        r#"
worker = 2
[admin]
listen = 9060
[log]
level = "loud"
"#,
        r#"
error: unknown key `worker`
 --> sipring.toml:1:1
  |
1 | worker = 2
  | ^^^^^^ not a key of the top level
  |
  = help: did you mean `workers`?
  = help: keys here: admin, backend_ports, cluster, dns, limits, listener, log, path, pool, record_route, route, steering, work, workers

error: `listen` is an integer
 --> sipring.toml:3:10
  |
3 | listen = 9060
  |          ^^^^ expected a string
  |
  = help: such as: listen = "127.0.0.1:9060"

error: unknown log level `loud`
 --> sipring.toml:5:10
  |
5 | level = "loud"
  |          ^^^^ expected "error" or "warn" or "info" or "debug"
"#,
    );
}

#[test]
fn wrong_types() {
    // a string for a number
    wrong(
        r#"
workers = "4"
"#,
        r#"
error: `workers` is a string
 --> sipring.toml:1:11
  |
1 | workers = "4"
  |           ^^^ expected a whole number
  |
  = help: such as: workers = 1
"#,
    );
    // a float for a number
    wrong(
        r#"
[limits]
pins = 1e6
"#,
        r#"
error: `pins` is a float
 --> sipring.toml:2:8
  |
2 | pins = 1e6
  |        ^^^ expected a whole number
  |
  = help: such as: pins = 1000
"#,
    );
    // a number for a string
    wrong(
        r#"
[limits]
dialog_idle = 43200
"#,
        r#"
error: `dialog_idle` is an integer
 --> sipring.toml:2:15
  |
2 | dialog_idle = 43200
  |               ^^^^^ expected a string
  |
  = help: such as: dialog_idle = "12h"
"#,
    );
    // a string for a boolean
    wrong(
        r#"
record_route = "yes"
"#,
        r#"
error: `record_route` is a string
 --> sipring.toml:1:16
  |
1 | record_route = "yes"
  |                ^^^^^ expected true or false
  |
  = help: such as: record_route = true
"#,
    );
    // a single table for several
    wrong(
        r#"
[listener]
bind = "udp:0.0.0.0"
"#,
        r#"
error: `listener` is a single table
 --> sipring.toml:1:1
  |
1 | [listener]
  | ^^^^^^^^^^ expected [[listener]]
  |
  = help: write [[listener]] on a line of its own, and its keys below it
"#,
    );
    // several tables for one
    wrong(
        r#"
[[admin]]
listen = "127.0.0.1"
"#,
        r#"
error: `admin` is a list
 --> sipring.toml:1:1
  |
1 | [[admin]]
  | ^^^^^^^^^ expected [admin]
  |
  = help: write [admin] on a line of its own, and its keys below it
"#,
    );
    // a value for a table
    wrong(
        r#"
log = "debug"
"#,
        r#"
error: `log` is no table but a value (string)
 --> sipring.toml:1:7
  |
1 | log = "debug"
  |       ^^^^^^^ expected [log]
  |
  = help: write [log] on a line of its own, and its keys below it
"#,
    );
    // a list of values for tables
    wrong(
        r#"
listener = ["udp:0.0.0.0"]
"#,
        r#"
error: `listener` is no table but a value (string)
 --> sipring.toml:1:13
  |
1 | listener = ["udp:0.0.0.0"]
  |             ^^^^^^^^^^^^^ expected [[listener]]
  |
  = help: write [[listener]] on a line of its own, and its keys below it
"#,
    );
    // a number in a list of strings
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
source = ["10.1.0.0/16", 10]
"#,
        r#"
error: `source` is an integer
 --> sipring.toml:4:26
  |
4 | source = ["10.1.0.0/16", 10]
  |                          ^^ expected a string
  |
  = help: such as: source = ["10.1.0.0/16"]
"#,
    );
}
