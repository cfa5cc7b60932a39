//! What people see in a plain SQLite shell.

use homing_protocol::{ContentType, Status};
use homing_store::Filter;

use crate::fixture::{Fixture, report, write};

#[tokio::test]
async fn an_output_is_json_in_a_plain_sqlite_shell_whatever_its_encoding() {
    let fixture = Fixture::sqlite();
    let outputs = [
        (ContentType::Json, b"{\"b\": 1.0,  \"a\":[]}".to_vec()),
        (
            ContentType::MessagePack,
            rmp_serde::to_vec_named(&("ä", 1)).unwrap(),
        ),
        (ContentType::Json, b"\"\xff".to_vec()),
        (ContentType::MessagePack, vec![0xc1]),
    ];
    let reports: Vec<_> = (1..)
        .zip(outputs)
        .map(|(number, (content_type, output))| {
            let mut report = report(number, Status::Succeeded);
            report.content_type = content_type;
            report.output = Some(output.into());
            report
        })
        .collect();
    write(&mut fixture.writer(), &reports);

    let shell = fixture.shell();
    let mut statement = shell
        .prepare("SELECT output_json FROM outcomes ORDER BY position")
        .unwrap();
    let json: Vec<Option<String>> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();

    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        json,
        [
            text("{\"b\": 1.0,  \"a\":[]}"),
            text("[\"ä\",1]"),
            None,
            None
        ]
    );
    let records = fixture
        .store()
        .await
        .list(&Filter::all(), 10)
        .await
        .unwrap();
    let derived: Vec<_> = records.iter().rev().map(|r| r.output_json()).collect();
    assert_eq!(derived, json);
}
