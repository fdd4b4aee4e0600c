//! Values that are good by themselves and do not go together.

use super::wrong;

#[test]
fn a_listener_and_a_backend_must_be_there() {
    // no listener
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: there is no listener
--> sipring.toml
 = help: give --listen udp:0.0.0.0:5060, or a file with [[listener]] bind = "udp:0.0.0.0:5060"
"#,
    );
    // no pool
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
"#,
        r#"
error: there is no backend
--> sipring.toml
 = help: give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = "10.0.0.11:5060"
"#,
    );
    // no backend
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
"#,
        r#"
error: there is no backend
 --> sipring.toml:3:1
  |
3 | [[pool]]
  | ^^^^^^^^ this pool is empty
  |
  = help: give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = "10.0.0.11:5060"
"#,
    );
    // an empty file
    wrong(
        r#"
"#,
        r#"
error: there is no listener
--> sipring.toml
 = help: give --listen udp:0.0.0.0:5060, or a file with [[listener]] bind = "udp:0.0.0.0:5060"

error: there is no backend
--> sipring.toml
 = help: give --backend 10.0.0.11:5060, or a file with [[pool.backend]] address = "10.0.0.11:5060"
"#,
    );
}

#[test]
fn what_may_stand_only_once() {
    // a pool
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
name = "default"
[[pool.backend]]
address = "10.0.0.11"
[[pool]]
[[pool.backend]]
address = "10.0.0.12"
"#,
        r#"
error: two pools have the name `default`
 --> sipring.toml:7:1
  |
4 | name = "default"
  |        --------- the first one
...
7 | [[pool]]
  | ^^^^^^^^ again here
  |
  = help: without a name it is `default`: name it
"#,
    );
    // a server in two pools under its address alone
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[[pool]]
name = "b"
[[pool.backend]]
address = "10.0.0.11:5060"
"#,
        r#"
error: two backends have the name `10.0.0.11:5060`
 --> sipring.toml:9:11
  |
5 | address = "10.0.0.11"
  |           ----------- the first one
...
9 | address = "10.0.0.11:5060"
  |           ^^^^^^^^^^^^^^^^ again here
  |
  = help: a server in two pools needs a name of its own in each
"#,
    );
    // a listener twice
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: two listeners have the address 192.0.2.1:5060
 --> sipring.toml:4:8
  |
2 | bind = "udp:192.0.2.1:5060"
  |        -------------------- the first one
3 | [[listener]]
4 | bind = "udp:192.0.2.1:5060"
  |        ^^^^^^^^^^^^^^^^^^^^ again here
"#,
    );
    // a listener under a wildcard
    wrong(
        r#"
[[listener]]
bind = "udp:0.0.0.0:5060"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: 0.0.0.0:5060 and 192.0.2.1:5060 overlap
 --> sipring.toml:4:8
  |
2 | bind = "udp:0.0.0.0:5060"
  |        ------------------ the first one
3 | [[listener]]
4 | bind = "udp:192.0.2.1:5060"
  |        ^^^^^^^^^^^^^^^^^^^^ one of them stands for every address of its family
"#,
    );
    // a backend twice
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[[pool.backend]]
address = "udp:10.0.0.11:5060"
"#,
        r#"
error: two backends have the address 10.0.0.11:5060
 --> sipring.toml:7:11
  |
5 | address = "10.0.0.11"
  |           ----------- the first one
6 | [[pool.backend]]
7 | address = "udp:10.0.0.11:5060"
  |           ^^^^^^^^^^^^^^^^^^^^ again here
"#,
    );
    // a name twice
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
name = "a"
address = "10.0.0.11"
[[pool.backend]]
name = "a"
address = "10.0.0.12"
"#,
        r#"
error: two backends have the name `a`
 --> sipring.toml:8:8
  |
5 | name = "a"
  |        --- the first one
...
8 | name = "a"
  |        ^^^ again here
  |
  = help: the name is the backend's identity in tokens and metrics
"#,
    );
    // a name that is the address of another
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[[pool.backend]]
name = "10.0.0.11:5060"
address = "10.0.0.12"
"#,
        r#"
error: two backends have the name `10.0.0.11:5060`
 --> sipring.toml:7:8
  |
5 | address = "10.0.0.11"
  |           ----------- the first one
6 | [[pool.backend]]
7 | name = "10.0.0.11:5060"
  |        ^^^^^^^^^^^^^^^^ again here
  |
  = help: the name is the backend's identity in tokens and metrics
"#,
    );
}

#[test]
fn backends_that_are_this_balancer() {
    // a backend that is a listener
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "192.0.2.1"
"#,
        r#"
error: the backend 192.0.2.1:5060 is a listener: a loop
 --> sipring.toml:5:11
  |
2 | bind = "udp:192.0.2.1:5060"
  |        -------------------- it listens here
...
5 | address = "192.0.2.1"
  |           ^^^^^^^^^^^ requests would come back to this balancer
"#,
    );
    // a backend under a wildcard listener
    wrong(
        r#"
[[listener]]
bind = "udp:[::]:5060"
[[pool]]
[[pool.backend]]
address = "[::1]"
"#,
        r#"
error: the backend [::1]:5060 is a listener: a loop
 --> sipring.toml:5:11
  |
2 | bind = "udp:[::]:5060"
  |        --------------- it listens here
...
5 | address = "[::1]"
  |           ^^^^^^^ requests would come back to this balancer
"#,
    );
    // a backend on a backend port
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "127.0.0.1:15091"
"#,
        r#"
