//! `--profile`: what is right on a platform, as defaults. The table is here and nowhere else; what is set otherwise, on the command
//! line or by a variable, counts before it.

use clap::{Arg, ArgAction, ArgMatches, Command, ValueEnum, builder::PossibleValue, parser::ValueSource};

use super::{Failure, variable};
use crate::protocol::RelayUrl;

/// Where a relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    Render,
    CloudRun,
    Lambda,
    Fly,
    Vps,
}

/// What a profile means.
struct Row {
    name: &'static str,
    /// The platform.
    is: &'static str,
    /// Options by their long names, and their defaults. `$NAME` in a default is a variable that the platform sets.
    sets: &'static [(&'static str, &'static str)],
    /// Whether what stands in front takes TLS off, and leads nothing here but what is for this relay's host.
    leads_by_host: bool,
    /// Whether each instance has a disk of its own that the next one does not see, and there may be several.
    needs_a_database: bool,
}

/// Options that are flags.
const TRUE: &str = "true";

/// All clients come through few addresses of the platform's: as many as `--max-connections`.
const FROM_ANYWHERE: (&str, &str) = ("max-connections-per-source", "16384");

/// Where systemd keeps the state of its services, if a unit does not say it in STATE_DIRECTORY.
const STATE: &str = "/var/lib/connectoid";

impl Profile {
    fn row(self) -> Row {
        let row = |name, is, sets| Row { name, is, sets, leads_by_host: false, needs_a_database: false };
        match self {
            Self::Render => row(
                "render",
                "a web service of Render",
                &[
                    ("url", "$RENDER_EXTERNAL_URL"),
                    ("sole-instance", TRUE),
                    ("client-address", "xff:2"),
                    FROM_ANYWHERE,
                ],
            ),
            Self::CloudRun => Row {
                leads_by_host: true,
                ..row(
                    "cloud-run",
                    "a service of Google Cloud Run with one instance at most",
                    &[
                        ("sole-instance", TRUE),
                        ("sweep-with-requests", TRUE),
                        ("client-address", "xff:1"),
                        ("max-wait", "0s"),
                        FROM_ANYWHERE,
                    ],
                )
            },
            Self::Lambda => Row {
                leads_by_host: true,
                needs_a_database: true,
                ..row(
                    "lambda",
                    "AWS Lambda behind a function URL",
                    &[
                        ("sweep-with-requests", TRUE),
                        ("client-address", "lambda"),
                        ("max-wait", "0s"),
                        FROM_ANYWHERE,
                    ],
                )
            },
            Self::Fly => row(
                "fly",
                "a machine of Fly.io with a volume at /data",
                &[
                    ("database", "sqlite:///data/relay.db"),
                    ("url", "https://$FLY_APP_NAME.fly.dev"),
                    ("sole-instance", TRUE),
                    ("client-address", "header:Fly-Client-IP"),
                    FROM_ANYWHERE,
                ],
            ),
            Self::Vps => row(
                "vps",
                "a machine of one's own, behind a proxy on it",
                &[("database", "sqlite://$STATE_DIRECTORY/relay.db"), ("trusted-proxies", "127.0.0.1,::1")],
            ),
        }
    }

    /// Whether the Host header of a request can be believed.
    pub(super) fn leads_by_host(self) -> bool {
        self.row().leads_by_host
    }

    /// What this profile sets an option to here, or why it cannot.
    fn set(self, option: &str) -> Option<Result<String, String>> {
        let (_, value) = self.row().sets.iter().find(|(name, _)| *name == option)?;
        Some(filled_in(value).and_then(|value| match option {
            "url" => match value.parse::<RelayUrl>() {
                Ok(_) => Ok(value),
                Err(error) => Err(error.to_string()),
            },
            _ => Ok(value),
        }))
    }

    /// The error of a relay that was given no URL, if there is to be one.
    pub(super) fn needs_url(self) -> Result<(), Failure> {
        let Some(Err(why)) = self.set("url") else {
            return Ok(());
        };
        let Row { name, is, .. } = self.row();
        let reason = format!(
            "--profile {name} is for {is}, where the platform says the relay's URL, but {why}: set --url (CONNECTOID_URL) to the URL \
             that clients use, or leave --profile away"
        );
        Err(Failure::with(2, reason))
    }

