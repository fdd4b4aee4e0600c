//! Addresses and networks that are none, or not of the kind that is needed.

use super::wrong;

#[test]
fn addresses_and_networks() {
    // a listener without transport
    wrong(
        r#"
[[listener]]
bind = "0.0.0.0:5060"
"#,
        r#"
error: `0.0.0.0:5060` names no transport
 --> sipring.toml:2:9
  |
2 | bind = "0.0.0.0:5060"
  |         ^^^^^^^^^^^^ expected TRANSPORT:ADDRESS
  |
  = help: did you mean "udp:0.0.0.0:5060"?
"#,
    );
    // a transport of a later version
    wrong(
        r#"
[[listener]]
bind = "tcp:0.0.0.0:5060"
"#,
        r#"
error: transport `tcp` comes with a later version
 --> sipring.toml:2:9
  |
2 | bind = "tcp:0.0.0.0:5060"
  |         ^^^ this version forwards udp only
  |
  = help: did you mean "udp:0.0.0.0:5060"?
"#,
    );
    // a misspelt transport
    wrong(
        r#"
[[listener]]
bind = "upd:0.0.0.0:5060"
"#,
        r#"
error: unknown transport `upd`
 --> sipring.toml:2:9
  |
2 | bind = "upd:0.0.0.0:5060"
  |         ^^^ expected `udp`
  |
  = help: did you mean `udp`?
"#,
    );
    // a port with a letter
    wrong(
        r#"
[[listener]]
bind = "udp:0.0.0.0:506O"
"#,
        r#"
error: port `506O` is not a number
 --> sipring.toml:2:21
  |
2 | bind = "udp:0.0.0.0:506O"
  |                     ^^^^ expected 1 to 65535
"#,
    );
    // a port beyond its range
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11:65536"
"#,
        r#"
error: port `65536` is out of range
 --> sipring.toml:3:22
  |
3 | address = "10.0.0.11:65536"
  |                      ^^^^^ expected 1 to 65535
"#,
    );
    // port zero
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11:0"
"#,
        r#"
error: port `0` is out of range
 --> sipring.toml:3:22
  |
3 | address = "10.0.0.11:0"
  |                      ^ expected 1 to 65535
"#,
    );
    // a backend by uri
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "sip:10.0.0.11:5060"
"#,
        r#"
error: unknown transport `sip`
 --> sipring.toml:3:12
  |
3 | address = "sip:10.0.0.11:5060"
  |            ^^^ expected `udp`
  |
  = help: write an address here, not a SIP URI
"#,
    );
    // a backend that is everybody
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "0.0.0.0:5060"
"#,
        r#"
error: `0.0.0.0:5060` is the unspecified address
 --> sipring.toml:3:12
  |
3 | address = "0.0.0.0:5060"
  |            ^^^^^^^^^^^^ expected the address of one backend
"#,
    );
    // a backend that is a group
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "[ff02::1]:5060"
"#,
        r#"
error: `[ff02::1]:5060` is a multicast address
 --> sipring.toml:3:12
  |
3 | address = "[ff02::1]:5060"
  |            ^^^^^^^^^^^^^^ expected the address of one backend
"#,
    );
    // ipv6 without brackets
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "2001:db8::11:5060"
"#,
        r#"
error: `2001:db8::11:5060` is not an address
 --> sipring.toml:3:12
  |
3 | address = "2001:db8::11:5060"
  |            ^^^^^^^^^^^^^^^^^ an IPv6 address stands in brackets before its port
  |
  = help: did you mean "[2001:db8::11]:5060" or "[2001:db8::11:5060]:5060"?
"#,
    );
    // an address written with escapes
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.\u0078"
"#,
        r#"
error: `10.0.0.x` is not an address
 --> sipring.toml:3:11
  |
3 | address = "10.0.0.\u0078"
  |           ^^^^^^^^^^^^^^^ expected an IPv4 address, or an IPv6 one in brackets
"#,
    );
    // an advertised wildcard
    wrong(
        r#"
[[listener]]
bind = "udp:0.0.0.0"
advertise = "0.0.0.0:5060"
"#,
        r#"
error: the unspecified address `0.0.0.0` cannot be advertised
 --> sipring.toml:3:14
  |
3 | advertise = "0.0.0.0:5060"
  |              ^^^^^^^ expected what others reach this listener by
"#,
    );
    // an admin name
    wrong(
        r#"
[admin]
listen = "localhost:9060"
"#,
        r#"
error: `localhost` is a name, not an address
 --> sipring.toml:2:11
  |
2 | listen = "localhost:9060"
  |           ^^^^^^^^^ expected an address of this machine
  |
  = help: such as 127.0.0.1, [::1], or 0.0.0.0 for every IPv4 address
"#,
    );
    // a network with host bits
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
source = "10.1.2.3/16"
"#,
        r#"
error: the network `10.1.2.3/16` has bits set behind its prefix
 --> sipring.toml:4:11
  |
4 | source = "10.1.2.3/16"
  |           ^^^^^^^^^^^ expected zeros there
  |
  = help: did you mean "10.1.0.0/16"?
"#,
    );
    // a network of everybody
    wrong(
        r#"
[[pool]]
[[pool.backend]]
address = "10.0.0.11"
source = ["::/0"]
"#,
        r#"
error: the network `::/0` holds every address
 --> sipring.toml:4:12
  |
4 | source = ["::/0"]
  |            ^^^^ every client would count as this backend
  |
  = help: requests from a backend may leave for anywhere: name its networks only
"#,
    );
}
