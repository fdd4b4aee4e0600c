//! What must be alike on all nodes behind one address, as one number.

use super::{Config, RouteConfig};
use siphasher::sip::SipHasher24;

/// A number with so many bits is exact as a floating-point one, which metrics are.
const BITS: u32 = 52;

impl Config {
    /// Equal, but for chance, on nodes that lead a call to the same backend and read each other's tokens:
    /// pools, rules, ports towards the backends, what is written into messages, seed and keys. Addresses of
    /// a node, its limits and its log are its own. Versions may count otherwise. Below 2^52.
    pub fn agreement(&self) -> u64 {
        // A listener has an address of its own on each node, in rules too.
        let rule = |rule: &RouteConfig| RouteConfig { listeners: Vec::new(), ..rule.clone() };
        let rules: Vec<_> = self.routes.iter().map(rule).collect();
        let written = (self.record_route, self.path);
        let all = (&self.pools, rules, &self.backend_ports, written, &self.cluster);
        let hasher = SipHasher24::new_with_key(b"sipring: agreed.");
        hasher.hash(format!("{all:?}").as_bytes()) >> (u64::BITS - BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Text, load};

    fn agreement(file: &str) -> u64 {
        let text = Text { name: "test.toml".to_owned(), bytes: file.as_bytes().to_vec() };
        load(Some(&text), &Flags::default()).expect("a good file").config.agreement()
    }

    #[test]
    fn nodes_agree_whose_own_addresses_and_limits_differ_and_no_others() {
        let one = "[admin]\nlisten = \"127.0.0.1:9060\"\n\
                   [[listener]]\nbind = \"udp:127.0.0.1:5060\"\n\
                   [cluster]\nkey = \"000102030405060708090a0b0c0d0e0f\"\nhash_seed = 1\n\
                   [limits]\npins = 1000\n\
                   [[pool]]\n[[pool.backend]]\nname = \"b1\"\naddress = \"127.0.0.2:5060\"\nweight = 1\n\
                   [[route]]\npool = \"default\"\nlistener = [\"udp:127.0.0.1:5060\"]\n";
        let this = agreement(one);
        assert!(this < 1 << BITS);
        let with = |from: &str, to: &str| {
            let other = one.replace(from, to);
            assert_ne!(other, one, "{from}");
            agreement(&other)
        };
        for (from, to) in [
            ("127.0.0.1:5060", "127.0.0.9:5060"),
            (":9060", ":9061"),
            ("pins = 1000", "pins = 2000"),
        ] {
            assert_eq!(with(from, to), this, "{from}");
        }
        for (from, to) in [
            ("0d0e0f", "0d0e10"),
            ("hash_seed = 1", "hash_seed = 2"),
            ("weight = 1", "weight = 2"),
            ("\"b1\"", "\"b2\""),
            ("127.0.0.2:5060", "127.0.0.3:5060"),
            ("[[pool]]\n", "[[pool]]\npolicy = \"round-robin\"\n"),
            ("[admin]", "record_route = false\n[admin]"),
            ("[[route]]\n", "[[route]]\nmethod = [\"INVITE\"]\n"),
        ] {
            assert_ne!(with(from, to), this, "{from}");
        }
    }
}