error: the backend 127.0.0.1:15091 is on one of the backend ports
 --> sipring.toml:5:11
  |
5 | address = "127.0.0.1:15091"
  |           ^^^^^^^^^^^^^^^^^ the balancer itself opens 15060-15091
  |
  = help: set backend_ports to a range that no program on this machine uses
"#,
    );
}

#[test]
fn ports_that_do_not_go_together() {
    // a listener among the default backend ports
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:15060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: the listener's port 15060 is among the backend ports
 --> sipring.toml:2:8
  |
2 | bind = "udp:192.0.2.1:15060"
  |        ^^^^^^^^^^^^^^^^^^^^^ backend_ports is 15060-15091
  |
  = help: requests to backends leave from those ports: give the listener another
"#,
    );
    // a listener among the backend ports
    wrong(
        r#"
backend_ports = "5000-5060"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: the listener's port 5060 is among the backend ports
 --> sipring.toml:3:8
  |
1 | backend_ports = "5000-5060"
  |                 ----------- these ports
2 | [[listener]]
3 | bind = "udp:192.0.2.1:5060"
  |        ^^^^^^^^^^^^^^^^^^^^ backend_ports is 5000-5060
  |
  = help: requests to backends leave from those ports: give the listener another
"#,
    );
    // more workers than ports
    wrong(
        r#"
backend_ports = "15060-15062"
workers = 4
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: 4 workers cannot share 3 backend ports
 --> sipring.toml:2:11
  |
1 | backend_ports = "15060-15062"
  |                 ------------- 3 ports
2 | workers = 4
  |           ^ each worker needs a port of its own
  |
  = help: widen backend_ports or have fewer workers
"#,
    );
    // no listener of the backends family
    wrong(
        r#"
backend_ports = "listener"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[[pool.backend]]
address = "[2001:db8::11]"
"#,
        r#"
error: no listener can reach the backend [2001:db8::11]:5060
 --> sipring.toml:8:11
  |
1 | backend_ports = "listener"
  |                 ---------- requests leave from the listeners
...
8 | address = "[2001:db8::11]"
  |           ^^^^^^^^^^^^^^^^ expected a listener on IPv6
  |
  = help: add a listener on IPv6, or give backend_ports a range
"#,
    );
}

#[test]
fn policies_and_keys_that_do_not_go_together() {
    // a hash for round robin
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
policy = "round-robin"
hash = "maglev"
[[pool.backend]]
address = "10.0.0.11"
"#,
        r#"
error: `hash` goes with the policies by hash only
 --> sipring.toml:5:8
  |
4 | policy = "round-robin"
  |          ------------- the policy is round-robin
5 | hash = "maglev"
  |        ^^^^^^^^ remove it, or the policy
"#,
    );
    // a previous key alone
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[cluster]
previous_key = "00112233445566778899aabbccddeeff"
"#,
        r#"
error: there is a previous key, but no current one
 --> sipring.toml:7:16
  |
7 | previous_key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this key verifies only
  |
  = help: set `key` to the key that signs
"#,
    );
    // the same key twice
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[cluster]
key = "00112233445566778899aabbccddeeff"
previous_key = "00112233445566778899AABBCCDDEEFF"
"#,
        r#"
error: both keys are the same
 --> sipring.toml:8:16
  |
7 | key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |       ---------------------------------- the key that signs
8 | previous_key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ expected the key before this one
  |
  = help: remove `previous_key` when the rotation is over
"#,
    );
    // two keys of one number
    wrong(
        r#"
[[listener]]
bind = "udp:192.0.2.1:5060"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
[cluster]
key = "00112233445566778899aabbccddeeff"
previous_key = "00112233445566778899aabbccddeef3"
"#,
        r#"
error: both keys have the same number
 --> sipring.toml:8:16
  |
7 | key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |       ---------------------------------- this one signs
8 | previous_key = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
  |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ this one verifies only
  |
  = help: a token bears the number of its key: the last hex digit modulo 4, here 3; draw the new key again until that differs
"#,
    );
}

#[test]
fn messages_are_logged_into_a_file() {
    let minimal = "[[listener]]\nbind = \"udp:192.0.2.1:5060\"\n[[pool]]\n[[pool.backend]]\naddress = \"10.0.0.11\"\n";
    wrong(
        &format!("[log]\nmessages = \"errors\"\n{minimal}"),
        r#"
error: messages are to be logged, but nowhere
 --> sipring.toml:2:12
  |
2 | messages = "errors"
  |            ^^^^^^^^ `file` is missing
  |
  = help: such as file = "/var/log/sipring/messages.json"
"#,
    );
    wrong(
        &format!("[log]\nmessages = \"some\"\nfile = \"log\"\n{minimal}"),
        r#"
error: unknown messages `some`
 --> sipring.toml:2:13
  |
2 | messages = "some"
  |             ^^^^ expected "off" or "errors" or "all"

error: `log` is no path of a file
 --> sipring.toml:3:9
  |
3 | file = "log"
  |         ^^^ not a whole path
  |
  = help: write a path from the root, such as "/var/log/sipring/messages.json"
"#,
    );
}
