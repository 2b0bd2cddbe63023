//! The audit log: one record a call, hash-chained, durable before the answer.
