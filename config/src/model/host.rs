//! Host names: the same rules for what operators write and for what clients send.

/// Lower-case letters, digits, `-` and `_` in labels of 1 to 63 characters, 253 in all; or an IP address.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    if text.starts_with('[') {
        return text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(is_ipv6);
    }
    !text.is_empty() && text.len() <= 253 && text.split('.').all(is_label)
}

/// A host name with an optional port, as in a `Host` header.
#[must_use]
pub fn is_authority(text: &str) -> bool {
    split_port(text).is_some_and(|(host, _)| is_host_name(&host.to_ascii_lowercase()))
}

/// Splits `host:port`. `None` when the port is not a number up to 65535; an empty port is no port (RFC 9110 §4.2.3).
#[must_use]
pub fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = match authority.rfind(']') {
        Some(bracket) => authority.get(bracket + 1..)?.find(':').map(|at| at + bracket + 1),
        None => authority.find(':'),
    };
    let Some(colon) = colon else { return Some((authority, None)) };
    let (host, port) = (authority.get(..colon)?, authority.get(colon + 1..)?);
    if port.is_empty() {
        return Some((host, None));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    port.parse().ok().map(|port| (host, Some(port)))
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

fn is_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_plain_labels_or_addresses() {
        for good in ["example.com", "a", "127.0.0.1", "[::1]", "x_y.internal"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", ".", "a..b", "-a", "a-", "A", "a b", "a/b", "[::1", "[x]", "a@b", &"a".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn ports_are_split_off_also_behind_brackets() {
        assert_eq!(split_port("a:80"), Some(("a", Some(80))));
        assert_eq!(split_port("a:"), Some(("a", None)));
        assert_eq!(split_port("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split_port("[::1]"), Some(("[::1]", None)));
        assert_eq!(split_port("a:99999"), None);
        assert_eq!(split_port("a:+1"), None);
        assert_eq!(split_port("a:b"), None);
    }
}
