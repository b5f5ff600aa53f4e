//! `connectoid completions` and `connectoid man`: what a shell and `man` know of the commands, from their definitions.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Failure, print};

/// Print a script that completes commands and options in a shell
///
/// bash: connectoid completions bash > ~/.local/share/bash-completion/completions/connectoid
///
/// zsh: connectoid completions zsh > _connectoid, in a folder of $fpath
///
/// fish: connectoid completions fish > ~/.config/fish/completions/connectoid.fish
///
/// elvish and powershell: append it to rc.elv, or to $PROFILE
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "bash|zsh|fish|elvish|powershell")]
    shell: Shell,
}

/// Write the manual pages, one for each command
///
/// With connectoid man ~/.local/share/man/man1 they are found by: man connectoid-serve
#[derive(Args)]
pub(super) struct Man {
    /// The folder to write them to; it is made if need be
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "connectoid", &mut script);
        print(script)
    }
}

impl Man {
    pub(super) fn run(self) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.folder))
            .map_err(|error| Failure::new(format!("{}: {error}", self.folder.display())))
    }
}
