//! How many connections there may be, in all and from one source.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::watch::{Close, Watch};

/// Limits on connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// From one IPv4 address, or one IPv6 network of 64 bits: that much belongs to one customer.
    pub per_source: usize,
    /// Of these, on which nobody has shown yet who calls: a place costs nothing until then. The oldest one gives way.
    pub unknown_per_source: usize,
}

/// All open connections.
pub(super) struct Admission {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Watch>>,
    by_source: HashMap<IpAddr, Source>,
}

#[derive(Default)]
struct Source {
    all: usize,
    /// Oldest first. Also some whose caller is known by now: they are taken out when there is no room.
    unknown: BTreeSet<u64>,
}

/// One connection's place; given back when dropped.
pub(super) struct Place {
    admission: Arc<Admission>,
    id: u64,
    source: IpAddr,
    /// What the connection owes.
    pub(super) watch: Arc<Watch>,
}

/// No place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The server has as many connections as it may.
    Total,
    /// This source has.
    Source,
}

impl Full {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Total, Self::Source];

    /// For logs and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Total => "too_many_connections",
            Self::Source => "too_many_from_one_source",
        }
    }
}

impl Admission {
    /// No connection is open.
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// Takes a place.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, Full> {
        let source = source(address);
        let mut open = self.open();
        let Open { next, connections, by_source } = &mut *open;
        if connections.len() >= self.limits.total {
            return Err(Full::Total);
        }
        let from_source = by_source.entry(source).or_default();
        if from_source.all >= self.limits.per_source {
            return Err(Full::Source);
        }
        while from_source.unknown.len() >= self.limits.unknown_per_source {
            let oldest = from_source.unknown.pop_first().and_then(|id| connections.get(&id));
            if let Some(oldest) = oldest.filter(|watch| !watch.is_identified()) {
                oldest.close(Close::GaveWay);
            }
        }
        from_source.all += 1;
        let id = *next;
        *next += 1;
        from_source.unknown.insert(id);
        let watch = Arc::new(Watch::new(now));
        connections.insert(id, Arc::clone(&watch));
        drop(open);
        Ok(Place { admission: Arc::clone(self), id, source, watch })
    }

    /// Closes what has passed a deadline.
    pub(super) fn sweep(&self, now: Instant) {
        // A copy: a connection that ends meanwhile needs the lock.
        let watches: Vec<_> = self.open().connections.values().cloned().collect();
        for watch in watches {
            watch.sweep(now);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.open();
        open.connections.remove(&self.id);
        if let Entry::Occupied(mut entry) = open.by_source.entry(self.source) {
            let from_source = entry.get_mut();
            from_source.all -= 1;
            from_source.unknown.remove(&self.id);
            if from_source.all == 0 {
                entry.remove();
            }
        }
    }
}

/// Whom a connection is counted for.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_counted_in_all_and_by_source_and_given_back() {
        let admission =
            Arc::new(Admission::new(ConnectionLimits { total: 3, per_source: 2, unknown_per_source: 2 }));
        let now = Instant::now();
        let (one, two) = (address("192.0.2.1"), address("192.0.2.2"));
        let first = admission.admit(one, now).expect("a place");
        let _second = admission.admit(address("::ffff:192.0.2.1"), now).expect("a place");
        assert_eq!(admission.admit(one, now).err(), Some(Full::Source), "also as IPv6");
        let _third = admission.admit(two, now).expect("another source");
        assert_eq!(admission.admit(two, now).err(), Some(Full::Total));
        drop(first);
        let again = admission.admit(one, now).expect("given back");
        assert_eq!(admission.admit(address("192.0.2.3"), now).err(), Some(Full::Total));
        drop(again);
        assert_eq!(admission.open().by_source.len(), 2, "no entry without a connection");
    }

    #[test]
    fn the_oldest_connection_whose_caller_is_not_known_gives_way() {
        let limits = ConnectionLimits { total: 99, per_source: 99, unknown_per_source: 2 };
        let admission = Arc::new(Admission::new(limits));
        let now = Instant::now();
        let (one, two) = (address("2001:db8::1"), address("2001:db8::2"));
        let mut places: Vec<_> =
            [one, two].iter().map(|it| admission.admit(*it, now).expect("a place")).collect();
        places[0].watch.identified().store(true, std::sync::atomic::Ordering::Relaxed);
        let other = admission.admit(address("2001:db8:0:1::1"), now).expect("another source");
        places.extend([one, two].iter().map(|it| admission.admit(*it, now).expect("a place")));
        let closed: Vec<_> = places.iter().map(|place| place.watch.closing()).collect();
        assert_eq!(closed, [None, Some(Close::GaveWay), None, None], "not the one whose caller is known");
        assert_eq!(other.watch.closing(), None);
        drop(places);
        assert_eq!(admission.open().by_source.len(), 1);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let admission =
            Arc::new(Admission::new(ConnectionLimits { total: 9, per_source: 1, unknown_per_source: 1 }));
        let now = Instant::now();
        let _place = admission.admit(address("2001:db8::1"), now).expect("a place");
        assert_eq!(admission.admit(address("2001:db8::2"), now).err(), Some(Full::Source));
        assert!(admission.admit(address("2001:db8:0:1::1"), now).is_ok());
    }
}
