//! What the handler does, without any pipeline.

use {{crate}}::Counts;

#[test]
fn lines_and_words_are_counted() {
    let counts = Counts::of("one\ntwo  words\n");

    assert_eq!(counts, Counts { lines: 2, words: 3 });
}

#[test]
fn an_empty_file_has_neither() {
    assert_eq!(Counts::of(""), Counts { lines: 0, words: 0 });
}
