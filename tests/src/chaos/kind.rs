use std::fmt;
use std::str::FromStr;

use crate::load::Mix;

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Kind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// Workers are killed.
    WorkerKill = "worker-kill",
    /// Workers stop in their tracks for a moment.
    WorkerFreeze = "worker-freeze",
    /// The broker closes a worker's connections while it is frozen, so that it
    /// goes on with deliveries that are somebody else's by now.
    WorkerStale = "worker-stale",
    /// Workers are told to end.
    WorkerTerm = "worker-term",
    /// Workers are told to end at once.
    WorkerTermTwice = "worker-term-twice",
    /// Workers die between a delivery and its handler's end.
    WorkerCrashRun = "worker-crash-run",
    /// Workers die around the publish of an outcome and the ack.
    WorkerCrashSettle = "worker-crash-settle",
    /// Workers die between a failed attempt and the next.
    WorkerCrashRetry = "worker-crash-retry",
    /// Workers die around dead letters and tasks published again.
    WorkerCrashBury = "worker-crash-bury",
    /// Workers die while they drain.
    WorkerCrashDrain = "worker-crash-drain",
    /// The collector that collects is killed, and the one that stands by.
    CollectorKill = "collector-kill",
    /// The collector stops in its tracks for a moment.
    CollectorFreeze = "collector-freeze",
    /// Collectors are told to end.
    CollectorTerm = "collector-term",
    /// Collectors die around a commit.
    CollectorCrash = "collector-crash",
    /// Another process holds the store, and the collector is killed meanwhile.
    StoreLocked = "store-locked",
    /// Producers on the library are killed, and go on.
    ProducerKill = "producer-kill",
    /// Producers on the library die at each of their steps.
    ProducerCrash = "producer-crash",
    /// `homing submit` is killed, and resumed.
    SubmitKill = "submit-kill",
    /// `homing submit` dies at each of its steps.
    SubmitCrash = "submit-crash",
    /// The broker is killed.
    BrokerKill = "broker-kill",
    /// The broker is stopped in good order and started.
    BrokerRestart = "broker-restart",
    /// The broker stops in its tracks for a moment.
    BrokerFreeze = "broker-freeze",
    /// The broker closes all connections.
    CloseConnections = "close-connections",
    /// The broker is short of memory, and workers are killed meanwhile.
    Alarm = "alarm",
    /// The broker is short of memory, and drops the connections that publish.
    AlarmCut = "alarm-cut",
    /// The outcomes that somebody waits for are lost on their way.
    RepliesLost = "replies-lost",
    /// Tasks are published two and three times, under one id.
    CopiedTasks = "copied-tasks",
    /// Reports are published again, in another order.
    RepeatedReports = "repeated-reports",
    /// Reports come late that tell another story.
    LateReports = "late-reports",
    /// Poison tasks are among the others.
    Poison = "poison",
    /// Most tasks fail first or are delayed, and workers are killed.
    RetryStorm = "retry-storm",
    /// Connections are cut after some byte.
    LinkCut = "link-cut",
    /// All connections are reset at once.
    LinkReset = "link-reset",
    /// Connections stay open and carry nothing more.
    LinkSwallow = "link-swallow",
    /// Connections are slow and narrow.
    LinkSlow = "link-slow",
    /// Nobody listens at the broker's port for a moment.
    LinkRefused = "link-refused",
    /// Everybody is killed, frozen and told to end in turn.
    Storm = "storm",
}

impl Kind {
    /// Whether its faults are made by the proxy in front of the broker.
    pub const fn is_of_links(self) -> bool {
        matches!(
            self,
            Self::LinkCut
                | Self::LinkReset
                | Self::LinkSwallow
                | Self::LinkSlow
                | Self::LinkRefused
        )
    }

    /// What tasks it is tried with.
    pub const fn mix(self) -> Mix {
        let usual = Mix::USUAL;
        match self {
            Self::CopiedTasks => Mix {
                copied: 400,
                bundled: 300,
                ..usual
            },
            // One load for each kill.
            Self::BrokerKill => Mix {
                tasks: 140,
                ..usual
            },
            Self::Poison => Mix { poison: 1, ..usual },
            Self::RetryStorm => Mix {
                flaky: 500,
                delayed: 200,
                ..usual
            },
            Self::WorkerCrashRetry => Mix {
                flaky: 200,
                ..usual
            },
            Self::WorkerCrashBury => Mix {
                unknown: 100,
                bundled: 300,
                ..usual
            },
            // There must be something to do while they last.
            Self::Alarm | Self::AlarmCut | Self::StoreLocked | Self::LateReports => Mix {
                sleep_ms: 60,
                ..usual
            },
            _ => usual,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no kind `{name}`; there are {}", all.join(", "))
        })
    }
}
