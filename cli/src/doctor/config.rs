//! The file of contexts, and whether others may read the passwords in it.

use super::finding::Finding;
use crate::contexts::{Contexts, InUse};
use crate::settings::Settings;
use crate::trouble::Trouble;

const CHECK: &str = "config";

/// Looks at the file, if there is one.
pub(super) fn check(settings: &Settings) -> Finding {
    let found = settings
        .contexts()
        .and_then(|contexts| Ok((contexts, settings.in_use()?)));
    judge(found)
}

/// Pure.
fn judge(found: Result<(Option<&Contexts>, Option<InUse<'_>>), Trouble>) -> Finding {
    let (contexts, in_use) = match found {
        Ok((Some(contexts), in_use)) => (contexts, in_use),
        Ok((None, _)) => {
            return Finding::ok(CHECK, "no homing.toml is here, nor one of this user's");
        }
        Err(trouble) => return Finding::bad(CHECK, trouble),
    };
    let path = contexts.path.display();
    if contexts.shows_password() {
        return Finding::warning(
            CHECK,
            format!("{path} holds a password, and others may read it"),
            format!("let only its owner read it: chmod 600 {path}"),
        );
    }
    match in_use {
        Some(in_use) => Finding::ok(CHECK, format!("{path}, context {}", in_use.name)),
        None => Finding::ok(CHECK, format!("{path}, no context is in use")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use crate::contexts::ContextError;

    fn contexts(is_open: bool) -> Contexts {
        Contexts::of("[context.a]\nbroker = 'amqp://u:s3cret@h'", is_open)
    }

    #[test]
    fn a_password_that_others_may_read_is_a_warning() {
        for (is_open, expected) in [(true, Verdict::Warning), (false, Verdict::Ok)] {
            let finding = judge(Ok((Some(&contexts(is_open)), None)));

            assert_eq!(finding.verdict, expected, "{finding:?}");
        }
    }

    #[test]
    fn no_file_is_ok_and_a_broken_one_bad() {
        let broken = ContextError::none("prod").trouble();

        assert_eq!(judge(Ok((None, None))).verdict, Verdict::Ok);
        assert_eq!(judge(Err(broken)).verdict, Verdict::Bad);
    }
}
