use std::path::PathBuf;
use std::sync::Arc;

use homing_broker::{Broker, Patience};
use homing_protocol::topology::Topology;
use homing_store::{Store, StoreError, StoreUrl};

use crate::exit::Exit;
use crate::settings::{BROKER_PATIENCE, Link, Setting, Settings};
use crate::time::grouped;
use crate::trouble::Trouble;

/// A namespace in the broker and a store, both for this process alone.
pub(super) struct Space {
    link: Link,
    store: StoreUrl,
    store_from: String,
    /// Of the store, if it is a file.
    folder: Option<PathBuf>,
}

impl Space {
    pub(super) async fn make(settings: &Settings) -> Result<Self, Trouble> {
        let Setting { value, from, .. } = settings.store_url()?;
        let own = uuid::Uuid::now_v7().simple();
        let namespace = format!("bench{own}").parse();
        let namespace =
            namespace.map_err(|error: homing_protocol::NameError| Trouble::bug(&error))?;
        let link = settings.link_to(
            Topology::new(namespace, []),
            Patience::Within(BROKER_PATIENCE),
        )?;
        let (store, folder) = match value.path() {
            Some(file) => {
                let folder = file.with_file_name(format!(".homing-bench-{own}"));
                (StoreUrl::sqlite(folder.join("bench.db")), Some(folder))
            }
            None => {
                is_empty(&value, &from).await?;
                (value, None)
            }
        };
        if let Some(folder) = &folder {
            let made = std::fs::create_dir(folder);
            made.map_err(|error| Trouble::file("make", &folder.display().to_string(), &error))?;
        }
        let space = Self {
            link,
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

    pub(super) fn broker(&self) -> &Arc<dyn Broker> {
        &self.link.broker
    }

    pub(super) const fn link(&self) -> &Link {
        &self.link
    }

    pub(super) const fn store(&self) -> &StoreUrl {
        &self.store
    }

    pub(super) fn place(&self) -> String {
        self.broker().place()
    }

    pub(super) fn store_trouble(&self, error: &StoreError) -> Trouble {
        Trouble::store(error).from(self.store_from.clone())
    }

    /// Deletes the queues, and the store if it is a file.
    pub(super) async fn remove(self) -> Result<(), Trouble> {
        let folder = self.remove_folder();
        let deleted = self.broker().delete().await;
        deleted.map_err(|error| self.link.trouble(&error))?;
        folder
    }

    fn remove_folder(&self) -> Result<(), Trouble> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        std::fs::remove_dir_all(folder)
            .map_err(|error| Trouble::file("remove", &folder.display().to_string(), &error))
    }
}

/// Fails if there is anything in the database.
async fn is_empty(url: &StoreUrl, from: &str) -> Result<(), Trouble> {
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
        "{url} has {} tasks, and a bench would add to them",
        grouped(tasks)
    );
    Err(Trouble::new(Exit::Config, what)
        .from(from)
        .fix("createdb homing_bench, and name it: --store postgres://…/homing_bench"))
}
