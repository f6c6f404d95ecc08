//! A judge of access, written from the design alone.
