//! Whether the store can be read, and written by a collector of this user.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use homing_protocol::Timestamp;
use homing_store::{Filter, Store, StoreError, StoreUrl, Writer};
use rustix::fs::Access;

use super::collector::Writes;
use super::finding::{Finding, Verdict};
use super::{Report, clock, room};
use crate::settings::Setting;
use crate::time::grouped;
use crate::trouble::Trouble;

/// What a store tells.
struct Told {
    tasks: u64,
    newest: Option<Timestamp>,
}

/// Checks all about the store; answers who writes to it.
pub(super) async fn check(report: &mut Report, url: &Setting<StoreUrl>) -> Result<Writes, Trouble> {
    let told = ask(&url.value).await;
    let newest = told.as_ref().ok().and_then(|told| told.newest);
    report.add(&readable(url, told))?;
    if let Some(path) = url.value.path() {
        report.add(&writable(path, may_write(path)))?;
        report.add(&room::enough("store-disk", path, room::free(path)))?;
    }
    report.add(&clock::compare(newest, SystemTime::now().into()))?;
    Ok(writes(&url.value))
}

async fn ask(url: &StoreUrl) -> Result<Told, StoreError> {
    let store = Store::open(url).await?;
    let kinds = store.stats(None).await?;
    let last = store.last(&Filter::all(), 1).await?;
    Ok(Told {
        tasks: kinds.iter().map(|kind| kind.counts.total()).sum(),
        newest: last.records.first().map(clock::newest),
    })
}

/// Who writes to it. Of one that cannot be read, that is said already.
fn writes(url: &StoreUrl) -> Writes {
    match Writer::holder(url) {
        Ok(Some(holder)) => Writes::Holder(holder),
        Ok(None) if !url.is_shared() => Writes::Nobody,
        Ok(None) | Err(_) => Writes::Unknown,
    }
}

/// Whether it can be read. Where nobody named a store there need not be any: it
/// may be another host's to keep one.
fn readable(url: &Setting<StoreUrl>, told: Result<Told, StoreError>) -> Finding {
    const CHECK: &str = "store";
    let error = match told {
        Ok(told) => {
            let tasks = grouped(told.tasks);
            return Finding::ok(CHECK, format!("{}, tasks stored: {tasks}", url.value));
        }
        Err(error) => error,
    };
    let verdict = match error {
        StoreError::Missing { .. } if url.name == "default" => Verdict::Warning,
        _ => Verdict::Bad,
    };
    let trouble = Trouble::store(&error).from(url.from.clone());
    Finding::troubled(CHECK, verdict, trouble)
}

/// What the system says of writing the file at `path`, or of creating it.
fn may_write(path: &Path) -> io::Result<()> {
    rustix::fs::access(super::folder(path), Access::WRITE_OK | Access::EXEC_OK)?;
    match rustix::fs::access(path, Access::WRITE_OK) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether a collector of this user could write it. Whoever only reads need not.
fn writable(path: &Path, may: io::Result<()>) -> Finding {
    const CHECK: &str = "store-folder";
    let path = path.to_owned();
    match may {
        Ok(()) => {
            let folder = super::shown_folder(&path);
            Finding::ok(CHECK, format!("this user may write to {folder}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Finding::bad(CHECK, Trouble::store(&StoreError::NoDirectory { path }))
        }
        Err(source) => {
            let trouble = Trouble::store(&StoreError::Unwritable { path, source });
            Finding::troubled(CHECK, Verdict::Warning, trouble)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str) -> Setting<StoreUrl> {
        Setting {
            value: StoreUrl::default(),
            name: name.to_owned(),
            from: String::new(),
        }
    }

    fn missing() -> Result<Told, StoreError> {
        let store = StoreUrl::default().place();
        Err(StoreError::Missing { store })
    }

    #[test]
    fn a_store_that_was_named_has_to_be_there() {
        let named = readable(&setting("HOMING_STORE"), missing());
        let default = readable(&setting("default"), missing());

        assert_eq!(named.verdict, Verdict::Bad);
        assert_eq!(default.verdict, Verdict::Warning);
    }

    #[test]
    fn an_older_or_newer_schema_is_bad_and_has_the_fix_of_every_verb() {
        let (store, found, supported) = (StoreUrl::default().place(), 4, 5);
        let older = StoreError::Older {
            store,
            found,
            supported,
        };

        let finding = readable(&setting("default"), Err(older));

        assert_eq!(finding.verdict, Verdict::Bad);
        assert!(finding.fix.unwrap().contains("it migrates it"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_bad_and_one_for_others_a_warning() {
        let path = Path::new("nowhere/homing.db");
        let verdict = |kind: io::ErrorKind| writable(path, Err(kind.into())).verdict;

        assert_eq!(verdict(io::ErrorKind::NotFound), Verdict::Bad);
        assert_eq!(verdict(io::ErrorKind::PermissionDenied), Verdict::Warning);
        assert_eq!(writable(path, Ok(())).verdict, Verdict::Ok);
    }
}
