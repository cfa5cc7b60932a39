//! Which batch rows are submitted to, and which rows it has already.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use homing_protocol::{BatchId, TaskId, Timestamp};
use homing_store::{BatchRef, Position, Store};
use uuid::Uuid;

use super::journal::{self, Head, Noted};
use super::{Many, SubmitArgs};
use crate::exit::Exit;
use crate::output::Talk;
use crate::settings::Settings;
use crate::time::{full, grouped, local};
use crate::trouble::Trouble;
use crate::which::now;

/// Ids read from the store at once.
const PAGE: u32 = 10_000;

/// What is known before the first row is read.
pub(super) struct Plan {
    pub(super) head: Head,
    /// Tasks of the batch that are confirmed or stored: 16 bytes each, and as
    /// much again for finding them.
    pub(super) known: HashSet<TaskId>,
    /// The time of the last record of the batch that is known.
    pub(super) recorded_at: Timestamp,
    /// The journal of an earlier run.
    pub(super) noted: Option<Noted>,
    pub(super) journal: PathBuf,
    pub(super) rejects: PathBuf,
}

/// Decides what is submitted to which batch.
///
/// # Errors
///
/// [`Trouble`]: the label is in use, nothing is known of a batch to go on with,
/// or it is of another kind.
pub(super) async fn plan(
    args: &SubmitArgs,
    rows: &Path,
    settings: &Settings,
) -> Result<Plan, Trouble> {
    match args.many.resume {
        Some(batch) => resumed(batch, args, rows, settings).await,
        None => new(args, rows, settings).await,
    }
}

async fn new(args: &SubmitArgs, rows: &Path, settings: &Settings) -> Result<Plan, Trouble> {
    let label = match &args.many.batch {
        Some(label) => {
            refuse_used(label, settings).await?;
            label.clone()
        }
        None => format!("{}-{}", args.kind, full(now())),
    };
    let head = Head {
        batch: Uuid::now_v7().into(),
        kind: args.kind.clone(),
        label,
    };
    Ok(Plan {
        known: HashSet::new(),
        recorded_at: Timestamp::from_ms(0),
        noted: None,
        journal: journal_path(&args.many, rows, head.batch),
        rejects: rejects_path(&args.many, rows, head.batch),
        head,
    })
}

/// Refuses a label that a stored batch has, as far as the store can be read:
/// a producer needs none.
async fn refuse_used(label: &str, settings: &Settings) -> Result<(), Trouble> {
    let Ok(store) = settings.open_store().await else {
        return Ok(());
    };
    let found = store.batch(&BatchRef::Label(label.to_owned())).await;
    let Some(batch) = found.map_err(|error| Trouble::store(&error))? else {
        return Ok(());
    };
    let tasks = grouped(batch.total.unwrap_or_else(|| batch.counts.total()));
    let since = batch
        .opened_at
        .map_or_else(String::new, |at| format!(", {}", local(at)));
    let id = batch.id;
    Err(Trouble::new(
        Exit::Usage,
        format!("batch `{label}` is there already: {tasks} tasks{since}"),
    )
    .from("--batch")
    .fix(format!(
        "--resume {id} to go on with it, or another --batch"
    )))
}

async fn resumed(
    batch: BatchId,
    args: &SubmitArgs,
    rows: &Path,
    settings: &Settings,
) -> Result<Plan, Trouble> {
    let talk = Talk::new(settings);
    let path = journal_path(&args.many, rows, batch);
    let mut noted = read_journal(&path, batch, args)?;
    let stored = match settings.open_store().await {
        Ok(store) => read_stored(&store, batch).await?,
        Err(_) if noted.is_some() => {
            talk.say("the store cannot be read from here: leaving out what the journal notes");
            None
        }
        Err(trouble) => return Err(trouble),
    };
    refuse_kind(batch, noted.as_ref(), stored.as_ref(), args)?;
    let Some(head) = head(batch, noted.as_ref(), stored.as_ref(), args) else {
        return Err(
            Trouble::new(Exit::NotFound, format!("nothing is known of batch {batch}"))
                .from(format!(
                    "--resume; no journal {}, and not in the store",
                    path.display()
                ))
                .fix("check the id; run it where it was begun, or name its --journal"),
        );
    };
    let mut known = noted
        .as_mut()
        .map(|noted| std::mem::take(&mut noted.tasks))
        .unwrap_or_default();
    let journalled = noted.as_ref().and_then(|noted| noted.recorded_at);
    let recorded_at = journalled.max(stored.as_ref().and_then(|stored| stored.recorded_at));
    known.extend(stored.into_iter().flat_map(|stored| stored.tasks));
    Ok(Plan {
        known,
        recorded_at: recorded_at.unwrap_or(Timestamp::from_ms(0)),
        noted,
        rejects: rejects_path(&args.many, rows, batch),
        journal: path,
        head,
    })
}

