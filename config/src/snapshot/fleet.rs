//! What holds for the whole fleet, compiled: limits, addresses, headers and sizes.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::address::AddressRules;
use super::checks;
use super::cors::CompiledCors;
use super::limit::CompiledLimit;
use super::problems::Problems;
use crate::model::Defaults;

#[derive(Debug)]
pub struct CompiledDefaults {
    pub source: Arc<Defaults>,
    pub limits: Vec<Arc<CompiledLimit>>,
    pub cors: Option<Arc<CompiledCors>>,
    /// On every answer that does not say otherwise.
    pub security_headers: Vec<(HeaderName, HeaderValue)>,
    /// On every answer over TLS.
    pub tls_headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) address: AddressRules,
}

impl CompiledDefaults {
    pub(super) fn compile(source: &Arc<Defaults>, problems: &mut Problems) -> Self {
        checks::defaults(source, problems);
        let cors = source.cors.as_ref();
        let mut security_headers = Vec::new();
        for (name, value) in &source.security_headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => security_headers.push((name, value)),
                _ => problems.add(&format!("securityHeaders/{name}"), "is not a header"),
            }
        }
        // Over plain HTTP it means nothing (RFC 6797 §7.2), and a browser would ignore it.
        let (tls_headers, security_headers) =
            security_headers.into_iter().partition(|(name, _)| *name == header::STRICT_TRANSPORT_SECURITY);
        Self {
            source: source.clone(),
            limits: CompiledLimit::all("defaults", &source.limits),
            cors: cors.map(|it| Arc::new(problems.within("cors", |problems| CompiledCors::compile(it, problems)))),
            security_headers,
            tls_headers,
            address: AddressRules::new(&source.ip_allow, &source.ip_deny),
        }
    }
}
