//! The checks, one file for each area. A file begins with its list; the functions that judge follow in its order.

mod authority;
mod hostile;
mod outage;
mod peer;
mod restart;
mod rotation;
mod rotation_scene;
mod socket;
mod v1;
mod v2_decrypt;
mod v2_encrypt;
mod v2_load;
mod v2_status;

use crate::check::Check;

pub(crate) use outage::Outage;
pub(crate) use restart::Restart;
pub(crate) use rotation_scene::Rotation;

/// In the order in which they run. What may leave the plugin stopped comes last.
pub(crate) const ALL: &[&[Check]] = &[
    socket::CHECKS,
    authority::CHECKS,
    v2_status::CHECKS,
    v2_encrypt::CHECKS,
    v2_decrypt::CHECKS,
    v2_load::CHECKS,
    v1::CHECKS,
    peer::CHECKS,
    rotation::CHECKS,
    outage::CHECKS,
    restart::CHECKS,
];
