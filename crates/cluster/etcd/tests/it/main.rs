//! The stored-value decoder against Kubernetes' own records and against damage; scans against an etcd in memory and,
//! where the control plane is built, against the real one; snapshots that it wrote, that we wrote, and that are damaged.

#[cfg(test)]
mod bbolt_file;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod fake_etcd;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod live;
#[cfg(test)]
mod reversing_plugin;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod scan;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod tls;
