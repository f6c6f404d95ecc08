//! Limits as a request meets them: which of them count it, and under whose name. Counting itself needs state and is the gateway's.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::caller::Verified;
use super::service::sticky_hash;
use crate::model::{ApiKey, Id, Limit, LimitBy, OnStoreError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledLimit {
    /// Of its owner and its place there: what was counted survives a reload under it, also when the numbers are edited.
    pub id: u64,
    /// As `RateLimit-Policy` calls it: a structured field's string without its quotes, in which nothing needs to be escaped.
    pub name: Arc<str>,
    pub requests: u32,
    pub per_seconds: u32,
    /// How many may come at once; at least 1.
    pub burst: u32,
    pub by: LimitBy,
    pub shared: bool,
    pub on_store_error: OnStoreError,
}

/// One limit that counts a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    pub limit: Arc<CompiledLimit>,
    pub who: Who,
}

/// Those of one group. A request is counted by all of them or by none.
pub type Counters = SmallVec<[Counter; 4]>;

/// Under whose name a limit counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    All,
    /// An IPv6 address stands for its /64: whoever has one address has them all.
    Address(IpAddr),
    Application(Arc<str>),
    Key(Id<ApiKey>),
    /// The issuer's name, and the subject there.
    Subject(Arc<str>, SmolStr),
}

impl CompiledLimit {
    /// The limits of `owner`, such as `routes/orders`.
    pub(super) fn all(owner: &str, limits: &[Limit]) -> Vec<Arc<Self>> {
        limits.iter().enumerate().map(|(at, limit)| Arc::new(Self::new(owner, at, limit))).collect()
    }

    fn new(owner: &str, at: usize, limit: &Limit) -> Self {
        Self {
            id: sticky_hash(&[owner, &at.to_string(), word(limit.by)]),
            name: name(owner, at).into(),
            requests: limit.requests.max(1),
            per_seconds: limit.per_seconds.max(1),
            burst: limit.burst.unwrap_or(limit.requests).max(1),
            by: limit.by,
            shared: limit.shared,
            on_store_error: limit.on_store_error,
        }
    }

    /// So many a minute, of a whitelist entry: the one at `at` among those of one path.
    pub(super) fn a_minute(owner: &str, at: usize, requests: u32) -> Arc<Self> {
        let limit = Limit {
            requests,
            per_seconds: 60,
            burst: None,
            by: LimitBy::Application,
            shared: false,
            on_store_error: OnStoreError::Local,
        };
        Arc::new(Self::new(owner, at, &limit))
    }

    /// Counted before anybody's credentials are looked at.
    #[must_use]
    pub fn is_early(&self) -> bool {
        matches!(self.by, LimitBy::Ip | LimitBy::Global)
    }
}

/// `routes/orders` and 0 give `orders-1`: short, and within what a structured field's string may hold.
fn name(owner: &str, at: usize) -> String {
    let own = owner.split_once('/').map_or(owner, |(_, name)| name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    format!("{}-{}", own.chars().map(plain).collect::<String>(), at + 1)
}

fn word(by: LimitBy) -> &'static str {
    match by {
        LimitBy::Global => "global",
        LimitBy::Application => "application",
        LimitBy::Key => "key",
        LimitBy::Subject => "subject",
        LimitBy::Ip => "ip",
    }
}

/// The limits of the address and global group.
pub(super) fn early(limits: &[Arc<CompiledLimit>], address: IpAddr, counters: &mut Counters) {
    for limit in limits.iter().filter(|limit| limit.is_early()) {
        let who = if limit.by == LimitBy::Ip { Who::address(address) } else { Who::All };
        counters.push(Counter { limit: limit.clone(), who });
    }
}

impl Who {
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(six) => six
                .to_ipv4_mapped()
                .map_or_else(|| Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(), IpAddr::V4),
        })
    }

    /// Who is meant by `by`; whoever has no such name goes by the next wider one, in the end by the address, so that no
    /// limit is escaped by leaving something out.
    pub(super) fn of(by: LimitBy, caller: Option<&Verified>, address: IpAddr) -> Self {
        let Some(caller) = caller else {
            return if by == LimitBy::Global { Self::All } else { Self::address(address) };
        };
        let application = || caller.application.as_ref().map(|it| Self::Application(it.name.clone()));
        let key = || caller.key.map(Self::Key);
        let subject = || {
            let token = caller.token.as_ref()?;
            Some(Self::Subject(token.issuer.clone(), token.subject.clone()?))
        };
        let named = match by {
            LimitBy::Global => Some(Self::All),
            LimitBy::Ip => None,
            LimitBy::Application => application().or_else(subject),
            LimitBy::Key => key().or_else(subject).or_else(application),
            LimitBy::Subject => subject().or_else(key).or_else(application),
        };
        named.unwrap_or_else(|| Self::address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_for_its_network_and_a_mapped_one_for_the_ipv4_one() {
        let who = |text: &str| Who::address(text.parse().unwrap());
        assert_eq!(who("2001:db8:1:2:3::4"), who("2001:db8:1:2::"));
        assert_ne!(who("2001:db8:1:2::"), who("2001:db8:1:3::"));
        assert_eq!(who("::ffff:10.0.0.1"), who("10.0.0.1"));
    }

    #[test]
    fn a_limit_keeps_its_id_when_its_numbers_change_and_not_when_its_place_does() {
        let limit = |requests, by| Limit {
            requests,
            per_seconds: 1,
            burst: None,
            by,
            shared: false,
            on_store_error: OnStoreError::Local,
        };
        let id = |owner, limits: &[Limit]| CompiledLimit::all(owner, limits).last().unwrap().id;
        let one = id("routes/a", &[limit(1, LimitBy::Ip)]);
        assert_eq!(one, id("routes/a", &[limit(2, LimitBy::Ip)]));
        assert_ne!(one, id("routes/b", &[limit(1, LimitBy::Ip)]));
        assert_ne!(one, id("routes/a", &[limit(1, LimitBy::Key)]));
        assert_ne!(one, id("routes/a", &[limit(1, LimitBy::Ip), limit(1, LimitBy::Ip)]));
    }
}
