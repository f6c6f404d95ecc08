//! API keys: from a presented key to the application that it belongs to.
