//! Every use case of the server: authorise, act, record.
