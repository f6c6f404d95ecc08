//! A service compiled: its versions that can serve, and for each the set of instances behind it.

use std::sync::Arc;

use super::problems::Problems;
use super::upstream::UpstreamUrl;
use crate::model::{Algorithm, Id, Protocol, Service, ServiceVersion, Timeouts};

#[derive(Debug)]
pub struct CompiledService {
    pub source: Arc<Service>,
    /// Those that are active and have somewhere to go, in the order of the configuration.
    pub versions: Vec<CompiledVersion>,
    /// Behind `defaultUrl`.
    pub default_cluster: Option<Arc<Cluster>>,
    /// Behind `fallbackUrl`.
    pub fallback: Option<Arc<Cluster>>,
    pub(super) sticky_seed: u64,
    // What every request asks of the service stands here again, as in a route.
    /// Active, and not under maintenance.
    pub(super) is_open: bool,
    pub(super) has_versions: bool,
    pub(super) timeouts: Timeouts,
}

#[derive(Debug)]
pub struct CompiledVersion {
    pub name: Arc<str>,
    pub api_version: Box<str>,
    pub weight: u16,
    pub cluster: Arc<Cluster>,
    pub(super) sticky_seed: u64,
}

/// A set of instances that serve alike.
#[derive(Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The same for the same set, over reloads and restarts: what runs for a cluster is kept under it.
    pub key: ClusterKey,
    pub service: Id<Service>,
    pub instances: Vec<UpstreamInstance>,
    pub algorithm: Algorithm,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamInstance {
    pub url: UpstreamUrl,
    /// Never 0: an instance of weight 0 is left out.
    pub weight: u16,
}

/// A hash of all that a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterKey(pub u128);

const MAX_WEIGHT: u16 = 1000;
const MAX_RETRIES: u8 = 10;

impl CompiledService {
    pub(super) fn compile(source: &Arc<Service>, problems: &mut Problems) -> Self {
        check(source, problems);
        let cluster = |label: &str, instances: Vec<UpstreamInstance>| Cluster::new(source, label, instances);
        let single = |url: &Option<String>, label: &str, problems: &mut Problems| {
            let parsed = url.as_ref().and_then(|url| parse_url(url, source.protocol, label, problems))?;
            Some(cluster(label, vec![UpstreamInstance { url: parsed, weight: 1 }]))
        };
        let default_cluster = single(&source.default_url, "defaultUrl", problems);
        let fallback = single(&source.fallback_url, "fallbackUrl", problems);
        let mut versions = Vec::new();
        for (at, version) in source.versions.iter().enumerate() {
            let instances = problems.within(&format!("versions/{at}"), |problems| {
                check_version(version, problems);
                instances(version, source, problems)
            });
            if version.is_active && !instances.is_empty() {
                versions.push(CompiledVersion {
                    name: version.version.as_str().into(),
                    api_version: version.api_version().into(),
                    weight: version.weight,
                    cluster: cluster(&version.version, instances),
                    sticky_seed: sticky_hash(&[&version.version]),
                });
            }
        }
        Self {
            source: source.clone(),
            versions,
            default_cluster,
            fallback,
            sticky_seed: sticky_hash(&[&source.service_name]),
            is_open: source.is_active && source.maintenance.is_none(),
            has_versions: !source.versions.is_empty(),
            timeouts: source.timeouts.clone(),
        }
    }

    /// A service without versions ignores pins.
    #[must_use]
    pub fn has_versions(&self) -> bool {
        self.has_versions
    }

    /// Some version serves this API version.
    #[must_use]
    pub(super) fn serves(&self, api_version: &str) -> bool {
        self.versions.iter().any(|version| *version.api_version == *api_version)
    }

    /// Every cluster that requests to this service may be sent to.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.versions.iter().map(|version| &version.cluster).chain(&self.default_cluster).chain(&self.fallback)
    }
}

