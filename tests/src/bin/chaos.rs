//! Runs the pipeline under faults of every kind: `make chaos`, `make sabotage`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use homing_tests::Node;
use homing_tests::chaos::{Kind, Plan, sabotage};

const USAGE: &str = "\
usage: chaos [--minutes N] [--runs N] [--kinds KIND,…] [--seed N] [--scale X] [--json FILE]
       chaos --sabotage [--seed N] [--scale X]

Without --minutes and --runs each kind is run once.";

#[derive(Default)]
struct Arguments {
    minutes: Option<f64>,
    runs: Option<u64>,
    kinds: Option<String>,
    seed: Option<u64>,
    scale: Option<f64>,
    json: Option<PathBuf>,
    sabotage: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let well = runtime.block_on(run(arguments));
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Reads the command line. A flag with an empty value is one that is not given:
/// that is how `make` passes them on.
fn arguments() -> Result<Arguments, String> {
    let mut given = std::env::args().skip(1);
    let mut arguments = Arguments::default();
    while let Some(flag) = given.next() {
        if flag == "--sabotage" {
            arguments.sabotage = true;
            continue;
        }
        let value = given
            .next()
            .ok_or_else(|| format!("{flag} takes a value"))?;
        if value.is_empty() {
            continue;
        }
        let wrong = || format!("{flag} does not take `{value}`");
        match flag.as_str() {
            "--minutes" => arguments.minutes = Some(value.parse().map_err(|_| wrong())?),
            "--runs" => arguments.runs = Some(value.parse().map_err(|_| wrong())?),
            "--kinds" => arguments.kinds = Some(value),
            "--seed" => arguments.seed = Some(value.parse().map_err(|_| wrong())?),
            "--scale" => arguments.scale = Some(value.parse().map_err(|_| wrong())?),
            "--json" => arguments.json = Some(value.into()),
            _ => return Err(format!("there is no {flag}")),
        }
    }
    Ok(arguments)
}

async fn run(arguments: Arguments) -> bool {
    if !homing_faults::is_enabled() {
        eprintln!("this build cannot be made to fail: build with --features homing-tests/faults");
        return false;
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let scale = arguments.scale.unwrap_or(1.0);
    let kinds = match &arguments.kinds {
        None => Ok(Kind::ALL.to_vec()),
        Some(names) => names.split(',').map(str::parse).collect(),
    };
    let kinds = match kinds {
        Ok(kinds) => kinds,
        Err(problem) => {
            eprintln!("{problem}");
            return false;
        }
    };
    eprintln!("seed {seed}, {} kinds of fault", kinds.len());
    let node = Node::start();
    if arguments.sabotage {
        return sabotage(&node, seed, scale).await;
    }
    let time = arguments.minutes.map(|m| Duration::from_secs_f64(m * 60.0));
    let once = (time.is_none() && arguments.runs.is_none()).then_some(1);
    let plan = Plan {
        seed,
        kinds,
        time,
        runs: arguments.runs.or(once),
        scale,
    };
    let (summary, failure) = plan.run(&node).await;
    if let Some(file) = &arguments.json {
        let written = std::fs::write(file, format!("{:#}\n", summary.json(seed)));
        written.expect("the summary can be written");
    }
    if let Some(failure) = &failure {
        eprintln!("\nwrong:\n{}", failure.findings);
        eprintln!("again:  make chaos {}", failure.again);
        eprintln!("folder: {}", failure.folder.display());
    }
    say(&summary.to_string());
    failure.is_none()
}

#[expect(clippy::print_stdout, reason = "it is this program's answer")]
fn say(summary: &str) {
    println!("{summary}");
}
