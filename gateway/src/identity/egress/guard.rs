//! Which addresses the gateway itself may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::Reach;

/// Where clouds give out credentials to whoever asks, beside the link-local 169.254.169.254.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// Listeners of ours that nobody may be sent to: operations and admin API.
    ours: Vec<SocketAddr>,
}

impl Guard {
    pub(super) fn new(ours: Vec<SocketAddr>) -> Self {
        let ours = ours.into_iter().map(|it| SocketAddr::new(plain(it.ip()), it.port()));
        Self { ours: ours.collect() }
    }

    /// Why `address` is no place to connect to.
    pub(super) fn check(&self, address: SocketAddr, reach: Reach) -> Result<(), &'static str> {
        let ip = plain(address.ip());
        let is_link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if is_link_local {
            return Err("it is a link-local address");
        }
        if METADATA.contains(&ip) {
            return Err("it is the address of a cloud's metadata service");
        }
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err("it is not the address of one host");
        }
        if reach == Reach::Public && is_private(ip) {
            return Err("it is a private address");
        }
        if self.ours.iter().any(|ours| is_reached(*ours, ip, address.port())) {
            return Err("the gateway's own operations or the admin API listen there");
        }
        Ok(())
    }
}

/// Not an address of the Internet's.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, third, _] = ip.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            let is_benchmark = first == 198 && (second & 0xfe) == 18;
            let is_assigned = (first, second, third) == (192, 0, 0);
            ip.is_private()
                || ip.is_loopback()
                || ip.is_documentation()
                || first == 0
                || first >= 240
                || is_shared
                || is_benchmark
                || is_assigned
        }
        // Unique local addresses, and the deprecated site-local ones.
        IpAddr::V6(ip) => {
            let [first, ..] = ip.segments();
            ip.is_loopback() || ip.is_unique_local() || (first & 0xffc0) == 0xfec0
        }
    }
}

/// Whether a listener bound to `ours` takes what is sent to this address.
fn is_reached(ours: SocketAddr, ip: IpAddr, port: u16) -> bool {
    ours.port() == port && (ours.ip() == ip || (ours.ip().is_unspecified() && is_local(ip)))
}

/// Whether the address is one of this machine's: only those can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// The address that is reached in the end: IPv4 addresses have several spellings within IPv6.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    match v6.segments() {
        // A NAT64 (RFC 6052) sends it on to the IPv4 address in the last 32 bits, a 6to4 gateway (RFC 3056) to that behind the prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => IpAddr::V4(v4_of(high, low)),
        // The deprecated form ::a.b.c.d.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => IpAddr::V4(v4_of(high, low)),
        _ => ip,
    }
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(guard: &Guard, address: &str) -> bool {
        guard.check(address.parse().unwrap(), Reach::Any).is_err()
    }

    #[test]
    fn link_local_addresses_are_refused_in_every_spelling() {
        let guard = Guard::new(vec![]);
        for bad in [
            "169.254.169.254:80",
            "169.254.0.1:443",
            "[fe80::1]:80",
            "[febf::1]:80",
            "[::ffff:169.254.169.254]:80",
            "[::169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[2002:a9fe:a9fe::1]:80",
            "[fd00:ec2::254]:80",
            "0.0.0.0:80",
            "[::]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
        ] {
            assert!(refused(&guard, bad), "{bad}");
        }
        for good in ["127.0.0.1:80", "[::1]:80", "10.0.0.1:80", "169.253.0.1:80", "[2001:db8::1]:80", "[fec0::1]:80"] {
            assert!(!refused(&guard, good), "{good}");
        }
    }

    #[test]
    fn a_client_sends_us_to_no_private_address_in_any_spelling() {
        let guard = Guard::new(vec![]);
        let refused = |address: &str| guard.check(address.parse().unwrap(), Reach::Public).is_err();
        for bad in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "10.0.0.1:80",
            "172.16.0.1:80",
            "172.31.255.255:80",
            "192.168.1.1:80",
            "100.64.0.1:80",
            "198.18.0.1:80",
            "0.1.2.3:80",
            "240.0.0.1:80",
            "169.254.169.254:80",
            "[::1]:80",
            "[fd12::1]:80",
            "[fec0::1]:80",
            "[::ffff:10.0.0.1]:80",
            "[::10.0.0.1]:80",
            "[64:ff9b::10.0.0.1]:80",
            "[2002:0a00:0001::1]:80",
        ] {
            assert!(refused(bad), "{bad}");
        }
        for good in ["1.1.1.1:443", "172.32.0.1:80", "100.63.0.1:80", "[2606:4700::1111]:443"] {
            assert!(!refused(good), "{good}");
        }
    }

    #[test]
    fn a_listener_on_one_address_is_refused_there_only() {
        let guard = Guard::new(vec!["127.0.0.1:4202".parse().unwrap()]);
        assert!(refused(&guard, "127.0.0.1:4202"));
        assert!(refused(&guard, "[::ffff:127.0.0.1]:4202"));
        assert!(!refused(&guard, "127.0.0.1:4203"));
        assert!(!refused(&guard, "192.0.2.1:4202"));
    }

    #[test]
    fn a_listener_on_all_addresses_is_refused_on_every_address_of_this_machine() {
        for wildcard in ["0.0.0.0:4201", "[::]:4201"] {
            let guard = Guard::new(vec![wildcard.parse().unwrap()]);
            for bad in ["127.0.0.1:4201", "127.8.8.8:4201", "[::1]:4201", "[::ffff:127.0.0.1]:4201"] {
                assert!(refused(&guard, bad), "{bad}");
            }
            // TEST-NET: never an address of this machine.
            assert!(!refused(&guard, "192.0.2.1:4201"));
            assert!(!refused(&guard, "127.0.0.1:80"));
        }
    }
}
