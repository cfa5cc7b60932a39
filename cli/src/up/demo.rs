//! The kinds of `homing up --demo`: small, safe, and each good for a look at one
//! thing. Those that read files read below the current folder alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use homing_protocol::{AnyError, Policy, Task};
use homing_worker::{Attempt, AttemptError, Worker};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Bytes read at once.
const PART_BYTES: usize = 64 << 10;

/// The longest that `demo.sleep` sleeps.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// Between the attempts of `demo.flaky`: somebody waits and looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The kinds, in the order of the help.
pub(super) const KINDS: [&str; 5] = [
    Echo::KIND,
    Sleep::KIND,
    Flaky::KIND,
    Checksum::KIND,
    Words::KIND,
];

#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct Echo(Value);

#[derive(Debug, Deserialize, Serialize)]
struct Sleep {
    ms: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Flaky {
    failures: u32,
}

#[derive(Debug, Deserialize, Serialize)]
struct Checksum {
    path: PathBuf,
}

#[derive(Debug, Deserialize, Serialize)]
struct Words {
    path: PathBuf,
}

#[derive(Debug, Deserialize, Serialize)]
struct Sum {
    sha256: String,
    bytes: u64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Count {
    words: u64,
    lines: u64,
}

impl Task for Echo {
    const KIND: &'static str = "demo.echo";
    type Output = Value;
    type Error = AnyError;
}

impl Task for Sleep {
    const KIND: &'static str = "demo.sleep";
    type Output = u64;
    type Error = AnyError;
}

impl Task for Flaky {
    const KIND: &'static str = "demo.flaky";
    type Output = String;
    type Error = AnyError;
    const POLICY: Policy = Policy::DEFAULT.backoff(PAUSE, PAUSE);
}

impl Task for Checksum {
    const KIND: &'static str = "demo.checksum";
    type Output = Sum;
    type Error = AnyError;
}

impl Task for Words {
    const KIND: &'static str = "demo.words";
    type Output = Count;
    type Error = AnyError;
}

/// Adds them to a worker.
pub(super) fn add(worker: Worker) -> Worker {
    worker
        .handler(async |echo: Echo, _: Attempt| Ok(echo.0))
        .handler(sleep)
        .handler(flaky)
        .blocking_handler(checksum)
        .blocking_handler(words)
        .schema::<Sleep>(one_field("ms", &natural("Milliseconds, up to a minute")))
        .schema::<Flaky>(one_field("failures", &natural("Attempts that are to fail")))
        .schema::<Checksum>(one_field("path", &path()))
        .schema::<Words>(one_field("path", &path()))
}

/// What a payload with this field is to match.
fn one_field(name: &str, field: &Value) -> Value {
    json!({ "type": "object", "required": [name], "properties": { name: field } })
}

fn natural(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn path() -> Value {
    json!({ "type": "string", "description": "A file below the folder of `homing up`" })
}

async fn sleep(task: Sleep, _: Attempt) -> Result<u64, AttemptError> {
    let time = Duration::from_millis(task.ms).min(SLEEP_MAX);
    tokio::time::sleep(time).await;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

async fn flaky(task: Flaky, attempt: Attempt) -> Result<String, AttemptError> {
    let number = attempt.number().get();
    if number <= task.failures {
        let text = format!("attempt {number} of the {} that are to fail", task.failures);
        return Err(AttemptError::retryable(text));
    }
    Ok(format!("attempt {number} succeeded"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler owns its task and its attempt"
)]
fn checksum(task: Checksum, attempt: Attempt) -> Result<Sum, AttemptError> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    read(&task.path, &attempt, |part| {
        hasher.update(part);
        bytes += part.len() as u64;
    })?;
    let digits = hasher.finalize();
    let sha256 = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Sum { sha256, bytes })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler owns its task and its attempt"
)]
fn words(task: Words, attempt: Attempt) -> Result<Count, AttemptError> {
    let (mut count, mut in_word) = (Count { words: 0, lines: 0 }, false);
    read(&task.path, &attempt, |part| {
        for byte in part {
            let blank = byte.is_ascii_whitespace();
            count.words += u64::from(in_word && blank);
            count.lines += u64::from(*byte == b'\n');
            in_word = !blank;
        }
    })?;
    count.words += u64::from(in_word);
    Ok(count)
}

/// Reads a file part by part, if it is below the current folder.
fn read(path: &Path, attempt: &Attempt, each: impl FnMut(&[u8])) -> Result<(), AttemptError> {
    let failed = |error: io::Error| {
        let text = format!("cannot read `{}`: {error}", path.display());
        match error.kind() {
            io::ErrorKind::Interrupted => AttemptError::retryable(text),
            _ => AttemptError::permanent(text),
        }
    };
    let file = open(&std::env::current_dir().map_err(failed)?, path).map_err(failed)?;
    parts(file, attempt, each).map_err(failed)
}

fn parts(mut file: File, attempt: &Attempt, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut part = vec![0; PART_BYTES];
    loop {
        if attempt.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match file.read(&mut part)? {
            0 => return Ok(()),
            read => each(&part[..read]),
        }
    }
}

/// Opens a regular file at or below `folder`, links followed: whoever may submit may
/// read no others.
fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let real = folder.join(path).canonicalize()?;
    if !real.starts_with(folder.canonicalize()?) {
        return Err(io::Error::other(
            "it is not below the folder of `homing up`",
        ));
    }
    if !real.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    File::open(real)
}

#[cfg(test)]
mod tests {
    use homing_protocol::Schema;

    use super::*;
    use crate::schema::Check;

    #[test]
    fn a_payload_of_the_help_matches_its_schema_and_one_with_another_field_does_not() {
        for (name, field, right, wrong) in [
            ("ms", natural(""), json!({ "ms": 500 }), json!({ "ms": -1 })),
            (
                "path",
                path(),
                json!({ "path": "FILE" }),
                json!({ "pth": "FILE" }),
            ),
        ] {
            let schema = Schema::new(&one_field(name, &field)).unwrap();
            let check = Check::new(&schema).unwrap_or_else(|error| panic!("{error}"));

            assert_eq!(check.misfit(right.to_string().as_bytes()), None);
            assert!(check.misfit(wrong.to_string().as_bytes()).is_some());
        }
    }

    #[test]
    fn files_are_read_below_the_folder_alone_whatever_links_say() {
        let folder = std::env::temp_dir().join(format!("homing-up-{}", std::process::id()));
        let inside = folder.join("inside");
        std::fs::create_dir_all(&inside).unwrap();
        for path in [folder.join("secret"), inside.join("file")] {
            std::fs::write(path, "x").unwrap();
        }
        std::os::unix::fs::symlink("../secret", inside.join("link")).unwrap();

        assert!(open(&inside, Path::new("file")).is_ok());
        assert!(open(&inside, &inside.join("file")).is_ok());
        for outside in ["../secret", "link", "/etc/passwd", ".", "missing"] {
            assert!(open(&inside, Path::new(outside)).is_err(), "{outside}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
