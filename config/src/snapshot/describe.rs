//! A snapshot in words: what golden files and people compare.

use std::fmt::Write;
use std::sync::Arc;

use super::route::{CompiledRoute, Methods};
use super::routing::{Hosts, Node};
use super::service::Cluster;
use super::{Snapshot, Table};
use crate::model::Target;

impl Snapshot {
    /// The routing table and the services as text, in an order of its own that does not depend on how they came to be.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut out = String::new();
        self.hosts.describe(&mut out);
        for (name, service) in sorted(&self.services) {
            let state = if service.source.is_active { "" } else { " (inactive)" };
            line(&mut out, &format!("service {name}{state}"));
            for version in &service.versions {
                let header = format!("  version {} of {} weight {}", version.name, version.api_version, version.weight);
                line(&mut out, &format!("{header} -> {}", instances(&version.cluster)));
            }
            for (label, cluster) in [("default", &service.default_cluster), ("fallback", &service.fallback)] {
                if let Some(cluster) = cluster {
                    line(&mut out, &format!("  {label} -> {}", instances(cluster)));
                }
            }
        }
        for (name, names) in sorted(&self.referrers) {
            line(
                &mut out,
                &format!(
                    "used {name} by {}",
                    sorted(names).iter().map(|(name, ())| *name).collect::<Vec<_>>().join(", ")
                ),
            );
        }
        out
    }
}

impl Hosts {
    fn describe(&self, out: &mut String) {
        let hosts = |table, prefix: &'static str| {
            sorted::<Arc<Node>>(table).into_iter().map(move |(host, root)| (format!("{prefix}{host}"), root))
        };
        let roots = hosts(&self.exact, "").chain(hosts(&self.wildcard, "*."));
        for (host, root) in roots.chain([("any".to_owned(), &self.any)]) {
            line(out, &format!("host {host}"));
            root.describe("", out);
        }
    }
}

impl Node {
    fn describe(&self, path: &str, out: &mut String) {
        for route in &self.ends {
            line(out, &format!("  {path} {}", route.describe()));
        }
        for (literal, node) in sorted(&self.literals) {
            node.describe(&format!("{path}/{literal}"), out);
        }
        if let Some(named) = &self.named {
            named.describe(&format!("{path}/{{}}"), out);
        }
        for route in &self.rest {
            line(out, &format!("  {path}/{{*}} {}", route.describe()));
        }
    }
}

impl CompiledRoute {
    fn describe(&self) -> String {
        let methods = match &self.methods {
            Methods::Any => "any method".to_owned(),
            only @ Methods::Only { .. } => only.iter().map(http::Method::as_str).collect::<Vec<_>>().join("|"),
        };
        let conditions = match self.conditions.len() {
            0 => String::new(),
            count => format!(" if {count} hold"),
        };
        let target = match &self.source.target {
            Target::Service(name) => format!("service {name}"),
            Target::Queue(name) => format!("queue {name}"),
            Target::Redirect(redirect) => format!("redirect {} {}", redirect.status_code, redirect.location),
            Target::Respond(respond) => format!("respond {}", respond.status_code),
            Target::Channel(_) => "channel".to_owned(),
            Target::Aggregate(_) => "aggregate".to_owned(),
        };
        let rewrite = self.source.rewrite.as_ref().map(|to| format!(" as {to}")).unwrap_or_default();
        format!("[{methods}{conditions}] {} priority {} -> {target}{rewrite}", self.source.name, self.source.priority)
    }
}

fn instances(cluster: &Cluster) -> String {
    let one = |it: &super::UpstreamInstance| {
        let scheme = if it.url.tls { "https" } else { "http" };
        format!("{scheme}://{}{} x{}", it.url.authority, it.url.base_path, it.weight)
    };
    cluster.instances.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn sorted<V: Clone>(table: &Table<V>) -> Vec<(&str, &V)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    entries
}

fn line(out: &mut String, text: &str) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{text}");
}
