//! `connectoid link`, `connectoid link show` and `connectoid key import`.

use std::{
    fs::{self, OpenOptions},
    io::{self, IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use clap::{Args, Subcommand};
use qrcode::{QrCode, render};
use serde::Serialize;

use super::{
    API_KEY, Failure, Home,
    config::{Expiry, Settings, expiry},
    entropy, now_ms, print_json, print_line, say, variable,
};
use crate::{
    client::{
        contact::{Contact, LinkState, OwnBox, SharedLink},
        keystore::Keystore,
    },
    protocol::{Connectoid, Ext, LinkSecret, Place, PublicKey, RelayUrl, find_connectoid, limits, make_link},
    seal::BoxKey,
};

/// Make a link for someone, or take one apart
///
/// Makes a key pair and a secret, keeps them for this user, and prints the link. Whoever has the link can write to
/// you; only you can read it.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Link {
    #[command(flatten)]
    home: Home,
    #[command(subcommand)]
    command: Option<LinkCommand>,
    #[command(flatten)]
    form: Option<Form>,
    /// Print the link made before for this contact
    #[arg(long, conflicts_with_all = ["relay", "ext", "api_key", "no_secret", "query", "expires", "replace"])]
    again: bool,
}

#[derive(Subcommand)]
enum LinkCommand {
    /// Take a link apart: whose box, which relays, whether it has a secret
    Show {
        /// The link, or the bare connectoid in it
        link: String,
        /// As one line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// Make a link with a P-384 private key from a PEM file, as OpenSSL writes it
///
/// Make the key with: openssl ecparam -name secp384r1 -genkey -noout -out key.pem
#[derive(Args)]
pub(super) struct Import {
    #[command(flatten)]
    home: Home,
    /// The PEM file: PKCS#8 (BEGIN PRIVATE KEY) or SEC 1 (BEGIN EC PRIVATE KEY), not encrypted
    file: PathBuf,
    /// The link or connectoid that was made with this key elsewhere, in a browser for instance: its relays, ext and secret
    /// stay as they are
    #[arg(long, value_name = "LINK", conflicts_with_all = ["relay", "ext", "api_key", "no_secret"])]
    link: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// What a link looks like.
#[derive(Args)]
struct Form {
    /// Who the link is for: a nickname that only you see
    #[arg(long = "for", value_name = "NAME", value_parser = nickname)]
    name: String,

    /// The relay's URL; repeat it for up to 4, in order of preference, any of which may be down [env: CONNECTOID_RELAY,
    /// separated by spaces; or say it once and for all in the config file: connectoid config]
    // Not clap's `env`: a variable that is set would conflict with `--again` and with `link show`.
    #[arg(long, value_name = "URL", value_delimiter = ' ')]
    relay: Vec<RelayUrl>,

    /// The app's URL that the link opens, as https://app.example.com/; without it, the bare connectoid is printed
    #[arg(long, value_name = "URL")]
    app: Option<String>,

    /// Text for the relays that the link carries along; every relay of the link sees it
    #[arg(long, value_name = "TEXT", value_parser = ext)]
    ext: Option<Ext>,

    /// The relay's API key as its operator gave it; every relay of the link sees it, and who sends to the link uses it [env:
    /// CONNECTOID_API_KEY, which keeps it out of the list of processes; --ext goes before it]
    #[arg(long, value_name = "KEY", value_parser = api_key, conflicts_with = "ext", allow_hyphen_values = true)]
    api_key: Option<Ext>,

    /// The original two-part form. Who runs a relay of the link can then pretend to be the one who uses it
    #[arg(long)]
    no_secret: bool,

    /// The original form ?connectoid=…, without secret: the app's web server sees it
    #[arg(long, requires = "app")]
    query: bool,

    /// When the link stops being read, as 12h; or never [default: 7d, or what the config file says]
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Expiry>,

    /// Give up the link made before for this contact, its key and what was received but not printed yet
    #[arg(long)]
    replace: bool,

    /// Draw the link as a QR code, on standard error
    #[arg(long)]
    qr: bool,

    /// Write the link as a QR code into an SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// As one line of JSON
    #[arg(long)]
    json: bool,
}

fn ext(text: &str) -> Result<Ext, String> {
    Ext::from_data(text.as_bytes()).map_err(|_| "expected 1 to 768 bytes".to_owned())
}

/// The key is base64url already: it stands in the link as it is.
pub(super) fn api_key(text: &str) -> Result<Ext, String> {
    Ext::try_from(text.to_owned()).map_err(|_| "expected base64url, as the operator gave it".to_owned())
}

/// What a link carries for its relays: as given, else the API key in the environment.
pub(super) fn given_ext(given: Option<&Ext>) -> Result<Option<Ext>, Failure> {
    if let Some(given) = given {
        return Ok(Some(given.clone()));
    }
    let from_environment = variable(API_KEY).map(|key| api_key(&key)).transpose();
    from_environment.map_err(|error| Failure::with(2, format!("{API_KEY}: {error}")))
}

pub(super) fn nickname(text: &str) -> Result<String, String> {
    if !(1..=64).contains(&text.chars().count()) {
        return Err("expected 1 to 64 characters".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("expected text without control characters".to_owned());
    }
    Ok(text.to_owned())
}

impl Link {
    pub(super) fn run(self) -> Result<(), Failure> {
        match (self.command, self.form) {
            (Some(LinkCommand::Show { link, json }), _) => show(&link, json),
            (None, Some(form)) if self.again => form.print_again(&self.home.keystore()?),
            (None, Some(form)) => form.make(&self.home, BoxKey::generate(&mut entropy()?), None),
            (None, None) => Err(Failure::with(2, "say who the link is for: connectoid link --for NAME")),
        }
    }
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = self.file.display();
        let pem = fs::read(&self.file).map_err(|error| Failure::new(format!("{file}: {error}")))?;
        let pem = zeroize::Zeroizing::new(pem);
        // What is not text, as DER, is no PEM.
        let key = BoxKey::from_pem(str::from_utf8(&pem).unwrap_or_default())
            .map_err(|error| Failure::new(format!("{file}: {error}")))?;
        let made = self.link.as_deref().map(find_connectoid).transpose().map_err(Failure::new)?;
        let made = made.map(|found| found.connectoid);
        if made.as_ref().is_some_and(|made| made.key != key.public()) {
            return Err(Failure::new(format!("{file}: this link was made with another key")));
        }
        self.form.make(&self.home, key, made)
    }
}

impl Form {
    /// Keeps the key and prints its link: a new one, or the one `made` with this key elsewhere.
    fn make(self, home: &Home, key: BoxKey, made: Option<Connectoid>) -> Result<(), Failure> {
        let (settings, keystore) = (home.settings()?, home.keystore()?);
        let relays = match &made {
            Some(made) => made.relays.clone(),
            None => self.relays(settings, &keystore)?,
        };
        if !(1..=limits::MAX_RELAYS).contains(&relays.len()) {
            return Err(settings.wrong_relays());
        }
        let now = now_ms();
        let life = settings.expiry(self.expires).life();
        let expires =
            life.map(|life| now.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)));
        let ext = self.ext()?;
        let (ext, secret) = match made {
            Some(made) => (made.ext, made.secret),
            None if self.no_secret || self.query => (ext, None),
            None => (ext, Some(LinkSecret::generate(&mut entropy()?))),
        };
        let public = key.public();
        let own = OwnBox { key, secret, relays, ext, confirmed: None, used: false };
        // Everything that can go wrong does so before the keys are kept.
        let link = self.link(&own)?;
        let code = self.qr_code(&link)?;
        let (name, replace) = (&self.name, self.replace);
        let contact = Contact::shared(name.clone(), own, SharedLink::new(expires), now);
        // An app that runs the contact would go on with what is given up here.
        let _at_rest = replace.then(|| keystore.hold_contact(name)).transpose()?;
        keystore.update(|keys| {
            if keys.contacts.iter().any(|other| other.owns(&public)) {
                return Err(Failure::new("this key is kept already: a box belongs to one contact"));
            }
            match keys.contacts.iter().position(|other| other.name == *name) {
                Some(_) if !replace => {
                    return Err(Failure::new(format!(
                        "there is a link for {name:?} already: --again prints it, --replace makes a new one"
                    )));
                }
                Some(index) => drop(keys.contacts.remove(index)),
                None => {}
            }
            // Not before: the file may hold the picture of the link that was made for this contact.
            self.write_svg(code.as_ref())?;
            keys.contacts.push(contact);
            Ok(())
        })?;
        self.print(&link, public, code.as_ref())
    }

    /// The relays that are named, else those of the link that is replaced.
    fn relays(&self, settings: &Settings, keystore: &Keystore) -> Result<Vec<RelayUrl>, Failure> {
        let relays = settings.relays(&self.relay)?;
        if relays.is_empty() && self.replace {
            return Ok(keystore
                .load()?
                .contact(&self.name)
                .and_then(Contact::mailbox)
                .map(|old| old.relays.clone())
                .unwrap_or_default());
        }
        Ok(relays)
    }

    fn ext(&self) -> Result<Option<Ext>, Failure> {
        given_ext(self.api_key.as_ref().or(self.ext.as_ref()))
    }

    fn print_again(self, keystore: &Keystore) -> Result<(), Failure> {
        let keys = keystore.load()?;
        let contact = super::known(&keys, &self.name)?;
        if contact.has_expired(now_ms()) {
            say("this link has expired and is not read any more: --replace makes a new one");
        }
        if contact.leaving.is_some() {
            return Err(Failure::new(format!(
                "{:?} is being unshared: connectoid unshare {:?} goes on with it",
                self.name, self.name
            )));
        }
        let open = contact.link.as_ref().is_some_and(|link| link.state == LinkState::Open);
        let own = contact.link_box().filter(|_| open).ok_or_else(|| {
            Failure::new(format!(
                "the link for {:?} was used: a second use would raise an alarm; --replace makes a new one",
                self.name
            ))
        })?;
        let link = self.link(own)?;
        let code = self.qr_code(&link)?;
        self.write_svg(code.as_ref())?;
        self.print(&link, own.key.public(), code.as_ref())
    }

    fn link(&self, own: &OwnBox) -> Result<String, Failure> {
        let connectoid = own.connectoid();
        let place = if self.query { Place::Query } else { Place::Fragment };
        match &self.app {
            Some(app) => make_link(app, &connectoid, place).map_err(|error| Failure::with(2, error)),
            None => Ok(connectoid.to_string()),
        }
    }

    /// The link as a QR code, if it is wanted in either form.
    fn qr_code(&self, link: &str) -> Result<Option<QrCode>, Failure> {
        if !self.qr && self.svg.is_none() {
            return Ok(None);
        }
        QrCode::with_error_correction_level(link, qrcode::EcLevel::L)
            .map(Some)
            .map_err(|error| Failure::new(format!("the link does not fit a QR code: {error}")))
    }

    fn write_svg(&self, code: Option<&QrCode>) -> Result<(), Failure> {
        let (Some(file), Some(code)) = (&self.svg, code) else {
            return Ok(());
        };
        let svg = code.render::<render::svg::Color<'_>>().min_dimensions(256, 256).build();
        // The picture holds the link's secret.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(file)
            .and_then(|mut file| file.write_all(svg.as_bytes()))
            .map_err(|error| Failure::new(format!("{}: {error}", file.display())))
    }

    fn print(&self, link: &str, public: PublicKey, code: Option<&QrCode>) -> Result<(), Failure> {
        if let Some(code) = code.filter(|_| self.qr) {
            draw(code);
        }
        if self.json {
            #[derive(Serialize)]
            struct Made<'a> {
                name: &'a str,
                link: &'a str,
                #[serde(rename = "pub")]
                public: PublicKey,
            }
            return print_json(&Made { name: &self.name, link, public });
        }
        print_line(link)
    }
}

/// Draws a QR code on standard error: white blocks between black modules, in these colours whatever the terminal's are.
pub(super) fn draw(code: &QrCode) {
    let drawing = code
        .render::<render::unicode::Dense1x2>()
        .dark_color(render::unicode::Dense1x2::Light)
        .light_color(render::unicode::Dense1x2::Dark)
        .build();
    let mut err = io::stderr().lock();
    let (white_on_black, reset) = if err.is_terminal() { ("\x1b[97;40m", "\x1b[0m") } else { ("", "") };
    for line in drawing.lines() {
        drop(writeln!(err, "{white_on_black}{line}{reset}"));
    }
}

/// A link's parts, without its secret.
#[derive(Serialize)]
struct Parts<'a> {
    #[serde(rename = "pub")]
    public: PublicKey,
    relays: &'a [RelayUrl],
    ext: Option<&'a str>,
    secret: bool,
    /// Whether the secret stood in a query, where the app's web server saw it.
    #[serde(rename = "inQuery")]
    in_query: bool,
}

fn show(link: &str, json: bool) -> Result<(), Failure> {
    let found = find_connectoid(link).map_err(Failure::new)?;
    let connectoid = &found.connectoid;
    let secret = connectoid.secret.is_some();
    let parts = Parts {
        public: connectoid.key,
        relays: &connectoid.relays,
        ext: connectoid.ext.as_ref().map(Ext::as_str),
        secret,
        in_query: secret && found.place == Some(Place::Query),
    };
    if json {
        return print_json(&parts);
    }
    print_line(format!("pub     {}", parts.public))?;
    for relay in parts.relays {
        print_line(format!("relay   {relay}"))?;
    }
    if let Some(ext) = parts.ext {
        print_line(format!("ext     {ext}"))?;
    }
    print_line(match (secret, parts.in_query) {
        (true, false) => "secret  yes, 32 bytes that no relay sees",
        (true, true) => "secret  yes, but in the query: the app's web server saw it",
        (false, _) => "secret  none: who runs the relay can pretend to be the one who uses it",
    })
}
