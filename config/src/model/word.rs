//! Small values that are written as one word or as `kind:NAME`, for example `stickyOn: "cookie:session"`.

use std::fmt;

use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What keeps a caller on one side of a canary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StickyOn {
    #[default]
    None,
    Caller,
    Header(HeaderName),
    Cookie(String),
}

/// What consistent hashing hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    #[default]
    Ip,
    Application,
    Subject,
    Header(HeaderName),
    Cookie(String),
}

/// The `Host` that a backend sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    #[default]
    Keep,
    /// The one in the backend's URL.
    Upstream,
    Named(String),
}

impl StickyOn {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "caller" => Ok(Self::Caller),
            Some(("header", name)) => header(name).map(Self::Header),
            Some(("cookie", name)) => cookie(name).map(Self::Cookie),
            _ => Err(format!("\"{text}\" is not one of none, caller, header:NAME, cookie:NAME")),
        }
    }
}

impl HashOn {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "ip" => Ok(Self::Ip),
            None if text == "application" => Ok(Self::Application),
            None if text == "subject" => Ok(Self::Subject),
            Some(("header", name)) => header(name).map(Self::Header),
            Some(("cookie", name)) => cookie(name).map(Self::Cookie),
            _ => Err(format!("\"{text}\" is not one of ip, application, subject, header:NAME, cookie:NAME")),
        }
    }
}

impl HostHeader {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "upstream" => Ok(Self::Upstream),
            name if crate::model::host::is_authority(name) => Ok(Self::Named(name.to_owned())),
            other => Err(format!("\"{other}\" is not keep, upstream or a host name")),
        }
    }
}

fn header(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("\"{name}\" is not a header name"))
}

fn cookie(name: &str) -> Result<String, String> {
    // RFC 6265: a cookie's name is a token, and so is a header's name.
    header(name).map(|_| name.to_owned()).map_err(|_| format!("\"{name}\" is not a cookie name"))
}

impl fmt::Display for StickyOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Caller => f.write_str("caller"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("ip"),
            Self::Application => f.write_str("application"),
            Self::Subject => f.write_str("subject"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl fmt::Display for HostHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Upstream => "upstream",
            Self::Named(name) => name,
        })
    }
}

impl Serialize for StickyOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for StickyOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
impl Serialize for HashOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for HashOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
impl Serialize for HostHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for HostHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_written_and_others_are_refused() {
        for word in ["none", "caller", "header:x-user", "cookie:Session"] {
            assert_eq!(StickyOn::parse(word).unwrap().to_string(), word);
        }
        for word in ["ip", "application", "subject", "header:x-user", "cookie:Session"] {
            assert_eq!(HashOn::parse(word).unwrap().to_string(), word);
        }
        assert!(StickyOn::parse("header:").is_err());
        assert!(HashOn::parse("cookie:a b").is_err());
        assert!(HostHeader::parse("bad host").is_err());
    }
}
