//! Reads the command line, and says what is wrong with it in the three parts
//! that every error has.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error, FromArgMatches};

use crate::cli::{self, Cli};
use crate::exit::Exit;
use crate::help;
use crate::named::NoTaskName;
use crate::near;
use crate::trouble::Trouble;
use crate::which::NoTaskId;

/// What the command line came to.
pub(crate) enum Typed {
    /// Something to do.
    Verb(Box<Cli>),
    /// Help or the version, which is printed already.
    Told(ExitCode),
}

/// Reads the command line.
///
/// # Errors
///
/// [`Trouble`]: it has no meaning.
pub(crate) fn read() -> Result<Typed, Trouble> {
    let words = asked(std::env::args_os().collect());
    if words.len() < 2 {
        // Nobody listens: the exit code still says it.
        let _unheard = write!(std::io::stderr(), "{}", help::FIRST);
        return Ok(Typed::Told(Exit::Usage.into()));
    }
    let matches = cli::command().try_get_matches_from(&words);
    let error = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => return Ok(Typed::Verb(Box::new(cli))),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // `homing --help | head` ends quietly.
            let _printed = error.print();
            Ok(Typed::Told(Exit::Done.into()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _printed = error.print();
            Ok(Typed::Told(Exit::Usage.into()))
        }
        _ => Err(trouble(&error, &words)),
    }
}

/// `homing help VERB` asks what `homing VERB --help` does.
fn asked(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

fn trouble(error: &Error, words: &[OsString]) -> Trouble {
    let text = error.to_string();
    let what = text.split("\n\n").next().unwrap_or(&text);
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let command = cli::command();
    let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    let verb = words
        .iter()
        .find_map(|word| verbs.iter().copied().find(|verb| word == verb));
    let help = verb.map_or_else(
        || "homing --help".to_owned(),
        |verb| format!("homing {verb} --help"),
    );
    let is_no_task = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<NoTaskId>() || cause.is::<NoTaskName>()
    };
    let fix = match error.source().is_some_and(is_no_task) {
        true => "`homing list` shows ids; those of a batch: homing list --batch NAME".to_owned(),
        false => match error.kind() {
            ErrorKind::UnknownArgument => similar(error, verb, &command),
            _ => tip(&text),
        }
        .unwrap_or(help),
    };
    match variable(error, words) {
        Some(name) => Trouble::new(Exit::Config, what).from(name).fix(fix),
        None => Trouble::new(Exit::Usage, what)
            .from("the command line")
            .fix(fix),
    }
}

/// The flag that was probably meant, of this verb or of all.
fn similar(error: &Error, verb: Option<&str>, command: &Command) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let typed = typed.split('=').next().unwrap_or(typed);
    let mut commands = vec![command];
    if let Some(verb) = verb.and_then(|verb| command.find_subcommand(verb)) {
        commands.push(verb);
        commands.extend(verb.get_subcommands());
    }
    let flags = commands.into_iter().flat_map(Command::get_arguments);
    let flags: Vec<_> = flags.filter_map(Arg::get_long).map(str::to_owned).collect();
    let near = near::near(typed.strip_prefix("--")?, &flags)?;
    Some(format!("a similar argument exists: '--{near}'"))
}

/// What clap would have typed instead.
fn tip(text: &str) -> Option<String> {
    let tip = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "))?;
    Some(tip.to_owned())
}

/// The variable that the refused value came from, if it was not typed.
fn variable(error: &Error, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(refused)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut command = cli::command();
    // An argument has no text of its own before that.
    command.build();
    let args = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .chain(command.get_arguments());
    let arg = args.into_iter().find(|arg| arg.to_string() == *refused)?;
    if is_typed(arg, words) {
        return None;
    }
    Some(arg.get_env()?.to_string_lossy().into_owned())
}

fn is_typed(arg: &Arg, words: &[OsString]) -> bool {
    let Some(long) = arg.get_long() else {
        return true;
    };
    let flag = format!("--{long}");
    words.iter().any(|word| {
        let word = word.to_string_lossy();
        word == flag || word.starts_with(&format!("{flag}="))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn help_of_a_verb_may_be_asked_for_in_two_ways() {
        for (typed, read) in [
            ("homing help submit", "homing submit --help"),
            ("homing help topology apply", "homing topology apply --help"),
            ("homing help", "homing --help"),
            ("homing submit help", "homing submit help"),
        ] {
            assert_eq!(asked(words(typed)), words(read), "{typed}");
        }
    }

    #[test]
    fn a_tip_is_what_was_probably_meant_or_the_help_of_the_verb() {
        for (line, fix) in [
            ("homing submit a.b --file x", "homing submit --help"),
            ("homing submit a.b --path=x", "homing submit --help"),
            ("homing tail --folow", "'--follow'"),
            ("homing worker --rn=a", "'--run'"),
            ("homing dead list --resaon x", "'--reason'"),
            ("homing list --jsno", "'--json'"),
            ("homing sumbit", "'submit'"),
        ] {
            let error = cli::command().try_get_matches_from(words(line));
            let told = trouble(&error.unwrap_err(), &words(line)).to_string();
            assert!(told.lines().last().unwrap().contains(fix), "{line}: {told}");
        }
    }
}
