//! Places for connections: so many in all, and so many for one source, so that nobody takes all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;

use crate::relay::Source;

/// How many connections there may be, and how many there are.
pub(super) struct Places {
    max: usize,
    max_per_source: usize,
    exempt: Vec<IpNet>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only sources that have a connection are in it: no more than there are connections.
    sources: HashMap<Source, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken.
    Cap,
    /// Its source has as many as it may.
    Source,
}

/// One connection's place, free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// None for a source that is not counted.
    source: Option<Source>,
}

impl Places {
    /// Sources in `exempt` are counted in all, but not one by one.
    pub(super) fn new(max: usize, max_per_source: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { max, max_per_source, exempt, taken: Mutex::default() })
    }

    /// A place for a connection from this address, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let address = address.to_canonical();
        let exempt = self.exempt.iter().any(|net| net.contains(&address));
        let source = (!exempt).then(|| Source::of(address));
        let mut taken = self.taken();
        let of_source = source.and_then(|source| taken.sources.get(&source)).copied().unwrap_or(0);
        if taken.all >= self.max {
            return Err(NoPlace::Cap);
        }
        if of_source >= self.max_per_source {
            return Err(NoPlace::Source);
        }
        taken.all += 1;
        if let Some(source) = source {
            taken.sources.insert(source, of_source + 1);
        }
        Ok(Place { places: self.clone(), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(source) = self.source else {
            return;
        };
        match taken.sources.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.sources.remove(&source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_in_all() {
        let places = Places::new(2, 9, vec!["10.0.0.0/8".parse().unwrap()]);
        let first = places.take(ip("192.0.2.1"));
        let second = places.take(ip("10.0.0.1"));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(places.take(ip("192.0.2.3")).err(), Some(NoPlace::Cap));
        assert!(places.take(ip("10.0.0.2")).is_err(), "the exempt need a place too");
        drop(second);
        assert!(places.take(ip("192.0.2.3")).is_ok());
    }

    #[test]
    fn so_many_for_a_source() {
        let places = Places::new(9, 2, vec!["10.0.0.0/8".parse().unwrap()]);
        for (same, other) in [
            (["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"),
            (["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::"], "2001:db8:1:3::1"),
        ] {
            let [first, second, third] = same.map(|address| places.take(ip(address)));
            assert!(first.is_ok() && second.is_ok(), "{same:?}");
            assert_eq!(third.err(), Some(NoPlace::Source), "{same:?}");
            assert!(places.take(ip(other)).is_ok());
            drop(first);
            assert!(places.take(ip(same[2])).is_ok());
        }
        let exempt = ["10.1.1.1"; 5].map(|address| places.take(ip(address)));
        assert!(exempt.iter().all(Result::is_ok));
        drop(exempt);
        assert!(places.taken().sources.is_empty() && places.taken().all == 0, "nothing is kept of who left");
    }
}
