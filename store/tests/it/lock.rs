use homing_protocol::Status;
use homing_store::{Opened, Writer};

use crate::fixture::{Fixture, report, write};

#[test]
fn a_second_writer_stands_by_and_takes_over() {
    let fixture = Fixture::sqlite();
    let mut first = fixture.writer();
    write(&mut first, &[report(1, Status::Succeeded)]);
    let Opened::Standby(standby) = Writer::open(&fixture.url()).unwrap() else {
        panic!("two write at once");
    };
    let holder = standby.holder().to_string();
    assert!(
        holder.starts_with(&format!("process {} on ", std::process::id())),
        "{holder}"
    );
    let Opened::Standby(standby) = standby.retry().unwrap() else {
        panic!("two write at once");
    };

    drop(first);

    let Opened::Ready(mut second) = standby.retry().unwrap() else {
        panic!("nobody writes");
    };
    write(&mut second, &[report(2, Status::Succeeded)]);
    assert_eq!(second.stored().unwrap(), 2);
}

#[test]
fn another_path_to_the_same_file_has_the_same_lock() {
    let fixture = Fixture::sqlite();
    let _first = fixture.writer();
    let link = fixture.directory.join("link.db");
    std::os::unix::fs::symlink(fixture.path(), &link).unwrap();

    let opened = Writer::open(&homing_store::StoreUrl::sqlite(link)).unwrap();

    assert!(matches!(opened, Opened::Standby(_)));
}
