//! The properties that libFuzzer tries to break (`make fuzz`), over the committed
//! corpus and everything that is one step away from it.

#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a library of its own for libFuzzer")]
mod fuzz;

/// The files of each property's corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn every_property_holds_for_the_corpus_and_for_every_cut_and_every_changed_byte_of_it() {
    for (name, property) in fuzz::PROPERTIES {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            property(&file);
            (0..file.len()).for_each(|end| property(&file[..end]));
            for at in 0..file.len() {
                for byte in [0x00, 0x7f, 0x80, 0xc0, 0xff, file[at] ^ 1, file[at] ^ 0x40] {
                    let mut changed = file.clone();
                    changed[at] = byte;
                    property(&changed);
                }
            }
        }
    }
}