fn head(
    batch: BatchId,
    noted: Option<&Noted>,
    stored: Option<&Stored>,
    args: &SubmitArgs,
) -> Option<Head> {
    if let Some(noted) = noted {
        return Some(noted.head.clone());
    }
    Some(Head {
        batch,
        kind: args.kind.clone(),
        label: stored?.label.clone(),
    })
}

/// Refuses to go on with a batch of another kind, where no journal says which it is of.
fn refuse_kind(
    batch: BatchId,
    noted: Option<&Noted>,
    stored: Option<&Stored>,
    args: &SubmitArgs,
) -> Result<(), Trouble> {
    let kind = stored.and_then(|stored| stored.kind.as_deref());
    match kind.filter(|kind| noted.is_none() && *kind != args.kind.as_str()) {
        Some(kind) => Err(
            Trouble::new(Exit::Usage, format!("batch {batch} is of kind {kind}"))
                .from("--resume")
                .fix("give that kind, or submit the rows as a batch of their own"),
        ),
        None => Ok(()),
    }
}

fn read_journal(path: &Path, batch: BatchId, args: &SubmitArgs) -> Result<Option<Noted>, Trouble> {
    let shown = path.display().to_string();
    let noted = journal::read(path).map_err(|error| Trouble::file("read", &shown, &error))?;
    if let Some(noted) = &noted
        && (noted.head.batch != batch || noted.head.kind != args.kind)
    {
        let Head { batch, kind, .. } = &noted.head;
        return Err(Trouble::new(
            Exit::Usage,
            format!("the journal is of batch {batch}, kind {kind}"),
        )
        .from(shown)
        .fix("give that batch and that kind, or another --journal"));
    }
    Ok(noted)
}

/// What the store has of a batch.
struct Stored {
    label: String,
    recorded_at: Option<Timestamp>,
    tasks: HashSet<TaskId>,
    /// Of one of the tasks.
    kind: Option<String>,
}

async fn read_stored(store: &Store, batch: BatchId) -> Result<Option<Stored>, Trouble> {
    let told = |error| Trouble::store(&error);
    let Some(found) = store.batch(&BatchRef::Id(batch)).await.map_err(told)? else {
        return Ok(None);
    };
    let (mut tasks, mut kind) = (HashSet::new(), None);
    let mut position = Position::START;
    loop {
        let page = store.batch_tasks(batch, &position, PAGE).await;
        let (ids, next) = page.map_err(told)?;
        if let (None, Some(id)) = (&kind, ids.first()) {
            let record = store.record(*id).await.map_err(told)?;
            kind = record.map(|record| record.report.kind);
        }
        if ids.is_empty() {
            return Ok(Some(Stored {
                label: found.label,
                recorded_at: found.recorded_at,
                tasks,
                kind,
            }));
        }
        tasks.extend(ids);
        position = next;
    }
}

/// Beside the input, or, for stdin, where this runs.
fn journal_path(many: &Many, rows: &Path, batch: BatchId) -> PathBuf {
    many.journal
        .clone()
        .unwrap_or_else(|| beside(rows, &format!("{batch}.journal"), &format!("{batch}.")))
}

fn rejects_path(many: &Many, rows: &Path, batch: BatchId) -> PathBuf {
    many.rejects
        .clone()
        .unwrap_or_else(|| beside(rows, "rejects", &format!("{batch}.")))
}

/// `ROWS.ending`; for stdin `homing-BATCH.ending`.
fn beside(rows: &Path, ending: &str, batch: &str) -> PathBuf {
    if rows == Path::new("-") {
        let ending = ending.strip_prefix(batch).unwrap_or(ending);
        return PathBuf::from(format!("homing-{batch}{ending}"));
    }
    let mut name = rows.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_and_rejects_stand_beside_the_input() {
        let many = Many::none();
        let batch: BatchId = Uuid::nil().into();
        let paths = |rows: &str| {
            let (journal, rejects) = (
                journal_path(&many, Path::new(rows), batch),
                rejects_path(&many, Path::new(rows), batch),
            );
            [journal, rejects].map(|path| path.display().to_string())
        };

        assert_eq!(
            paths("in/a.ndjson"),
            [
                "in/a.ndjson.00000000-0000-0000-0000-000000000000.journal",
                "in/a.ndjson.rejects"
            ]
        );
        assert_eq!(
            paths("-"),
            [
                "homing-00000000-0000-0000-0000-000000000000.journal",
                "homing-00000000-0000-0000-0000-000000000000.rejects"
            ]
        );
    }
}
