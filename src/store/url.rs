//! Store URLs.
