//! `keystead-server` from outside.
#![cfg(test)]

mod alerts;
mod api;
mod authorization;
mod canaries;
mod certificates;
mod cluster_alerts;
mod connect;
mod console;
mod crash;
mod dashboard;
mod echo;
mod gcloud;
mod hostile_agents;
mod hostile_http1;
mod hostile_http2;
mod hostile_tls;
mod hostile_tokens;
mod idle_connections;
mod last_uses;
mod played_agent;
mod polite;
mod process_life;
mod published_clients;
mod raw;
mod rest;
mod root_key;
mod server_process;
mod settings;
mod webhooks;
