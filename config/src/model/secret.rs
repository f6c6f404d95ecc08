//! References to secrets. A literal secret never enters the configuration.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Environment variables that a reference may name begin with this; anything else would let an operator send the
/// database's password to a URL of their own.
pub const SECRET_ENV_PREFIX: &str = "GATEWAY_SECRET_";

/// `env:GATEWAY_SECRET_NAME`, or `file:NAME` inside the secrets directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    Env(String),
    File(String),
}

impl SecretRef {
    fn parse(text: &str) -> Result<Self, String> {
        const HELP: &str = "write env:GATEWAY_SECRET_NAME or file:NAME; a secret itself can't be stored";
        if let Some(name) = text.strip_prefix("env:") {
            let plain = name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            let named = name.strip_prefix(SECRET_ENV_PREFIX).is_some_and(|rest| !rest.is_empty());
            return if plain && named { Ok(Self::Env(name.to_owned())) } else { Err(HELP.to_owned()) };
        }
        if let Some(name) = text.strip_prefix("file:") {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            let inside = !name.is_empty() && !name.starts_with('.') && name.len() <= 255;
            return if plain && inside { Ok(Self::File(name.to_owned())) } else { Err(HELP.to_owned()) };
        }
        // The text may be a secret pasted by mistake: it is not repeated.
        Err(HELP.to_owned())
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(name) => write!(f, "file:{name}"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_prefixed_variables_and_plain_file_names_can_be_named() {
        for good in ["env:GATEWAY_SECRET_JWT", "file:shop.pem"] {
            assert_eq!(SecretRef::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["env:DATABASE_URL", "env:GATEWAY_SECRET_", "file:../x", "file:.hidden", "file:a/b", "file:", "hunter2"]
        {
            let error = SecretRef::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
