//! The store on real files.

mod contract;
