//! Messages as large as the broker takes.
