//! `keystead-server` from outside.
#![cfg(test)]

mod rest;
