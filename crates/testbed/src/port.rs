//! Ports that are free.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};

/// Below the ports that systems give to outgoing connections: one of those could take the port of a
/// server that is down for a moment, and a client that tries again and again could even meet itself.
const FIRST: u16 = 20_000;
const COUNT: u64 = 12_000;

/// Draws ports until one is free. Somebody else may have it a moment later, so that whoever uses it
/// must be ready to draw again.
pub(crate) fn free() -> u16 {
    let drawn = std::iter::repeat_with(|| RandomState::new().hash_one(FIRST) % COUNT);
    let ports = drawn.filter_map(|offset| u16::try_from(offset).ok()?.checked_add(FIRST));
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().unwrap_or(FIRST)
}
