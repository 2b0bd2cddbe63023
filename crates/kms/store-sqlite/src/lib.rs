//! Records in one SQLite database.
