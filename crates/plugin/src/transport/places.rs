//! The connections that may be open at once, and whose they may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// kube-apiserver opens one connection for each KMS entry, and a host runs one API server: a handful, or a few dozen
/// while configurations are reloaded. 1,024 is far above that and above the 500 that the tests open, and bounds
/// memory: about 30 KiB for each connection in h2 and here make 30 MiB.
const ALL: usize = 1024;
/// What users other than root and our own may have together; the rest is kept for those two, because kube-apiserver is one of
/// them.
const OTHERS: usize = 512;
/// What one of those others may have: an API server that runs under a user of its own needs a few dozen.
const EACH_OTHER: usize = 128;

/// Counts open connections.
#[derive(Debug)]
pub(super) struct Places {
    own_uid: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    others: HashMap<u32, usize>,
}

/// One place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    /// All free.
    pub(super) fn new(own_uid: u32) -> Self {
        Self { own_uid, taken: Mutex::default() }
    }

    /// A place for this user, or why there is none.
    pub(super) fn take(self: &Arc<Self>, uid: u32) -> Result<Place, String> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= ALL {
            return Err(format!("{ALL} are open already"));
        }
        if self.is_other(uid) {
            let of_others: usize = taken.others.values().sum();
            let own = taken.others.get(&uid).copied().unwrap_or_default();
            if own >= EACH_OTHER {
                return Err(format!("{EACH_OTHER} of this user are open already"));
            }
            if of_others >= OTHERS {
                return Err(format!("{OTHERS} of users other than root are open already"));
            }
            taken.others.insert(uid, own + 1);
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), uid })
    }

    fn is_other(&self, uid: u32) -> bool {
        uid != 0 && uid != self.own_uid
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.others.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.others.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 7;

    fn fill(places: &Arc<Places>, uid: u32) -> Vec<Place> {
        std::iter::from_fn(|| places.take(uid).ok()).collect()
    }

    #[test]
    fn one_user_gets_a_part_and_all_others_together_leave_room_for_root_and_our_own() {
        let places = Arc::new(Places::new(OWN));
        let one = fill(&places, 1000);
        assert_eq!(one.len(), EACH_OTHER);
        assert_eq!(fill(&places, 1001).len(), EACH_OTHER, "the next user is not hurt, and gives back");
        let more: Vec<Place> = (1001..2000).flat_map(|uid| fill(&places, uid)).collect();
        assert_eq!(one.len() + more.len(), OTHERS);
        let own = fill(&places, OWN);
        assert_eq!(own.len(), ALL - OTHERS);
        drop(own);
        let root = fill(&places, 0);
        assert_eq!(root.len(), ALL - OTHERS);

        drop(one);
        assert_eq!(fill(&places, 1000).len(), EACH_OTHER, "what is given back can be had again");
        drop((more, root));
        assert_eq!(fill(&places, 0).len(), ALL, "nothing is kept from root");
    }
}
