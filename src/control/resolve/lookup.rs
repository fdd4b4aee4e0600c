//! One question at the name servers. The only file that names hickory.

use super::record::{Answer, Kind, Question, Record};
use crate::config::DnsConfig;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use std::fs;
use std::time::Duration;

/// Where the machine says who its name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Names that need no server.
const HOSTS: &str = "/etc/hosts";

/// Times that a server is asked before there is no answer.
const ATTEMPTS: usize = 2;

/// Asks the name servers of the config, or those of the machine.
pub(super) struct Resolver {
    resolver: Result<TokioResolver, String>,
    made_of: Sources,
}

/// What a resolver is made of; when it changes there must be another.
#[derive(PartialEq, Eq)]
struct Sources {
    config: DnsConfig,
    resolv_conf: Vec<u8>,
    hosts: Vec<u8>,
}

impl Sources {
    fn read(config: &DnsConfig) -> Self {
        let machine = config.servers.is_empty();
        let resolv_conf =
            if machine { fs::read(RESOLV_CONF).unwrap_or_default() } else { Vec::new() };
        Self { config: config.clone(), resolv_conf, hosts: fs::read(HOSTS).unwrap_or_default() }
    }

    /// # Errors
    /// When no name server is known.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let (servers, mut options) = if self.config.servers.is_empty() {
            parse_resolv_conf(&self.resolv_conf)
                .map_err(|error| format!("{RESOLV_CONF}: {error}; set [dns] servers"))?
        } else {
            let servers = self.config.servers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                server.connections.iter_mut().for_each(|one| one.port = address.port());
                server
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            (config, ResolverOpts::default())
        };
        options.timeout = Duration::from_millis(self.config.timeout_ms);
        options.attempts = ATTEMPTS;
        options.cache_size = 0; // TTLs are ours to keep, failures too
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(servers, provider);
        *builder.options_mut() = options;
        builder.build().map_err(|error| error.to_string())
    }
}

impl Resolver {
    /// By this config and the files of the machine. Without a name server it answers why.
    pub(super) fn new(config: &DnsConfig) -> Self {
        let made_of = Sources::read(config);
        Self { resolver: made_of.resolver(), made_of }
    }

    /// Whether neither the config nor the files have changed.
    pub(super) fn is_of(&self, config: &DnsConfig) -> bool {
        self.made_of == Sources::read(config)
    }

    /// Asks.
    pub(super) async fn ask(&self, question: &Question) -> Answer {
        let kind = match question.kind {
            Kind::Naptr => RecordType::NAPTR,
            Kind::Srv => RecordType::SRV,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
        };
        // `_sip` is no host name, so not by the rules of one.
        match (Name::from_ascii(&question.name), &self.resolver) {
            (Ok(name), Ok(resolver)) => answer(kind, resolver.lookup(name, kind).await),
            (Err(error), _) => Answer::Failed(format!("not a name for DNS: {error}")),
            (_, Err(why)) => Answer::Failed(why.clone()),
        }
    }
}

fn answer(kind: RecordType, result: Result<Lookup, NetError>) -> Answer {
    match result {
        Ok(lookup) => {
            // Aliases on the way count too.
            let ttl_s = lookup.answers().iter().map(|record| record.ttl).min();
            let of_kind = lookup.answers().iter().filter(|record| record.record_type() == kind);
            let records: Vec<_> = of_kind.filter_map(|one| record(&one.data)).collect();
            match (records.is_empty(), ttl_s) {
                (false, Some(ttl_s)) => Answer::Records(records, ttl_s),
                _ => Answer::Nothing(ttl_s),
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Answer::Nothing(none.negative_ttl),
            code => Answer::Failed(code.to_string()),
        },
        Err(error) => Answer::Failed(error.to_string()),
    }
}

fn record(data: &RData) -> Option<Record> {
    Some(match data {
        RData::A(address) => Record::Address(address.0.into()),
        RData::AAAA(address) => Record::Address(address.0.into()),
        RData::SRV(srv) => Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        },
        RData::NAPTR(naptr) if naptr.regexp.is_empty() => Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: naptr.replacement.to_ascii(),
        },
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
