//! Backends' URLs, taken apart once.

use http::Uri;

use crate::model::host;

/// `http://host:port/base`. Requests go to `base` followed by their path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamUrl {
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: Box<str>,
    pub port: u16,
    /// Without its trailing slash; empty for none.
    pub base_path: Box<str>,
    /// As in a `Host` header.
    pub authority: Box<str>,
}

impl UpstreamUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("\"{}\" {why}", without_userinfo(text));
        let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?.as_str().to_ascii_lowercase();
        if authority.contains('@') {
            return Err(wrong("must not carry a user or a password"));
        }
        let (name, port) = host::split_port(&authority).ok_or_else(|| wrong("has no valid port"))?;
        if !host::is_host_name(name) {
            return Err(wrong("names no valid host"));
        }
        if port == Some(0) {
            return Err(wrong("has no valid port"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("must not have a query or a fragment"));
        }
        let path =
            super::path::normalise(uri.path().as_bytes()).map_err(|why| wrong(&format!("has a bad path: {why}")))?;
        Ok(Self {
            tls,
            host: name.trim_matches(['[', ']']).into(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            base_path: path.trim_end_matches('/').into(),
            authority: authority.clone().into(),
        })
    }

    /// However it is written: `http://a` and `http://a:80/` are one place.
    #[must_use]
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let place = |url: &Self| (url.tls, url.port);
        place(self) == place(other) && self.host == other.host && self.base_path == other.base_path
    }
}

/// A password written into a URL must not come back in an error.
fn without_userinfo(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", text.get(..scheme).unwrap_or_default(), text.get(at..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = UpstreamUrl::parse("https://API.example.com/base/").unwrap();
        assert_eq!((url.tls, &*url.host, url.port), (true, "api.example.com", 443));
        assert_eq!((&*url.base_path, &*url.authority), ("/base", "api.example.com"));
        let url = UpstreamUrl::parse("http://[::1]:7200").unwrap();
        assert_eq!((&*url.host, url.port, &*url.base_path), ("::1", 7200, ""));
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_passwords() {
        for bad in
            ["", "x", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://a/?q", "http://a b", "http://a/%2f"]
        {
            assert!(UpstreamUrl::parse(bad).is_err(), "{bad}");
        }
        let error = UpstreamUrl::parse("http://user:canary@host").unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
}
