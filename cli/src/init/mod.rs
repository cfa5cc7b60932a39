//! `homing init`: writes a crate with a task, its worker, a producer and tests.

mod name;
mod source;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::Settings;
use crate::trouble::{Trouble, plain_cause};

use name::CrateName;
use source::Source;

/// What is written, below the folder that is named as the crate.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("Makefile", include_str!("template/Makefile")),
    ("README.md", include_str!("template/README.md")),
    (".gitignore", include_str!("template/gitignore")),
    ("src/lib.rs", include_str!("template/lib.rs")),
    ("src/bin/submit.rs", include_str!("template/submit.rs")),
    ("src/bin/worker.rs", include_str!("template/worker.rs")),
    ("tests/counts.rs", include_str!("template/counts.rs")),
    ("tests/pipeline.rs", include_str!("template/pipeline.rs")),
];

const EXAMPLES: &str = "\
It makes the folder NAME, and writes into no folder that is there. What it
writes builds, passes its tests, and runs on `homing up` and on RabbitMQ
unchanged.

Examples:
  homing init invoices --homing ../homing
  homing init invoices --homing https://git.example/homing";

/// Write a small crate with a task, its worker, a producer and tests
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// The crate and its folder: up to 64 of a-z 0-9 _ -
    name: CrateName,

    /// Where the crate takes Homing from: the folder of a checkout, or the URL of
    /// a git repository
    #[arg(long, value_name = "PATH|URL")]
    homing: Option<String>,
}

pub(crate) fn run(args: &InitArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let name = args.name.as_str();
    let source = Source::find(args.homing.as_deref())?;
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|error| no_folder(name, &error))?;
    for (file, template) in FILES {
        let path = folder.join(file);
        let text = fill(template, &args.name, &source);
        write(&path, &text)
            .map_err(|error| Trouble::file("write", &path.display().to_string(), &error))?;
    }

    let talk = Talk::new(settings);
    talk.say(format!(
        "wrote     {name}/: the task `{name}.count`, its worker, a producer, tests"
    ));
    talk.say(format!("next      cd {name}"));
    talk.say("          make test       it needs no broker");
    talk.say("          make up         and in two other terminals, in that folder:");
    talk.say("          make worker");
    talk.say("          make submit");
    Ok(Exit::Done)
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create_new(path)?.write_all(text.as_bytes())
}

fn fill(template: &str, name: &CrateName, source: &Source) -> String {
    template
        .replace("{{name}}", name.as_str())
        .replace("{{crate}}", &name.in_rust())
        .replace("{{homing}}", &source.to_toml())
}

fn no_folder(name: &str, error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Trouble::new(Exit::Usage, format!("{name} is there already"))
                .fix("give another NAME; nothing was written")
        }
        io::ErrorKind::PermissionDenied => Trouble::new(
            Exit::Denied,
            format!("cannot create {name}: {}", plain_cause(error)),
        )
        .fix("go to a folder that this user may write to"),
        _ => Trouble::new(
            Exit::Unreachable,
            format!("cannot create {name}: {}", plain_cause(error)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left() {
        let name: CrateName = "my-tasks".parse().unwrap();
        let source = Source::Git("https://git.example/homing".to_owned());

        for (file, template) in FILES {
            let text = fill(template, &name, &source);

            assert!(!text.contains("{{"), "{file}");
        }
    }

    #[test]
    fn every_target_of_the_makefile_is_in_its_help() {
        let makefile = include_str!("template/Makefile");

        for target in ["up", "worker", "submit", "test"] {
            let described = makefile
                .lines()
                .any(|line| line.starts_with(&format!("{target}: ## ")));
            assert!(described, "{target}");
        }
    }
}
