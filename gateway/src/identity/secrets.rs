//! Secrets that the configuration names: read from the environment or the secrets directory, and read again.
