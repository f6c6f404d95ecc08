//! Which addresses may call.

use std::net::IpAddr;

use ipnet::IpNet;

/// Deny stands above allow; an empty allow list allows whoever is not denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressRules {
    allow: Box<[IpNet]>,
    deny: Box<[IpNet]>,
}

impl AddressRules {
    pub(super) fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        Self { allow: allow.into(), deny: deny.into() }
    }

    #[inline]
    pub(super) fn permit(&self, address: IpAddr) -> bool {
        if self.allow.is_empty() && self.deny.is_empty() {
            return true;
        }
        // A list that names an IPv4 network means it however the address arrives.
        let address = address.to_canonical();
        let holds = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        !holds(&self.deny) && (self.allow.is_empty() || holds(&self.allow))
    }

    /// `+` for what is allowed, `-` for what is denied; empty for everybody.
    pub(super) fn in_words(&self) -> String {
        let allow = self.allow.iter().map(|net| format!(" +{net}"));
        allow.chain(self.deny.iter().map(|net| format!(" -{net}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_stands_above_allow_and_an_empty_allow_list_allows() {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let permits = |allow: &[&str], deny: &[&str], address: &str| {
            AddressRules::new(&nets(allow), &nets(deny)).permit(address.parse().unwrap())
        };
        assert!(permits(&[], &[], "10.0.0.1"));
        assert!(permits(&["10.0.0.0/8"], &[], "10.0.0.1"));
        assert!(permits(&["10.0.0.0/8"], &[], "::ffff:10.0.0.1"));
        assert!(!permits(&["10.0.0.0/8"], &[], "11.0.0.1"));
        assert!(!permits(&["10.0.0.0/8"], &["10.0.0.1/32"], "10.0.0.1"));
        assert!(!permits(&[], &["2001:db8::/32"], "2001:db8::1"));
        assert!(permits(&[], &["2001:db8::/32"], "10.0.0.1"));
    }
}
