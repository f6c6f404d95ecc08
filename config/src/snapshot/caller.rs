//! Who calls, as far as credentials say. Verifying them is not done here: it needs clocks, hashes and sometimes the network.

use std::sync::Arc;

use smol_str::SmolStr;

use super::application::CompiledApplication;
use super::code::Code;
use crate::model::{ApiKey, Id, Timestamp};

/// Who calls, as far as credentials say.
#[derive(Clone, Debug)]
pub enum Caller {
    Anonymous,
    Verified(Verified),
    /// Credentials were presented and are not good.
    Rejected(Code),
}

/// Somebody whose credentials are good. What they may do is another question.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// The key's application, or the one that the token's client is bound to; of the same snapshot as the request.
    pub application: Option<Arc<CompiledApplication>>,
    pub key: Option<Id<ApiKey>>,
    pub token: Option<Arc<Token>>,
}

/// What a verified token says, in short texts: one may be made for each request, and few words need an allocation of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name of the issuer as it is configured, not the `iss` claim.
    pub issuer: Arc<str>,
    pub subject: Option<SmolStr>,
    pub client: Option<SmolStr>,
    pub roles: Vec<SmolStr>,
    pub scopes: Vec<SmolStr>,
    pub expires_at: Option<Timestamp>,
}

impl Caller {
    #[must_use]
    pub fn verified(&self) -> Option<&Verified> {
        match self {
            Self::Verified(verified) => Some(verified),
            Self::Anonymous | Self::Rejected(_) => None,
        }
    }
}

impl Verified {
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.token.as_ref()?.subject.as_deref()
    }

    /// Only tokens bring roles.
    #[must_use]
    pub fn roles(&self) -> &[SmolStr] {
        self.token.as_ref().map_or(&[], |token| &token.roles)
    }

    #[must_use]
    pub fn scopes(&self) -> &[SmolStr] {
        self.token.as_ref().map_or(&[], |token| &token.scopes)
    }
}
