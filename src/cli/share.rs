//! `connectoid share`: a link for someone, and whoever uses it is met.

use std::io::{self, IsTerminal as _};

use clap::Args;
use qrcode::{EcLevel, QrCode};

use super::{
    Failure, Home,
    config::{Expiry, expiry},
    link::{api_key, draw, given_ext, nickname},
    meet::{Meeting, Work},
    now_ms, print_line, say,
};
use crate::{
    client::ShareOptions,
    protocol::{Connectoid, Ext, RelayUrl},
};

/// Make a link for someone and wait until it is used; then send files, join pipes, forward ports
///
/// Send the link by any messenger: it works once, for whoever has it first. From then on the two find each other without a link:
/// connectoid connect NAME, on either side.
///
/// Called again before the link was used, it prints the same link and goes on waiting.
#[derive(Args)]
pub(super) struct Share {
    #[command(flatten)]
    home: Home,
    /// Who the link is for: a nickname that only you see
    #[arg(long = "for", value_name = "NAME", value_parser = nickname)]
    name: String,
    #[command(flatten)]
    link: LinkForm,
    #[command(flatten)]
    work: Work,
}

/// How a link is made that is waited for.
#[derive(Args)]
pub(super) struct LinkForm {
    /// The relay's URL; repeat it for up to 4, any of which may be down [env: CONNECTOID_RELAY, separated by spaces; default:
    /// relays in the config file]
    #[arg(long, value_name = "URL", value_delimiter = ' ', help_heading = "The link")]
    relay: Vec<RelayUrl>,
    /// The relay's API key as its operator gave it; the link carries it [env: CONNECTOID_API_KEY]
    #[arg(long, value_name = "KEY", value_parser = api_key, allow_hyphen_values = true, help_heading = "The link")]
    api_key: Option<Ext>,
    /// When the link stops being answered if nobody uses it, as 7d; or never [default: expires in the config file, else 7d]
    #[arg(long, value_name = "TIME", value_parser = expiry, help_heading = "The link")]
    expires: Option<Expiry>,
    /// Do not draw the link as a QR code. It is drawn on terminals only
    #[arg(long, help_heading = "The link")]
    no_qr: bool,
}

impl Share {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut meeting = Meeting::new(&self.home, &self.name, &self.work).await?;
        let link = self.link.make(&self.home, &mut meeting, &self.name)?;
        print_link(&link, self.link.no_qr, &self.work)?;
        let waiting = format!("waiting for {:?} to use the link (Ctrl-C ends)", self.name);
        meeting.run_sharing(&waiting).await
    }
}

impl LinkForm {
    /// One for this relay, otherwise as by default.
    pub(super) fn at(relay: RelayUrl) -> Self {
        Self { relay: vec![relay], api_key: None, expires: None, no_qr: false }
    }

    /// A new link; or the one made before, if nobody used it.
    pub(super) fn make(&self, home: &Home, meeting: &mut Meeting, name: &str) -> Result<Connectoid, Failure> {
        let client = meeting.client();
        if let Some(contact) = client.contact(name) {
            if contact.has_expired(now_ms()) {
                return Err(Failure::new(format!(
                    "the link for {name:?} has expired: connectoid unshare {name:?} deletes it, then share makes a new one"
                )));
            }
            if let Some(link) = client.link(name) {
                return Ok(link);
            }
            return Err(Failure::new(format!(
                "the link for {name:?} was used: connectoid connect {name:?} meets again; for somebody else give another name"
            )));
        }
        let settings = home.settings()?;
        let relays = settings.relays(&self.relay)?;
        if relays.is_empty() {
            return Err(settings.wrong_relays());
        }
        let ext = given_ext(self.api_key.as_ref())?;
        let expires_in = settings.expiry(self.expires).life();
        let options = ShareOptions { relays, ext, expires_in, ..ShareOptions::default() };
        Ok(client.share(name, options)?)
    }
}

/// The link to standard output, and as a QR code for whoever looks at a terminal. Where standard output is a pipe's to the other
/// side, to standard error.
pub(super) fn print_link(link: &Connectoid, no_qr: bool, work: &Work) -> Result<(), Failure> {
    let link = link.to_string();
    if !no_qr
        && io::stderr().is_terminal()
        && let Ok(code) = QrCode::with_error_correction_level(&link, EcLevel::L)
    {
        draw(&code);
    }
    print_for_the_other(&link, "link: ", work)
}

/// What goes to the other side by hand.
pub(super) fn print_for_the_other(text: &str, what: &str, work: &Work) -> Result<(), Failure> {
    if work.pipe {
        say(&format!("{what}{text}"));
        return Ok(());
    }
    print_line(text)
}
