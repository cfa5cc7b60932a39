//! Small disks, for the tests that fill them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, of a few MiB, at a folder. Gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Makes one of `mib` MiB at `folder`, which it creates.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be mounted, which takes root.
    pub fn mount(folder: &Path, mib: u32) -> Self {
        std::fs::create_dir_all(folder).expect("a folder to mount at");
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "homing-test"])
            .arg(folder)
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "no small disk can be mounted at {}: the test of full disks takes root",
            folder.display()
        );
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Fills it to the last byte with one more file.
    pub fn fill(&self) {
        let Ok(mut file) = File::create(self.ballast()) else {
            return;
        };
        // Smaller and smaller pieces, until none has room.
        for bytes in [1 << 20, 1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; bytes]).is_ok() {}
        }
    }

    /// Removes what filled it.
    ///
    /// # Panics
    ///
    /// Panics if nothing did.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("what filled it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of the test may still have files open there.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "{} cannot be unmounted",
            self.folder.display()
        );
        let _not_empty = std::fs::remove_dir(&self.folder);
    }
}
