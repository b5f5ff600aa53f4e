//! Which addresses of this machine are offered to the other side.

use std::net::IpAddr;

use if_addrs::Interface;

/// The addresses to offer: those of networks, and of the machine itself only if that is wanted or there are no others.
pub(super) fn own(loopback: bool) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let up = interfaces.iter().filter(|interface| interface.is_oper_up() || interface.is_loopback());
    choose(up.map(Interface::ip).collect(), loopback)
}

fn choose(mut addresses: Vec<IpAddr>, loopback: bool) -> Vec<IpAddr> {
    // Addresses of one link (fe80::, 169.254) name no interface to the other side; that of nothing is none.
    addresses.retain(|address| match address {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local() && !v6.is_unspecified(),
    });
    if !loopback && addresses.iter().any(|address| !address.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    addresses.sort();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(addresses: &[&str], loopback: bool) -> Vec<String> {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        choose(addresses, loopback).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn loopback_is_offered_if_asked_or_alone() {
        let all = ["127.0.0.1", "::1", "192.0.2.7", "2001:db8::7", "fe80::7", "169.254.1.7", "192.0.2.7"];
        assert_eq!(chosen(&all, false), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(chosen(&all, true), ["127.0.0.1", "192.0.2.7", "::1", "2001:db8::7"]);
        assert_eq!(chosen(&["127.0.0.1", "fe80::7"], false), ["127.0.0.1"]);
        assert_eq!(chosen(&[], false), [""; 0]);
    }
}