impl Cluster {
    fn new(service: &Service, label: &str, mut instances: Vec<UpstreamInstance>) -> Arc<Self> {
        let algorithm = service.load_balancing.algorithm;
        if algorithm != Algorithm::Weighted {
            for instance in &mut instances {
                instance.weight = 1;
            }
        }
        let mut hasher = blake3::Hasher::new();
        for part in [service.service_name.as_str(), label] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        // What decides how instances are connected to belongs to the key; what a request brings along (timeouts) does not.
        hasher.update(format!("{:?}", (algorithm, &instances, service.protocol, &service.tls)).as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Arc::new(Self { key: ClusterKey(u128::from_le_bytes(key)), service: service.id, instances, algorithm })
    }
}

fn check(service: &Service, problems: &mut Problems) {
    let name = &service.service_name;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) {
        problems.add("serviceName", format!("\"{name}\" is not 1 to 63 lower-case letters, digits and dashes"));
    }
    for (at, version) in service.versions.iter().enumerate() {
        if service.versions.iter().take(at).any(|other| other.version == version.version) {
            problems.add(&format!("versions/{at}/version"), format!("there are two versions \"{}\"", version.version));
        }
    }
    if let Some(current) = &service.current_version
        && !service.versions.iter().any(|version| version.version == *current)
    {
        problems.add("currentVersion", format!("there is no version \"{current}\""));
    }
    if let Some(maintenance) = &service.maintenance
        && !(400..=599).contains(&maintenance.status_code)
    {
        problems.add("maintenance/statusCode", "must be from 400 to 599");
    }
    if service.retries.attempts > MAX_RETRIES {
        problems.add("retries/attempts", format!("must be at most {MAX_RETRIES}"));
    }
    if service.retries.budget_percent > 100 {
        problems.add("retries/budgetPercent", "must be at most 100");
    }
    if service.max_concurrent == Some(0) {
        problems.add("maxConcurrent", "must be at least 1; to switch the service off use isActive");
    }
    if service.ejection.as_ref().is_some_and(|ejection| ejection.max_percent > 100) {
        problems.add("ejection/maxPercent", "must be at most 100");
    }
    if let Some(health) = &service.health_check {
        if !health.path.starts_with('/') || health.path.parse::<http::uri::PathAndQuery>().is_err() {
            problems.add("healthCheck/path", "must be a path that begins with a slash");
        }
        if health.interval_ms == 0 || health.timeout_ms == 0 || health.healthy_after == 0 || health.unhealthy_after == 0
        {
            problems.add("healthCheck", "its numbers must be at least 1");
        }
    }
    if let Some(sni) = &service.tls.sni
        && !crate::model::host::is_host_name(sni)
    {
        problems.add("tls/sni", format!("\"{sni}\" is not a host name"));
    }
    if service.tls.ca.as_ref().is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
        problems.add("tls/ca", "holds no PEM certificate");
    }
    if service.tls.client_certificate.is_some() {
        // Kept out until gateways resolve secrets: connecting without it would be another thing than was asked for.
        problems.add("tls/clientCertificate", "client certificates are not presented yet by this version");
    }
    super::checks::timeouts(&service.timeouts, problems);
}

fn check_version(version: &ServiceVersion, problems: &mut Problems) {
    for (field, name) in [("version", Some(&version.version)), ("apiVersion", version.api_version.as_ref())] {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        // Clients take a dot alone, or two, out of a path.
        let is_dots = |name: &str| name == "." || name == "..";
        if let Some(name) = name
            && (!(1..=63).contains(&name.len()) || !name.bytes().all(plain) || is_dots(name))
        {
            problems.add(field, format!("\"{name}\" is not 1 to 63 letters, digits and -._~"));
        }
    }
    if version.weight > MAX_WEIGHT {
        problems.add("weight", format!("must be at most {MAX_WEIGHT}"));
    }
    if !version.instances.is_empty() {
        if version.instances.iter().all(|instance| instance.weight == 0) {
            problems.add("instances", "their weights add up to nothing");
        }
        for (at, instance) in version.instances.iter().enumerate() {
            if instance.weight > MAX_WEIGHT {
                problems.add(&format!("instances/{at}/weight"), format!("must be at most {MAX_WEIGHT}"));
            }
        }
        if version.url.is_some() {
            problems.add("url", "give either url or instances");
        }
    } else if version.url.is_none() {
        problems.add("url", "a version needs a url or instances");
    }
}

fn instances(version: &ServiceVersion, service: &Service, problems: &mut Problems) -> Vec<UpstreamInstance> {
    if version.instances.is_empty() {
        let url = version.url.as_ref().and_then(|url| parse_url(url, service.protocol, "url", problems));
        return url.map(|url| UpstreamInstance { url, weight: 1 }).into_iter().collect();
    }
    let mut found: Vec<UpstreamInstance> = Vec::new();
    for (at, instance) in version.instances.iter().enumerate() {
        let field = format!("instances/{at}/url");
        let Some(url) = parse_url(&instance.url, service.protocol, &field, problems) else { continue };
        if found.iter().any(|other| other.url.is_same_place(&url)) {
            problems.add(&field, "this instance stands twice; give it a weight instead");
        } else if instance.weight > 0 {
            found.push(UpstreamInstance { url, weight: instance.weight });
        }
    }
    found
}

fn parse_url(text: &str, protocol: Protocol, field: &str, problems: &mut Problems) -> Option<UpstreamUrl> {
    match UpstreamUrl::parse(text) {
        Err(why) => {
            problems.add(field, why);
            None
        }
        Ok(url) => {
            if protocol == Protocol::H2c && url.tls {
                problems.add(field, "protocol h2c is without TLS: write http://, or choose http2");
            }
            if protocol == Protocol::Http2 && !url.tls {
                problems.add(field, "protocol http2 is over TLS: write https://, or choose h2c");
            }
            Some(url)
        }
    }
}

/// A hash that is the same in every build and on every node, so that a caller stays on its side of a canary whichever
/// gateway it meets: FNV-1a, whose weak upper bits are mixed by whoever uses it.
pub(super) fn sticky_hash(parts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
