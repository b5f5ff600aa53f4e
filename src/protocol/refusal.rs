//! The closed list of errors, each with its status: the one place that turns a refusal into bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a relay did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Try again later: the box is full, or a rate or a quota is used up.
    TooOften {
        /// What to do about it.
        detail: Cow<'static, str>,
        /// Seconds until it is worth another try.
        retry_after: u32,
    },
    /// The body or the message is larger than the relay takes.
    TooBig {
        /// The size that was exceeded.
        detail: Cow<'static, str>,
    },
    /// The request is not one of the protocol's.
    BadRequest {
        /// What is wrong with it.
        detail: Cow<'static, str>,
    },
    /// `pub` is not a public key in its only accepted spelling.
    BadKey,
    /// The answer is wrong, late, another box's or another relay's; deliberately not said which.
    WrongAnswer,
    /// The relay asks for an API key in `ext`, and this is none that counts.
    NotAllowed {
        /// What to do about it.
        detail: Cow<'static, str>,
    },
    /// The relay cannot do it just now; nothing is wrong with the request.
    Busy {
        /// Seconds until it is worth another try.
        retry_after: u32,
    },
    /// There is nothing under this path.
    NotFound,
    /// This path does not take this method.
    MethodNotAllowed {
        /// The methods it does take, for the Allow header.
        allow: &'static str,
    },
}

/// A refusal as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalBody {
    /// Always false.
    pub ok: bool,
    /// One of the closed list, as `Too often`.
    pub error: Cow<'static, str>,
    /// One sentence that says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'static, str>>,
    /// Seconds until it is worth another try.
    #[serde(default, rename = "retryAfter", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Refusal {
    /// A `Bad request` that says what is wrong.
    pub fn bad(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::BadRequest { detail: detail.into() }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadRequest { .. } | Self::BadKey => 400,
            Self::WrongAnswer | Self::NotAllowed { .. } => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::TooBig { .. } => 413,
            Self::TooOften { .. } => 429,
            Self::Busy { .. } => 503,
        }
    }

    /// The error's name on the wire.
    pub fn error(&self) -> &'static str {
        match self {
            Self::TooOften { .. } => "Too often",
            Self::TooBig { .. } => "Too big",
            Self::BadRequest { .. } => "Bad request",
            Self::BadKey => "Bad key",
            Self::WrongAnswer => "Wrong answer",
            Self::NotAllowed { .. } => "Not allowed",
            Self::Busy { .. } => "Busy",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed { .. } => "Method not allowed",
        }
    }

    /// Seconds to wait, for `retryAfter` and the Retry-After header.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooOften { retry_after, .. } | Self::Busy { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The refusal as it goes on the wire.
    pub fn body(&self) -> RefusalBody {
        let detail = match self {
            Self::TooOften { detail, .. }
            | Self::TooBig { detail }
            | Self::BadRequest { detail }
            | Self::NotAllowed { detail } => detail.clone(),
            Self::BadKey => "pub must be a P-384 public key, SEC 1 compressed, as 66 characters of base64url".into(),
            Self::WrongAnswer => {
                "send check with \"ask\":true, open the question and send its 56 bytes as answer while they count (answerTtl in /info)".into()
            }
            Self::Busy { .. } => "the relay cannot do this just now; send the same request again".into(),
            Self::NotFound => "requests go to POST /; see GET / for help".into(),
            Self::MethodNotAllowed { .. } => "requests of the protocol are POST /; the Allow header says what this path takes".into(),
        };
        RefusalBody {
            ok: false,
            error: self.error().into(),
            detail: Some(detail),
            retry_after: self.retry_after(),
        }
    }
}
