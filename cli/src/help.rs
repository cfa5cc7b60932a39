//! The help of `homing` itself. Verbs are grouped by what a person is about to
//! do, which clap cannot do for subcommands.

/// The template of `homing --help`. Each verb is in it once: a test compares.
pub(crate) const TEMPLATE: &str = "\
{about}

Usage: homing [OPTIONS] <COMMAND>

Run:
  up          Run broker, workers and collector in one process
  worker      Run tasks
  collector   Store outcomes as they arrive
  init        Write a small crate with a task, its worker and tests

Submit:
  submit      Submit one task, or one for each row of a file
  schema      Print the JSON Schema of a kind, or list kinds with one
  wait        Wait until tasks or a batch are done
  show        Show one task: status, attempts, output

Watch:
  tail        Print outcomes as they are stored
  list        List stored outcomes, newest first
  stats       Counts, rates and times, per kind or of a batch
  queues      Ready, in flight, delayed and dead, per queue
  doctor      Whether settings, broker, queues, store and disks are well
  audit       Whether every task has an answer, or where it may be

Repair:
  replay      Run tasks again that did not succeed
  dead        List, show or discard dead letters
  store       Copy a store from a file into a database
  topology    Create or compare exchanges and queues

Settings:
  context     List the contexts of homing.toml, and which is in use

Measure:
  bench       Tasks per second and latency on this broker and this store
  chaos       Kill workers and collectors, and count what is lost

Install:
  completions Print what completes the words of homing in a shell
  man         Write the pages for man

Options:
{options}{after-help}";

/// What `homing` alone says: what fits on a screen.
pub(crate) const FIRST: &str = "\
Typed tasks over RabbitMQ, and a stored outcome for every one of them.

Usage: homing [OPTIONS] <COMMAND>

  Run       up  worker  collector  init
  Submit    submit  schema  wait  show
  Watch     tail  list  stats  queues  doctor  audit
  Repair    replay  dead  store  topology
  Settings  context
  Measure   bench  chaos
  Install   completions  man

To begin, with nothing installed; the second one in another terminal:
  homing up --demo
  homing submit demo.echo '{\"n\":1}' --wait

homing --help says what each is for, homing help COMMAND how it is used.
";

/// What stands below the options of `homing --help`.
pub(crate) const EXITS: &str = "\
`homing COMMAND --help` has examples.

Exit status: 0 done, 1 the answer is no, 2 usage, 3 partly, 4 timed out,
5 not found, 69 unreachable, 70 a bug, 75 wedged, 77 refused, 78 bad setting,
130 ended at once by a second Ctrl-C";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    #[test]
    fn each_verb_is_in_the_help_once() {
        let command = command();
        let verbs: Vec<_> = command
            .get_subcommands()
            .filter(|verb| !verb.is_hide_set())
            .map(|verb| verb.get_name())
            .collect();

        let listed: Vec<_> = TEMPLATE
            .lines()
            .filter(|line| line.starts_with("  "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();

        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(sorted(listed), sorted(verbs));
    }

    #[test]
    fn the_first_help_names_the_same_verbs_in_the_same_groups_and_fits_a_screen() {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in TEMPLATE.lines().skip_while(|line| *line != "Run:") {
            match line.strip_prefix("  ") {
                Some(verb) => groups.last_mut().unwrap().1.extend(verb.split(' ').next()),
                None if line == "Options:" => break,
                None if !line.is_empty() => groups.push((line.trim_end_matches(':'), Vec::new())),
                None => {}
            }
        }

        for (group, verbs) in groups {
            let expected = format!("  {group:<9} {}", verbs.join("  "));
            assert!(FIRST.lines().any(|line| line == expected), "{expected}");
        }
        assert!(FIRST.lines().count() < 24);
        assert!(FIRST.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn help_fits_80_columns_and_every_verb_has_an_example() {
        let mut command = command().term_width(80);
        command.build();
        let overview = command.render_help().to_string();
        assert!(
            overview.lines().all(|line| line.chars().count() <= 80),
            "{overview}"
        );
        for verb in command
            .get_subcommands_mut()
            .filter(|verb| !verb.is_hide_set())
        {
            let help = verb.render_help().to_string();
            assert!(help.contains("Example"), "{help}");
            // What is written below is in its own lines; broken ones are ragged.
            let below = verb.get_after_help().unwrap().to_string();
            let long = below.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None, "{}", verb.get_name());
            assert!(
                help.lines().all(|line| line.chars().count() <= 80),
                "{help}"
            );
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
