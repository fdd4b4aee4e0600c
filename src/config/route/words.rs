//! Rules as people say them.

use super::RouteConfig;
use crate::config::Config;

impl RouteConfig {
    /// What it wants, and where its requests go then.
    pub fn words(&self) -> String {
        let lists = self.lists();
        let said = lists.iter().filter(|(_, entries)| !entries.is_empty()).map(|(key, entries)| {
            let (before, between) = match *key {
                "method" => ("", " or "),
                "uri_domain" => ("Request-URI at ", " or "),
                "uri_user" => ("Request-URI user begins with ", " or "),
                "from_domain" => ("From at ", " or "),
                "to_domain" => ("To at ", " or "),
                "source" => ("from ", " or "),
                "listener" => ("in on ", " or "),
                _ => ("with header ", " and "),
            };
            format!("{before}{}", entries.join(between))
        });
        let said: Vec<_> = said.collect();
        let wants = if said.is_empty() { "everything".to_owned() } else { said.join(", ") };
        format!("{wants} -> pool {}", self.pool)
    }

    /// How it is referred to: by its name, else by its number, which counts from 1.
    pub fn title(&self, number: usize) -> String {
        match &self.name {
            Some(name) => format!("route {name:?}"),
            None => format!("route {number}"),
        }
    }
}

impl Config {
    /// What comes behind all rules.
    pub fn otherwise(&self) -> String {
        let first = self.pools.first().map_or("", |pool| pool.name.as_str());
        let what = if self.routes.is_empty() { "everything" } else { "everything else" };
        format!("{what} -> pool {first}")
    }
}
