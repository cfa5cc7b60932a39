//! The fields of a report as columns.

use serde::de::{DeserializeSeed, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::report::Report;

macro_rules! is {
    (always) => {
        true
    };
    (sometimes) => {
        false
    };
    (shared) => {
        true
    };
    (own) => {
        false
    };
}

macro_rules! is_there {
    (always, $value:expr) => {
        true
    };
    (sometimes, $value:expr) => {
        $value.is_some()
    };
}

macro_rules! is_alike {
    (own, $one:expr, $other:expr) => {
        false
    };
    (shared, $one:expr, $other:expr) => {
        $one == $other
    };
}

macro_rules! fields {
    ($($field:ident $variant:ident $when:ident $place:ident),* $(,)?) => {
        /// A field of a report.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Field {
            $($variant),*
        }

        impl Field {
            /// Every field, in the order of columns.
            pub(super) const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name on the wire.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field)),*
                }
            }

            /// The field of that name, `None` for one of a later version.
            pub(super) fn named(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($field) => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn write<S: Serializer>(self, report: &Report, to: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$variant => report.$field.serialize(to)),*
                }
            }

            fn read<'de, D: Deserializer<'de>>(
                self, report: &mut Report, from: D,
            ) -> Result<(), D::Error> {
                match self {
                    $(Self::$variant => report.$field = Deserialize::deserialize(from)?),*
                }
                Ok(())
            }
        }

        impl Fields {
            /// What every report has.
            pub(super) const REQUIRED: Self = Self(0 $(| bit(Field::$variant, is!($when)))*);

            /// What may be said once for all reports.
            pub(super) const SHAREABLE: Self = Self(0 $(| bit(Field::$variant, is!($place)))*);

            /// What this report has.
            pub(super) fn of(report: &Report) -> Self {
                // Every field by its name: one that a table would leave out
                // does not compile.
                let Report { $($field: _),* } = report;
                Self(0 $(| bit(Field::$variant, is_there!($when, report.$field)))*)
            }

            /// What may be said once for these two.
            pub(super) fn alike(one: &Report, other: &Report) -> Self {
                Self(0 $(| bit(Field::$variant, is_alike!($place, one.$field, other.$field)))*)
            }
        }
    };
}

// The field, its variant here, whether each report has it, and whether it may
// be shared: those that are often alike, if they are small.
fields! {
    task Task always own,
    run Run always shared,
    kind Kind always shared,
    status Status always shared,
    attempt Attempt always shared,
    attempts_max AttemptsMax always shared,
    attempt_id AttemptId sometimes own,
    digest Digest always own,
    queue Queue always shared,
    batch Batch sometimes shared,
    row Row sometimes own,
    correlation_id CorrelationId sometimes own,
    submitted_at SubmittedAt always shared,
    started_at StartedAt always own,
    waited_ms WaitedMs always own,
    run_us RunUs always own,
    worker Worker always shared,
    content_type ContentType always shared,
    output Output sometimes own,
    error Error sometimes own,
    error_data ErrorData sometimes own,
    reason Reason sometimes own,
    payload Payload sometimes own,
    retry_at RetryAt sometimes own,
}

const fn bit(field: Field, there: bool) -> u32 {
    (there as u32) << field as u32
}

/// Some fields of a report.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Fields(u32);

impl Fields {
    pub(super) const fn has(self, field: Field) -> bool {
        self.0 & bit(field, true) != 0
    }

    pub(super) const fn or(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(super) const fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    pub(super) const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Takes in `field`. Answers whether it is new.
    pub(super) const fn add(&mut self, field: Field) -> bool {
        let new = !self.has(field);
        self.0 |= bit(field, true);
        new
    }

    /// These fields, in the order of columns.
    pub(super) fn iter(self) -> impl Iterator<Item = Field> {
        let all = Field::ALL.iter().copied();
        all.filter(move |field| self.has(*field))
    }
}

impl FromIterator<Field> for Fields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let bits = fields.into_iter().map(|field| bit(field, true));
        Self(bits.fold(0, |all, one| all | one))
    }
}

/// What a report says in a field, to be written.
pub(super) struct Cell<'a> {
    pub(super) field: Field,
    pub(super) report: &'a Report,
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.field.write(self.report, to)
    }
}

/// Where what is read of a field goes: nowhere, if a later version added it.
pub(super) struct Slot<'a> {
    pub(super) field: Option<Field>,
    pub(super) report: &'a mut Report,
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match self.field {
            Some(field) => field.read(self.report, from),
            None => IgnoredAny::deserialize(from).map(|_ignored| ()),
        }
    }
}
