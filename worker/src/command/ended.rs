use std::os::unix::process::ExitStatusExt;

use bytes::Bytes;
use homing_protocol::limit::OUTPUT_BYTES_MAX;
use homing_protocol::{ContentType, Payload, Retry, chain};

use super::process::Exit;
use crate::handler::{AttemptFailure, Ended};

/// The status that says that trying again is no use: `EX_DATAERR` of
/// `sysexits.h`.
const PERMANENT: i32 = 65;

/// How an attempt ended whose command has ended.
pub(super) fn ended(exit: Exit, content_type: ContentType) -> Ended {
    let Some(stdout) = exit.stdout else {
        let text = format!("the command wrote more than {OUTPUT_BYTES_MAX} bytes of output");
        return failure(&text, Retry::Never);
    };
    let said = String::from_utf8_lossy(&exit.stderr);
    let how = match (exit.status.code(), exit.status.signal()) {
        (Some(0), _) => return output(stdout, content_type),
        (Some(status), _) => format!("the command ended with status {status}"),
        (None, Some(signal)) => format!("the command was ended by signal {signal}"),
        (None, None) => "the command ended".to_owned(),
    };
    let text = match said.trim() {
        "" => how,
        said => format!("{how}: {said}"),
    };
    let permanent = exit.status.code() == Some(PERMANENT);
    failure(
        &text,
        if permanent {
            Retry::Never
        } else {
            Retry::Backoff
        },
    )
}

fn failure(text: &str, retry: Retry) -> Ended {
    Ended::Failure(AttemptFailure::new(text, retry))
}

/// Output that is no JSON is a failure for good: the next attempt would write
/// the same.
fn output(stdout: Vec<u8>, content_type: ContentType) -> Ended {
    match encoded(stdout, content_type) {
        Ok(output) => Ended::Output(output),
        Err(problem) => failure(&problem, Retry::Never),
    }
}

/// The output in the encoding of its task.
fn encoded(stdout: Vec<u8>, content_type: ContentType) -> Result<Bytes, String> {
    const WHAT: &str = "the command's output";
    let text = String::from_utf8(stdout)
        .map_err(|_| "the command's output is no JSON: it is no UTF-8".to_owned())?;
    if text.trim().is_empty() {
        return Err("the command's output is no JSON: there is none".to_owned());
    }
    let json = Payload::json(WHAT, &text, OUTPUT_BYTES_MAX)
        .map_err(|error| format!("the command's output is no JSON: {}", chain(&error)))?;
    if content_type == ContentType::Json {
        return Ok(json.bytes);
    }
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Payload::encode(WHAT, &value, content_type, OUTPUT_BYTES_MAX)
        .map(|payload| payload.bytes)
        .map_err(|error| chain(&error))
}
