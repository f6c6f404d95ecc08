//! Which addresses may call.

use std::net::IpAddr;

use ipnet::IpNet;

/// Deny stands above allow; an empty allow list allows whoever is not denied. One word where there are no rules, as mostly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AddressRules(Option<Box<Lists>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Lists {
    allow: Box<[IpNet]>,
    deny: Box<[IpNet]>,
}

impl AddressRules {
    pub(super) fn new(allow: &[IpNet], deny: &[IpNet]) -> Self {
        let are_any = !allow.is_empty() || !deny.is_empty();
        Self(are_any.then(|| Box::new(Lists { allow: allow.into(), deny: deny.into() })))
    }

    #[inline]
    pub(super) fn permit(&self, address: IpAddr) -> bool {
        let Some(lists) = &self.0 else { return true };
        // A list that names an IPv4 network means it however the address arrives.
        let address = address.to_canonical();
        let holds = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
        !holds(&lists.deny) && (lists.allow.is_empty() || holds(&lists.allow))
    }

    /// `+` for what is allowed, `-` for what is denied; empty for everybody.
    pub(super) fn in_words(&self) -> String {
        let Some(lists) = &self.0 else { return String::new() };
        let allow = lists.allow.iter().map(|net| format!(" +{net}"));
        allow.chain(lists.deny.iter().map(|net| format!(" -{net}"))).collect()
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
