//! Rate limits: exact, in this gateway or over the fleet.
