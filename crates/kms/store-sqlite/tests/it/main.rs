//! The store on real files.
#![cfg(test)]

mod access;
mod backup;
mod contract;
mod crash;
mod damage;
mod erase;
mod faults;
mod forgetting;
mod histories;
mod model;
mod power;
mod testbed;