    /// The error of a relay that was given no database, if there is to be one.
    pub(super) fn needs_database(self) -> Result<(), Failure> {
        let Row { name, is, needs_a_database, .. } = self.row();
        if !needs_a_database {
            return Ok(());
        }
        let reason = format!(
            "--profile {name} is for {is}, where every instance has a disk of its own and loses it: set --database \
             (CONNECTOID_DATABASE or DATABASE_URL) to postgres://USER:PASSWORD@HOST/NAME"
        );
        Err(Failure::with(2, reason))
    }
}

/// The default with the platform's variables in it.
fn filled_in(value: &str) -> Result<String, String> {
    let Some((before, rest)) = value.split_once('$') else {
        return Ok(value.to_owned());
    };
    let (name, after) =
        rest.split_at(rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len()));
    let said = match name {
        // systemd separates several with colons.
        "STATE_DIRECTORY" => {
            let folders = variable(name).unwrap_or_else(|| STATE.to_owned());
            folders.split(':').next().map(str::to_owned)
        }
        _ => variable(name),
    };
    said.map(|said| format!("{before}{said}{after}")).ok_or_else(|| format!("{name} is not set"))
}

/// An option as one would write it.
fn written(option: &str, value: &str) -> String {
    if value == TRUE { format!("--{option}") } else { format!("--{option} {value}") }
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Render, Self::CloudRun, Self::Lambda, Self::Fly, Self::Vps]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let Row { name, is, sets, .. } = self.row();
        let sets: Vec<String> = sets.iter().map(|(option, value)| written(option, value)).collect();
        Some(PossibleValue::new(name).help(format!("{is}: {}", sets.join(" "))))
    }
}

/// The command line with the defaults of the profile that it is called with, so that `--help` shows them too.
pub(super) fn with_defaults(command: Command) -> Command {
    match asked_for(&command) {
        Some(profile) => set_all(command, profile),
        None => command,
    }
}

/// What is wrong on the command line is not for here: whoever parses it next says so.
fn asked_for(command: &Command) -> Option<Profile> {
    let lenient = without_help(command.clone()).ignore_errors(true);
    let matches = lenient.try_get_matches().ok()?;
    last(&matches).try_get_one("profile").ok()?.copied()
}

/// With `--help` as a flag like any other: what stands behind it counts too.
fn without_help(command: Command) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::SetTrue);
    command.disable_help_flag(true).arg(help).mut_subcommands(without_help)
}

/// The matches of the innermost command.
fn last(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => last(inner),
        None => matches,
    }
}

fn set_all(command: Command, profile: Profile) -> Command {
    let is_for_a_relay = command.get_arguments().any(|arg| arg.get_id() == "profile");
    let command = command.mut_subcommands(|command| set_all(command, profile));
    if !is_for_a_relay {
        return command;
    }
    command.mut_args(|arg| match arg.get_long().and_then(|option| profile.set(option)) {
        // The variable of many platforms, which counts where the option is not given.
        Some(_) if arg.get_long() == Some("database") && variable("DATABASE_URL").is_some() => arg,
        Some(Ok(value)) => arg.default_value(value),
        _ => arg,
    })
}

/// The profile in force and what it set, for the log.
pub(super) fn in_force(matches: &ArgMatches) -> Option<String> {
    let matches = last(matches);
    let profile: Profile = *matches.try_get_one("profile").ok()??;
    let Row { name, sets, .. } = profile.row();
    let sets: Vec<String> = sets
        .iter()
        .filter(|(option, _)| {
            matches.value_source(&option.replace('-', "_")) == Some(ValueSource::DefaultValue)
        })
        .filter_map(|(option, _)| Some(written(option, &profile.set(option)?.ok()?)))
        .collect();
    Some(match sets[..] {
        [] => format!("profile {name} sets nothing that was not set otherwise"),
        _ => format!("profile {name} sets {}", sets.join(" ")),
    })
}
