//! Runs the sessions of a page in `docs/` and compares what they print, so
//! that the page and the program cannot drift apart.
//!
//! A session is a block of code marked `console`: lines that begin with `$ `
//! are commands, the others what they print on stdout and stderr. All commands
//! of a session share a fresh folder, and an environment without any setting.
//!
//! | marker | needs |
//! |---|---|
//! | `console` | nothing |
//! | `console unprivileged` | a user who is not root |
//! | `console broker` | a broker, a worker for `demo.words`, a collector |
//! | `console broker alarm …` | the same, and the broker short of memory |
//! | `… varying` | words with digits in them are not compared |

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The block marker of sessions that need no broker.
pub(crate) const ALONE: [&str; 2] = ["console", UNPRIVILEGED];

const UNPRIVILEGED: &str = "console unprivileged";

/// Seconds that a session may take before it counts as hanging.
const SECS_MAX: &str = "60";

/// One session of a page.
pub(crate) struct Session {
    /// The heading it stands below.
    pub(crate) heading: String,
    /// What stands behind its three backticks.
    pub(crate) marker: String,
    /// Commands and what they print.
    pub(crate) text: String,
}

/// The sessions of the page at `path`, in order.
pub(crate) fn read(path: &Path) -> Vec<Session> {
    let page = fs::read_to_string(path).expect("the page is there");
    let mut sessions = Vec::new();
    let mut heading = String::new();
    let mut open: Option<Session> = None;
    for line in page.lines() {
        match &mut open {
            Some(_) if line == "```" => sessions.extend(open.take()),
            Some(session) => session.text.push_str(&format!("{line}\n")),
            None => {
                if let Some(title) = line.strip_prefix('#') {
                    heading = title.trim_start_matches('#').trim().to_owned();
                }
                open = line.strip_prefix("```").map(|marker| Session {
                    heading: heading.clone(),
                    marker: marker.to_owned(),
                    text: String::new(),
                });
            }
        }
    }
    sessions
}

/// What the commands of `session` print in `folder`, between the commands
/// themselves.
pub(crate) fn run(session: &Session, binary: &Path, folder: &Path) -> String {
    let output = Command::new("timeout")
        .arg(SECS_MAX)
        .args(user(session))
        .args(["sh", "-c"])
        .arg(script(&session.text))
        .current_dir(folder)
        .env_clear()
        .env("PATH", path(binary))
        .env("TZ", "UTC")
        .output()
        .expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    // A page does not know where it is tried.
    let here = folder.canonicalize().expect("the folder is there");
    said.replace(&format!("{}/", here.display()), "/here/")
}

/// The words that run a command as somebody else than root.
fn user(session: &Session) -> &'static [&'static str] {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root && session.marker == UNPRIVILEGED {
        return &[
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
    }
    &[]
}

/// Each command after its own text, with the status of the one before.
fn script(text: &str) -> String {
    let mut script = String::from("status=0\n");
    for command in text.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let shown = command.replace('\'', r"'\''");
        script.push_str(&format!(
            "printf '%s\\n' '$ {shown}'\n(exit $status)\n{{ {command}\n}} 2>&1\nstatus=$?\n"
        ));
    }
    script
}

fn path(binary: &Path) -> String {
    let folder = binary.parent().expect("a binary is in a folder").display();
    let system = std::env::var("PATH").unwrap_or_default();
    format!("{folder}:{system}")
}

/// A folder of its own for the session of this number.
pub(crate) fn fresh_folder(root: &Path, number: usize) -> PathBuf {
    let folder = root.join(format!("session-{number}"));
    let _none = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the session");
    folder
}
