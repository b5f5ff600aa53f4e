//! The HTTP transport: one request, one reply, under the client rules of the protocol.
//!
//! No redirects, no cookies, no credentials; a reply of at most 1 MiB within 10 seconds.

use std::{thread, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};
use ureq::{Agent, Body, config::Config, http::Response};

use crate::protocol::{RefusalBody, RelayUrl, Request, limits::MAX_REPLY_BYTES};

/// How long a relay has for a reply, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a request is sent before its relay counts as down.
const TRIES: u32 = 3;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Talks to relays. Blocks; meant for command line tools and threads of their own.
#[derive(Debug, Clone)]
pub struct Transport {
    agent: Agent,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The relay refused, in the protocol's words.
    #[error("{relay} refused: {}{}", body.error, detail(body))]
    Refused {
        /// Which relay.
        relay: RelayUrl,
        /// What it said.
        body: RefusalBody,
    },
    /// The relay was not reached, or did not reply in time.
    #[error("{relay} cannot be reached: {reason}")]
    Unreachable {
        /// Which relay.
        relay: RelayUrl,
        /// What went wrong.
        reason: String,
    },
    /// It replied with something that is not the protocol's.
    #[error("{relay} misbehaves: {reason}")]
    Misbehaves {
        /// Which relay.
        relay: RelayUrl,
        /// What is wrong with the reply.
        reason: String,
    },
}

fn detail(body: &RefusalBody) -> String {
    body.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default()
}

impl Default for Transport {
    fn default() -> Self {
        Self::new()
    }
}

impl Transport {
    /// A transport without connections yet.
    pub fn new() -> Self {
        let config = Config::builder()
            .timeout_global(Some(PATIENCE))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent("connectoid")
            .build();
        Self { agent: config.into() }
    }

    /// Sends a request and reads the reply to it.
    ///
    /// # Errors
    /// [`TransportError`]; trying again is safe after every one of them.
    pub fn ask<T: DeserializeOwned>(&self, relay: &RelayUrl, request: &Request) -> Result<T, TransportError> {
        let misbehaves =
            |reason: &str| TransportError::Misbehaves { relay: relay.clone(), reason: reason.to_owned() };
        let body = serde_json::to_vec(request).map_err(|_| misbehaves("the request cannot be written"))?;
        // text/plain is what browsers send without a preflight; all clients look alike.
        let post = self.agent.post(relay.as_str()).content_type("text/plain");
        let sent = if relay.as_str().starts_with("http://") {
            // On this machine, where no proxy of the environment gets; and unencrypted, so nothing leaves the machine.
            post.config().proxy(None).build().send(&body)
        } else {
            post.send(&body)
        };
        let mut response = sent.map_err(|error| TransportError::Unreachable {
            relay: relay.clone(),
            reason: error.to_string(),
        })?;
        let status = response.status();
        let reply = read(&mut response).map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => misbehaves("its reply is larger than 1 MiB"),
            other => TransportError::Unreachable { relay: relay.clone(), reason: other.to_string() },
        })?;
        if status.is_success() {
            // Whatever `T` takes: JSON of something that is no relay must not count as a message stored.
            return match serde_json::from_slice(&reply) {
                Ok(Accepted { ok: true }) => serde_json::from_slice(&reply).ok(),
                _ => None,
            }
            .ok_or_else(|| misbehaves("its reply is not one of the protocol's"));
        }
        match serde_json::from_slice(&reply) {
            Ok(body) => Err(TransportError::Refused { relay: relay.clone(), body }),
            Err(_) => {
                Err(misbehaves(&format!("it answered with status {status}: is this the URL of a relay?")))
            }
        }
    }

    /// As [`Transport::ask`], and again if the relay was not reached or is busy: three times at most, the same bytes, so
    /// that nothing is stored twice. Blocks for the pauses between.
    ///
    /// # Errors
    /// Those of the last try.
    pub fn ask_patiently<T: DeserializeOwned>(
        &self,
        relay: &RelayUrl,
        request: &Request,
    ) -> Result<T, TransportError> {
        let mut tries = 1;
        loop {
            let error = match self.ask(relay, request) {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let pause = match &error {
                TransportError::Unreachable { .. } => Duration::from_secs(1),
                TransportError::Refused { body, .. } if body.error == "Busy" => {
                    Duration::from_secs(body.retry_after.unwrap_or(1).into())
                }
                _ => return Err(error),
            };
            if tries == TRIES || pause > LONGEST_PAUSE {
                return Err(error);
            }
            tries += 1;
            thread::sleep(pause);
        }
    }
}

/// What every reply with a status of success says.
#[derive(Deserialize)]
struct Accepted {
    ok: bool,
}

fn read(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    response.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_vec()
}
