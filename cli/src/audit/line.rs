use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::Verdict;
use super::account::{Account, Identity, Subject};
use super::search::Found;
use crate::output::Line;
use crate::table::{Cell, Column, Fit};
use crate::time::grouped;

/// Most rows, ranges of rows or ids that a line names; `--json` names all.
const NAMED_MAX: usize = 10;

/// Said where ids differ from those that were submitted.
const OTHERS: &str = "tasks that its producer did not submit are stored under its id";

/// An account and its verdict as one line.
#[derive(Debug, Serialize)]
pub(super) struct AuditLine {
    verdict: &'static str,
    /// `batch`, `outside-batches` or `named`.
    of: &'static str,
    batch: Option<String>,
    label: Option<String>,
    tasks: Option<u64>,
    closed: u64,
    missing: Option<u64>,
    /// First and last of each range.
    rows: Vec<(u64, u64)>,
    ids: Vec<String>,
    queues: BTreeMap<String, u64>,
    detail: String,
}

impl Line for AuditLine {
    const COLUMNS: &'static [Column] = &[
        ("VERDICT", Fit::Left),
        ("BATCH", Fit::Left),
        ("LABEL", Fit::Left),
        ("TASKS", Fit::Right),
        ("CLOSED", Fit::Right),
        ("MISSING", Fit::Right),
        ("DETAIL", Fit::Free),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(self.verdict),
            Cell::text(self.batch.as_deref().unwrap_or(self.of)),
            Cell::text(self.label.as_deref().unwrap_or_default()),
            Cell::number(self.tasks),
            Cell::number(Some(self.closed)),
            Cell::number(self.missing),
            Cell::text(&self.detail),
        ]
    }
}

impl AuditLine {
    pub(super) fn new(account: &Account, verdict: Verdict, found: &Found) -> Self {
        let (of, batch, label) = match &account.subject {
            Subject::Batch { id, label } => ("batch", Some(id.to_string()), Some(label.clone())),
            Subject::OutsideBatches => ("outside-batches", None, None),
            Subject::Named => ("named", None, None),
        };
        let short = account.is_short();
        let queues = match found {
            Found::Holding(queues) if short => queues.clone(),
            _ => BTreeMap::new(),
        };
        Self {
            verdict: verdict.as_str(),
            of,
            batch,
            label,
            tasks: account.total,
            closed: account.closed,
            missing: account.missing(),
            rows: match short {
                true => pairs(&account.rows),
                false => Vec::new(),
            },
            ids: account.tasks.iter().map(ToString::to_string).collect(),
            detail: detail(account, verdict, found),
            queues,
        }
    }
}

fn pairs(rows: &[RangeInclusive<u64>]) -> Vec<(u64, u64)> {
    rows.iter()
        .map(|rows| (*rows.start(), *rows.end()))
        .collect()
}

/// What a person wants to know beyond the numbers.
fn detail(account: &Account, verdict: Verdict, found: &Found) -> String {
    match (verdict, found) {
        (Verdict::Proved | Verdict::Open, _) => String::new(),
        (Verdict::OnTheWay, Found::Holding(queues)) => {
            let parts = queues.iter().map(|(queue, n)| format!("{queue} {n}"));
            parts.collect::<Vec<_>>().join(", ")
        }
        (Verdict::Unknown, Found::Unknown(why)) => format!("{}; {why}", names(account)),
        _ => names(account),
    }
}

/// Names what is missing.
fn names(account: &Account) -> String {
    let missing = account.missing().unwrap_or(0);
    let ranges = account
        .rows
        .iter()
        .map(|rows| match rows.end() - rows.start() {
            0 => rows.start().to_string(),
            _ => format!("{}-{}", rows.start(), rows.end()),
        });
    let rows = account.rows_count();
    let mut parts = Vec::new();
    if rows > missing {
        let named = listed(ranges, account.rows.len());
        parts.push(format!("{} of rows {named}", grouped(missing)));
    } else if rows > 0 {
        let named = listed(ranges, account.rows.len());
        parts.push(format!("rows {named}"));
    }
    if !account.tasks.is_empty() {
        let ids = account.tasks.iter().map(ToString::to_string);
        parts.push(format!("tasks {}", listed(ids, account.tasks.len())));
    }
    match account.identity {
        Identity::AsSubmitted => {}
        Identity::Others => parts.push(OTHERS.to_owned()),
        Identity::Doubtful => parts.push(format!("{OTHERS}, maybe for one that is missing")),
    }
    parts.join("; ")
}

fn listed(names: impl Iterator<Item = String>, count: usize) -> String {
    let mut named = names.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
    if count > NAMED_MAX {
        named.push_str(&format!(" and more ({count}): --json"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(total: u64, closed: u64, rows: &[RangeInclusive<u64>]) -> Account {
        Account {
            subject: Subject::Named,
            total: Some(total),
            closed,
            tasks: Vec::new(),
            identity: Identity::AsSubmitted,
            rows: rows.to_vec(),
        }
    }

    #[test]
    fn missing_rows_are_named_as_ranges() {
        let account = account(10, 7, &[3..=3, 8..=9]);

        assert_eq!(names(&account), "rows 3, 8-9");
    }

    #[test]
    fn where_rows_were_rejected_the_missing_ones_are_among_those_named() {
        let account = account(9, 8, &[3..=3, 10..=10]);

        assert_eq!(names(&account), "1 of rows 3, 10");
    }

    #[test]
    fn very_many_are_not_all_named() {
        let rows: Vec<_> = (1..=20).map(|row| row * 2..=row * 2).collect();

        let said = names(&account(40, 20, &rows));

        assert!(said.ends_with("20 and more (20): --json"), "{said}");
    }
}
