//! `docs/errors.md` says what the program says.

mod sessions;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{fs, io};

use homing_store::{Opened, StoreUrl, Writer};

const BINARY: &str = env!("CARGO_BIN_EXE_homing");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");

/// Where SQLite keeps `user_version`, our schema's number, in the header of a
/// database: <https://www.sqlite.org/fileformat.html#user_version_number>.
const SCHEMA_AT: usize = 60;

/// The files that the page speaks of.
fn prepare(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("notes.txt"), "no database\n")?;
    let locked = folder.join("locked.db");
    fs::write(&locked, "")?;
    fs::set_permissions(locked, fs::Permissions::from_mode(0o000))?;
    let newer = folder.join("newer.db");
    let opened = Writer::open(&StoreUrl::sqlite(&newer)).map_err(io::Error::other)?;
    assert!(matches!(opened, Opened::Ready(_)));
    drop(opened);
    let mut bytes = fs::read(&newer)?;
    bytes[SCHEMA_AT..SCHEMA_AT + 4].copy_from_slice(&999_u32.to_be_bytes());
    fs::write(&newer, bytes)
}

#[test]
fn every_error_reads_as_its_page_says() {
    let sessions = sessions::read(Path::new(PAGE));
    let alone = sessions
        .iter()
        .filter(|session| sessions::ALONE.contains(&session.marker.as_str()));
    let mut count = 0;
    for (number, session) in alone.enumerate() {
        let folder = sessions::fresh_folder(Path::new(env!("CARGO_TARGET_TMPDIR")), number);
        prepare(&folder).unwrap();

        let said = sessions::run(session, Path::new(BINARY), &folder);

        assert_eq!(said, session.text, "below `{}`", session.heading);
        count += 1;
    }
    assert!(
        count >= 15,
        "the page has {count} sessions that need no broker"
    );
}

#[test]
fn no_error_holds_a_password() {
    let page = fs::read_to_string(PAGE).unwrap();
    let told = page.lines().filter(|line| !line.starts_with("$ "));

    assert!(told.clone().any(|line| line.contains("***")));
    assert_eq!(told.filter(|line| line.contains("s3cret")).count(), 0);
}
