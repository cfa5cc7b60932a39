//! A namespace and a store of its own, for a verb that tries out the user's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_broker::{Broker, BrokerUrl, Patience};
use homing_protocol::topology::Topology;
use homing_store::{Store, StoreError, StoreUrl};

use crate::exit::Exit;
use crate::settings::{BROKER_PATIENCE, Link, Setting, Settings, UP_FILE};
use crate::time::grouped;
use crate::trouble::Trouble;

/// How long what was in the folder may go on writing to it.
const LAST_WRITES_TIME: Duration = Duration::from_secs(2);

/// Between two tries to remove it.
const LOOK: Duration = Duration::from_millis(20);

/// A namespace in the broker and a store, both for this process alone.
pub(crate) struct Space {
    link: Link,
    broker_url: BrokerUrl,
    store: StoreUrl,
    store_from: String,
    /// Beside the user's store, if that is a file, and has this one then.
    folder: PathBuf,
}

impl Space {
    /// Makes one for the verb `name`, in `broker`, or where there is none in one
    /// that it brings.
    pub(crate) async fn make(
        name: &'static str,
        broker: Option<Setting<BrokerUrl>>,
        settings: &Settings,
    ) -> Result<Self, Trouble> {
        let Setting { value, from, .. } = settings.store_url()?;
        let own = uuid::Uuid::now_v7().simple();
        let namespace = format!("{name}-{own}").parse();
        let namespace =
            namespace.map_err(|error: homing_protocol::NameError| Trouble::bug(&error))?;
        let unique = format!(".homing-{name}-{own}");
        let (folder, store) = match value.path() {
            Some(file) => {
                let folder = file.with_file_name(unique);
                let store = StoreUrl::sqlite(folder.join(format!("{name}.db")));
                (folder, store)
            }
            None => {
                is_empty(name, &value, &from).await?;
                (std::env::temp_dir().join(unique), value)
            }
        };
        let made = std::fs::create_dir(&folder);
        made.map_err(|error| Trouble::file("make", &folder.display().to_string(), &error))?;
        let broker = broker.unwrap_or_else(|| brought(&folder));
        let broker_url = broker.value.clone();
        let patience = Patience::Within(BROKER_PATIENCE);
        let space = Self {
            link: Link::new(broker, Topology::new(namespace, []), patience),
            broker_url,
            store,
            store_from: from,
            folder,
        };
        if let Err(error) = space.broker().apply().await {
            let trouble = space.link.trouble(&error);
            // Whatever there is by then; why it is not all is what is told.
            let _left = space.remove().await;
            return Err(trouble);
        }
        Ok(space)
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.link.broker
    }

    pub(crate) const fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) const fn store(&self) -> &StoreUrl {
        &self.store
    }

    pub(crate) const fn broker_url(&self) -> &BrokerUrl {
        &self.broker_url
    }

    /// What tells another process of ours where both are. Their texts may hold a
    /// password, which nobody may see in a command line.
    pub(crate) fn variables(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let broker = match &self.broker_url {
            file @ BrokerUrl::Sqlite(_) => Some(file.to_string()),
            // A variable is inherited as it is.
            _ => settings.broker.clone(),
        };
        let store = match self.store.path() {
            Some(_) => Some(self.store.to_string()),
            None => settings.store.clone(),
        };
        let broker = broker.map(|url| ("HOMING_BROKER", url));
        let store = store.map(|url| ("HOMING_STORE", url));
        broker.into_iter().chain(store).collect()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn place(&self) -> String {
        self.broker().place()
    }

    pub(crate) fn store_trouble(&self, error: &StoreError) -> Trouble {
        Trouble::store(error).from(self.store_from.clone())
    }

    /// Deletes the queues, and the store if it is a file.
    pub(crate) async fn remove(self) -> Result<(), Trouble> {
        let deleted = self.broker().delete().await;
        let deleted = deleted.map_err(|error| self.link.trouble(&error));
        let folder = self.folder;
        // It ends what may be written there.
        drop(self.link);
        let removed = remove_folder(&folder).await;
        let removed =
            removed.map_err(|error| Trouble::file("remove", &folder.display().to_string(), &error));
        deleted.and(removed)
    }
}

/// The broker in a file of its own.
fn brought(folder: &Path) -> Setting<BrokerUrl> {
    let path = folder.join(UP_FILE);
    Setting {
        from: format!("its own, sqlite:{}", path.display()),
        value: BrokerUrl::Sqlite(path),
        name: "default".to_owned(),
    }
}

/// Removes a folder in which something may just come to its end.
async fn remove_folder(folder: &Path) -> io::Result<()> {
    let since = Instant::now();
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if since.elapsed() < LAST_WRITES_TIME => tokio::time::sleep(LOOK).await,
            removed => return removed,
        }
    }
}

/// Fails if there is anything in the database.
async fn is_empty(name: &str, url: &StoreUrl, from: &str) -> Result<(), Trouble> {
    let told = |error: &StoreError| Trouble::store(error).from(from);
    let store = match Store::open(url).await {
        Err(StoreError::Missing { .. }) => return Ok(()),
        opened => opened.map_err(|error| told(&error))?,
    };
    let kinds = store.stats(None).await.map_err(|error| told(&error))?;
    let tasks: u64 = kinds.iter().map(|kind| kind.counts.total()).sum();
    if tasks == 0 {
        return Ok(());
    }
    let what = format!(
        "{url} has {} tasks, and homing {name} would add to them",
        grouped(tasks)
    );
    Err(Trouble::new(Exit::Config, what).from(from).fix(format!(
        "createdb homing_{name}, and name it: --store postgres://…/homing_{name}"
    )))
}
