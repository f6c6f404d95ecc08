//! Wrong keys: which were seen a moment ago, and what each address may still cost. Everything here is bounded, and forgotten
//! after a minute or two.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use gateway_config::model::Timestamp;
use parking_lot::Mutex;

/// Of each kind, in each of two generations.
const MOST: usize = 16_384;
const MINUTE_MICROS: i64 = 60_000_000;

/// What was wrong: the digest of a key with its revision, or a prefix whose secret was wrong.
pub(super) type Sign = [u8; 16];

/// Whose keys are counted together: nobody has one IPv6 address alone.
type Sender = u128;

#[derive(Debug)]
pub(super) struct Wrong {
    signs: Mutex<Generations<HashSet<Sign>>>,
    budgets: Mutex<Generations<HashMap<Sender, Budget>>>,
    per_minute: u32,
}

/// The younger is written, both are read; when the younger is full or a minute old, the older is dropped.
#[derive(Debug, Default)]
struct Generations<T> {
    young: T,
    old: T,
    began: Option<Timestamp>,
}

/// A token bucket that is full when it is first seen.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// In millionths of a key and, since a minute has sixty million microseconds, in sixtieths of what a microsecond brings.
    left: i64,
    at: Timestamp,
}

impl<T: Default> Generations<T> {
    fn turn(&mut self, size: impl Fn(&T) -> usize, now: Timestamp) {
        let began = *self.began.get_or_insert(now);
        let age = now.micros().saturating_sub(began.micros());
        if age < MINUTE_MICROS && size(&self.young) < MOST {
            return;
        }
        self.old = std::mem::take(&mut self.young);
        if age >= 2 * MINUTE_MICROS {
            self.old = T::default();
        }
        self.began = Some(now);
    }
}

impl Wrong {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { signs: Mutex::default(), budgets: Mutex::default(), per_minute }
    }

    pub(super) fn remember(&self, sign: Sign, now: Timestamp) {
        let mut signs = self.signs.lock();
        signs.turn(HashSet::len, now);
        signs.young.insert(sign);
    }

    pub(super) fn remembers(&self, sign: &Sign, now: Timestamp) -> bool {
        let mut signs = self.signs.lock();
        signs.turn(HashSet::len, now);
        signs.young.contains(sign) || signs.old.contains(sign)
    }

    /// Takes one key out of what the address may cost; `false` when nothing is left.
    pub(super) fn charge(&self, address: IpAddr, now: Timestamp) -> bool {
        self.change(
            address,
            now,
            |left| if left >= MINUTE_MICROS { (left - MINUTE_MICROS, true) } else { (left, false) },
        )
    }

    /// It was a good one after all.
    pub(super) fn refund(&self, address: IpAddr, now: Timestamp) {
        self.change(address, now, |left| (left.saturating_add(MINUTE_MICROS), true));
    }

    fn change(&self, address: IpAddr, now: Timestamp, change: impl Fn(i64) -> (i64, bool)) -> bool {
        let sender = sender(address);
        let full = i64::from(self.per_minute).saturating_mul(MINUTE_MICROS);
        let mut budgets = self.budgets.lock();
        budgets.turn(HashMap::len, now);
        let known = budgets.young.get(&sender).or_else(|| budgets.old.get(&sender)).copied();
        let Budget { left, at } = known.unwrap_or(Budget { left: full, at: now });
        let passed = now.micros().saturating_sub(at.micros()).clamp(0, MINUTE_MICROS);
        let refilled = left.saturating_add(passed.saturating_mul(i64::from(self.per_minute))).min(full);
        let (left, is_granted) = change(refilled);
        budgets.young.insert(sender, Budget { left: left.min(full), at: at.max(now) });
        is_granted
    }
}

fn sender(address: IpAddr) -> Sender {
    match address.to_canonical() {
        IpAddr::V4(four) => u128::from(four.to_bits()),
        // The upper half is never zero where packets come from, so no two kinds meet.
        IpAddr::V6(six) => six.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_795_000_000_000_000 + seconds * 1_000_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_wrong_key_is_remembered_for_a_minute_or_two() {
        let wrong = Wrong::new(30);
        wrong.remember([1; 16], at(0));
        assert!(wrong.remembers(&[1; 16], at(59)) && !wrong.remembers(&[2; 16], at(59)));
        assert!(wrong.remembers(&[1; 16], at(61)));
        assert!(!wrong.remembers(&[1; 16], at(200)));
    }

    #[test]
    fn no_flood_makes_it_grow() {
        let wrong = Wrong::new(30);
        for number in 0..u32::try_from(MOST).unwrap() * 5 {
            let mut sign = [0; 16];
            sign[..4].copy_from_slice(&number.to_le_bytes());
            wrong.remember(sign, at(0));
            wrong.charge(IpAddr::from(number.to_be_bytes()), at(0));
        }
        assert!(wrong.signs.lock().young.len() <= MOST && wrong.signs.lock().old.len() <= MOST);
        assert!(wrong.budgets.lock().young.len() <= MOST && wrong.budgets.lock().old.len() <= MOST);
    }

    #[test]
    fn an_address_may_cost_only_so_much_and_earns_it_back() {
        let wrong = Wrong::new(3);
        let (eve, bob) = (address("192.0.2.1"), address("192.0.2.2"));
        let spent = |who, second| (0..10).filter(|_| wrong.charge(who, at(second))).count();
        assert_eq!(spent(eve, 0), 3);
        assert_eq!(spent(bob, 0), 3, "another address has a budget of its own");
        assert_eq!(spent(eve, 19), 0);
        assert_eq!(spent(eve, 20), 1, "three a minute are one in twenty seconds");
        assert_eq!(spent(eve, 1000), 3, "but never more than three");
        wrong.refund(eve, at(1000));
        assert_eq!(spent(eve, 1000), 1);
        assert_eq!(spent(eve, 999), 0, "a clock that goes back brings nothing");
    }

    #[test]
    fn one_network_of_ipv6_has_one_budget() {
        let wrong = Wrong::new(2);
        assert!(wrong.charge(address("2001:db8:0:1::1"), at(0)));
        assert!(wrong.charge(address("2001:db8:0:1:ffff::9"), at(0)));
        assert!(!wrong.charge(address("2001:db8:0:1::2"), at(0)));
        assert!(wrong.charge(address("2001:db8:0:2::1"), at(0)));
        assert!(wrong.charge(address("::ffff:192.0.2.1"), at(0)) && wrong.charge(address("192.0.2.1"), at(0)));
        assert!(!wrong.charge(address("::ffff:192.0.2.1"), at(0)), "the same address in two writings");
    }
}
