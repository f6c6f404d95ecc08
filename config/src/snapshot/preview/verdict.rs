//! What a decision comes to, in few words and so that two can be compared.

use std::fmt;
use std::sync::Arc;

use crate::model::{Sample, StickyOn};
use crate::snapshot::service::CompiledService;
use crate::snapshot::{Code, Decision, Outcome, Step};

/// What came, or would come, of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) route: Option<String>,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Forward {
        service: Arc<CompiledService>,
        version: Option<Arc<str>>,
        /// How the version was chosen, where that took something of the request that was kept back.
        blind: Option<Step>,
    },
    Publish(String),
    Answer(u16),
    Refuse {
        status: u16,
        code: Code,
    },
}

impl PartialEq for What {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Forward { service, version, .. }, Self::Forward { service: other, version: its, .. }) => {
                service.source.service_name == other.source.service_name && version == its
            }
            (Self::Publish(queue), Self::Publish(other)) => queue == other,
            (Self::Answer(status), Self::Answer(other)) => status == other,
            (Self::Refuse { status, code }, Self::Refuse { status: other, code: its }) => {
                status == other && code == its
            }
            _ => false,
        }
    }
}

impl Verdict {
    pub(super) fn refused(route: Option<String>, code: Code) -> Self {
        Self { route, what: What::Refuse { status: code.status(), code } }
    }

    pub(super) fn of(decision: &Decision, sample: &Sample) -> Self {
        let what = match &decision.outcome {
            Outcome::Forward(forward) => What::Forward {
                service: forward.service.clone(),
                version: forward.version().cloned(),
                blind: blind(&forward.service.source.sticky_on, decision, sample),
            },
            Outcome::Publish(queue) => What::Publish(queue.name().to_owned()),
            Outcome::Subscribe(..) => What::Answer(200),
            Outcome::Respond(respond) => What::Answer(respond.status_code),
            Outcome::Redirect { status, .. } => What::Answer(*status),
            Outcome::Preflight(_) => What::Answer(204),
            Outcome::Refuse(refusal) => What::Refuse { status: refusal.status, code: refusal.code },
        };
        Self { route: decision.route.as_ref().map(|route| route.source.name.clone()), what }
    }

    /// The version was chosen by something that was kept back; then both must have chosen among the same for it to be the same.
    pub(super) fn blind_beside(&self, other: &Self) -> Option<bool> {
        match (&self.what, &other.what) {
            (What::Forward { service, blind, .. }, What::Forward { service: its_service, blind: its, .. })
                if blind.is_some() || its.is_some() =>
            {
                Some(Arc::ptr_eq(service, its_service) && blind == its)
            }
            _ => None,
        }
    }

    /// The record could come of this decision.
    pub(super) fn agrees(&self, sample: &Sample) -> bool {
        let recorded = sample.outcome.code.as_deref().and_then(Code::of);
        match &self.what {
            What::Refuse { code, .. } => recorded == Some(*code),
            What::Forward { version, blind: None, .. } if sample.outcome.service.is_some() => {
                !recorded.is_some_and(is_decided) && sample.outcome.version.as_deref() == version.as_deref()
            }
            _ => !recorded.is_some_and(is_decided),
        }
    }

    /// No further whitelist entry could change it: whoever is let in is not kept out by one, and these refusals come before any.
    pub(super) fn stands_without_entries(&self) -> bool {
        match &self.what {
            What::Forward { version, .. } => version.is_none(),
            What::Publish(_) | What::Answer(_) => true,
            What::Refuse { code, .. } => matches!(
                code,
                Code::RouteNotFound | Code::MethodNotAllowed | Code::IpDenied | Code::ApplicationInactive
            ),
        }
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.what, What::Refuse { .. })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward { service, version: Some(version), .. } => {
                write!(f, "{} {version}", service.source.service_name)
            }
            Self::Forward { service, version: None, .. } => f.write_str(&service.source.service_name),
            Self::Publish(queue) => write!(f, "202 queue {queue}"),
            Self::Answer(status) => write!(f, "{status}"),
            Self::Refuse { status, code } => write!(f, "{status} {code}"),
        }
    }
}

/// Only `decide` says these; others may also come of what was done afterwards.
fn is_decided(code: Code) -> bool {
    code.is_about_access()
        || matches!(
            code,
            Code::UnknownVersion
                | Code::RouteNotFound
                | Code::MethodNotAllowed
                | Code::ServiceInactive
                | Code::Maintenance
        )
}

fn blind(on: &StickyOn, decision: &Decision, sample: &Sample) -> Option<Step> {
    let is_kept_back = |name: &str| sample.request.headers.get(name).is_some_and(Option::is_none);
    let is_blind = match on {
        StickyOn::Header(name) => is_kept_back(name.as_str()),
        StickyOn::Cookie(_) => is_kept_back("cookie"),
        StickyOn::None | StickyOn::Caller => false,
    };
    let chosen = decision.trail.iter().find(|step| matches!(step, Step::Version(_, count) if *count > 1));
    chosen.filter(|_| is_blind).copied()
}
