//! `homing man`: the pages for `man`, made of the same text as `--help`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Command;
use clap_mangen::Man;

use crate::cli;
use crate::exit::Exit;
use crate::output::{Output, Talk};
use crate::settings::Settings;
use crate::trouble::Trouble;
use crate::which::quoted;

const EXAMPLES: &str = "\
stdout: the page of homing itself. With DIR there is none: DIR has that page and
one for each command, such as homing-submit.1.

Examples:
  homing man | man -l -
  homing man ~/.local/share/man/man1 && man homing-submit";

/// Write the pages for man
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// Where to write all pages; it is created
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let command = built();
    let Some(folder) = &args.folder else {
        // Writing to memory does not fail.
        let (_, page) = page(&command).map_err(|error| Trouble::bug(&error))?;
        Output::new(settings).bytes(&page)?;
        return Ok(Exit::Done);
    };
    let shown = folder.display().to_string();
    let written = write_all(&command, folder);
    let count = written.map_err(|error| Trouble::file("write to", &shown, &error))?;
    let talk = Talk::new(settings);
    talk.say(format!("wrote {count} pages to {shown}"));
    let first = folder.join("homing.1").display().to_string();
    talk.say(format!("next      man -l {}", quoted(&first)));
    Ok(Exit::Done)
}

/// The command line with all that clap adds to it.
fn built() -> Command {
    let mut command = cli::command();
    command.build();
    command
}

/// Writes the pages of `command` and of the verbs below it into `folder`, and says
/// how many they are.
fn write_all(command: &Command, folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    let (name, page) = page(command)?;
    fs::write(folder.join(name), page)?;
    let verbs = command.get_subcommands();
    let counts = verbs
        .filter(|verb| verb.get_name() != "help")
        .map(|verb| write_all(verb, folder));
    counts.sum::<io::Result<usize>>().map(|below| below + 1)
}

/// The page of `command`, with the name of its file.
fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help() {
        // Its lines are set as they are to be read; clap_mangen would join them.
        page.write_all(b".SH NOTES\n.nf\n")?;
        page.write_all(as_it_stands(&notes.to_string()).as_bytes())?;
        page.write_all(b".fi\n")?;
    }
    Ok((man.get_filename(), page))
}

/// Text for roff, which takes a backslash and a dot or quote that begins a line for
/// its own: <https://man7.org/linux/man-pages/man7/groff.7.html>.
fn as_it_stands(text: &str) -> String {
    let line = |line: &str| {
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        match escaped.starts_with(['.', '\'']) {
            true => format!("\\&{escaped}\n"),
            false => format!("{escaped}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verb_has_a_page_and_the_first_page_names_it() {
        let folder = std::env::temp_dir().join(format!("homing-man-{}", std::process::id()));

        let count = write_all(&built(), &folder).unwrap();

        let names = |verb: &Command| format!("homing-{}.1", verb.get_name());
        let missing: Vec<_> = built()
            .get_subcommands()
            .map(names)
            .filter(|name| name != "homing-help.1" && !folder.join(name).exists())
            .collect();
        let files = fs::read_dir(&folder).unwrap().count();
        let first = fs::read_to_string(folder.join("homing.1")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!((files, missing), (count, Vec::<String>::new()));
        assert!(first.contains("homing\\-submit(1)"), "{first}");
    }

    #[test]
    fn nothing_in_a_text_is_taken_for_a_command_of_roff() {
        assert_eq!(
            as_it_stands(".a\n'b' -c\n  d \\\n"),
            "\\&.a\n\\&'b' \\-c\n  d \\e\n"
        );
    }
}
