use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use homing_protocol::Timestamp;
use homing_protocol::limit::{ERROR_BYTES_MAX, OUTPUT_BYTES_MAX};
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};

use super::guard::{Group, Guard};
use crate::handler::Brief;

/// What commands have no business with: where broker and store are, and how the
/// processes of a worker tell each other apart.
const HIDDEN: [&str; 4] = [
    "AMQP_URL",
    "HOMING_BROKER",
    "HOMING_STORE",
    crate::PROCESS_VARIABLE,
];

/// Bytes read from a command at once: a pipe's buffer.
const CHUNK_BYTES: usize = 64 << 10;

/// How a command ended.
#[derive(Debug)]
pub(super) struct Exit {
    pub(super) status: ExitStatus,
    /// What it wrote, `None` if that was more than an output may have.
    pub(super) stdout: Option<Vec<u8>>,
    /// The end of what it wrote to stderr.
    pub(super) stderr: Vec<u8>,
}

/// The shell script that runs `command` once it has read a line, and not at all
/// if there is none.
pub(super) fn script(command: &str) -> String {
    format!("read -r homing_begin || exit 125\n{command}")
}

/// Runs a script with `json` on its stdin. Dropped, it and all it has started
/// are killed.
pub(super) async fn run(
    guard: &Arc<Guard>,
    script: &str,
    json: String,
    brief: &Brief,
) -> io::Result<Exit> {
    let mut child = command(script, brief).spawn()?;
    let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let (Some(leader), Some(stdin), Some(stdout), Some(stderr)) = (
        leader,
        child.stdin.take(),
        child.stdout.take(),
        child.stderr.take(),
    ) else {
        return Err(io::Error::other("it was started without its pipes"));
    };
    let group = guard.watch(leader)?;
    let ends = async {
        let status = child.wait().await;
        // What it left behind would hold its pipes, and us, for ever.
        group.kill();
        status
    };
    let ((), stdout, stderr, status) = tokio::join!(
        feed(stdin, json),
        output(stdout, &group),
        tail(stderr, ERROR_BYTES_MAX),
        ends,
    );
    Ok(Exit {
        status: status?,
        stdout: stdout?,
        stderr: stderr?,
    })
}

fn command(script: &str, brief: &Brief) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .env("HOMING_TASK_ID", brief.frame.task.to_string())
        .env("HOMING_KIND", brief.kind.as_str())
        .env("HOMING_ATTEMPT", brief.frame.number.to_string())
        .env(
            "HOMING_DEADLINE",
            deadline(brief.frame.timeout_at).to_string(),
        )
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in HIDDEN {
        command.env_remove(name);
    }
    command
}

/// The point in seconds since 1970.
fn deadline(at: Instant) -> u64 {
    let now = Timestamp::from(std::time::SystemTime::now());
    now.after(at.saturating_duration_since(Instant::now()))
        .as_secs()
}

/// Writes the line that lets the command begin, then the payload. A command
/// need not read it.
async fn feed(mut stdin: ChildStdin, json: String) {
    let input = format!("\n{json}");
    let _unread = stdin.write_all(input.as_bytes()).await;
}

/// Reads an output; kills the command that writes more than one may have.
async fn output(mut stdout: impl AsyncRead + Unpin, group: &Group) -> io::Result<Option<Vec<u8>>> {
    let mut output = Vec::new();
    let most = OUTPUT_BYTES_MAX as u64 + 1;
    (&mut stdout).take(most).read_to_end(&mut output).await?;
    if output.len() <= OUTPUT_BYTES_MAX {
        return Ok(Some(output));
    }
    group.kill();
    Ok(None)
}

/// Reads to the end, and keeps the last bytes.
async fn tail(mut stderr: impl AsyncRead + Unpin, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    loop {
        kept.reserve(CHUNK_BYTES);
        if stderr.read_buf(&mut kept).await? == 0 {
            break;
        }
        if kept.len() > CHUNK_BYTES {
            kept.drain(..kept.len() - bytes_max);
        }
    }
    kept.drain(..kept.len().saturating_sub(bytes_max));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use bytes::Bytes;
    use homing_protocol::{AttemptNumber, ContentType, Payload};
    use uuid::Uuid;

    use super::*;
    use crate::attempt::{Cutoff, Frame};

    fn brief() -> Brief {
        Brief {
            kind: "tool.test".parse().unwrap(),
            payload: Payload {
                bytes: Bytes::new(),
                content_type: ContentType::Json,
            },
            frame: Frame {
                task: Uuid::nil().into(),
                number: AttemptNumber::FIRST,
                is_last: false,
                timeout_at: Instant::now(),
                cutoff: Cutoff::default(),
            },
        }
    }

    #[test]
    fn a_command_is_not_told_where_broker_and_store_are() {
        let command = command("true", &brief());

        let hidden: Vec<_> = command
            .as_std()
            .get_envs()
            .filter_map(|(name, value)| value.is_none().then_some(name))
            .collect();
        for name in ["AMQP_URL", "HOMING_BROKER", "HOMING_STORE"] {
            assert!(hidden.contains(&OsStr::new(name)), "{name}");
        }
    }

    #[tokio::test]
    async fn a_command_does_not_begin_without_its_line() {
        let mut command = command(&script("echo begun"), &brief());

        let output = command.stdin(Stdio::null()).output().await.unwrap();

        assert_eq!(
            (output.status.code(), output.stdout),
            (Some(125), Vec::new())
        );
    }

    #[tokio::test]
    async fn the_end_of_a_long_text_is_kept() {
        let text: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();

        let kept = tail(&text[..], 1_000).await.unwrap();

        assert_eq!(kept, text[199_000..]);
    }
}
