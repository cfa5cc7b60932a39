//! `homing completions`: what lets a shell complete the words of `homing`.

use clap_complete::{Shell, generate};

use crate::cli;
use crate::exit::Exit;
use crate::output::Output;
use crate::settings::Settings;
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
Install it where the shell looks for it, and start a new shell:
  homing completions bash > ~/.local/share/bash-completion/completions/homing
  homing completions fish > ~/.config/fish/completions/homing.fish
  homing completions zsh > ~/.zfunc/_homing   # ~/.zfunc is in $fpath, before
                                              # compinit in ~/.zshrc
  homing completions elvish >> ~/.config/elvish/rc.elv
  homing completions powershell >> $PROFILE

Examples:
  source <(homing completions bash)           # in this shell alone";

/// Print what completes the words of homing in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, settings: &Settings) -> Result<Exit, Trouble> {
    Output::new(settings).bytes(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Vec<u8> {
    let (mut command, mut script) = (cli::command(), Vec::new());
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_is_told_every_verb() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();

            for verb in cli::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {verb}");
            }
        }
    }
}
