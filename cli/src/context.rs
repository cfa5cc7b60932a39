//! `homing context`: which contexts there are.

use homing_broker::BrokerUrl;
use homing_store::StoreUrl;
use serde::Serialize;

use crate::contexts::{Context, InUse};
use crate::exit::Exit;
use crate::output::{Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
A context is a name for settings, in homing.toml here, or else in
~/.config/homing/config.toml ($XDG_CONFIG_HOME/homing):

  default-context = \"local\"
  [context.local]
  broker = \"sqlite:homing-queue.db\"
  [context.prod]
  broker = \"amqp://USER:PASSWORD@HOST/VHOST\"
  store = \"postgres://USER:PASSWORD@HOST/DATABASE\"
  namespace = \"orders\"
  management-url = \"http://HOST:15672\"

A flag wins over a variable, a variable over the context, the context over the
default. --context and HOMING_CONTEXT name another than the default one. Worker
programs of your own and producers know flags and variables alone.

Examples:
  homing context
  homing --context prod queues";

/// List the contexts of homing.toml, and which is in use
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ContextArgs {}

/// One context; of a URL that is none nothing is shown, since it may hold a password.
#[derive(Debug, Serialize)]
struct ContextLine {
    context: String,
    in_use: bool,
    broker: Option<String>,
    store: Option<String>,
    namespace: Option<String>,
}

impl Line for ContextLine {
    const COLUMNS: &'static [Column] = &[
        ("CONTEXT", Fit::Left),
        ("IN USE", Fit::Left),
        ("BROKER", Fit::Left),
        ("STORE", Fit::Left),
        ("NAMESPACE", Fit::Left),
    ];

    fn cells(&self) -> Vec<Cell> {
        let text = |text: &Option<String>| Cell::text(text.as_deref().unwrap_or("-"));
        vec![
            Cell::text(&self.context),
            Cell::text(if self.in_use { "yes" } else { "-" }),
            text(&self.broker),
            text(&self.store),
            text(&self.namespace),
        ]
    }
}

pub(crate) fn run(_: &ContextArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let in_use = settings.in_use()?;
    let Some(contexts) = settings.contexts()? else {
        Talk::new(settings).say("no context: no homing.toml is here, nor one of this user's");
        return Ok(Exit::Done);
    };
    let lines: Vec<_> = contexts
        .all()
        .map(|(name, context)| line(name, context, in_use))
        .collect();
    Output::new(settings).lines(&lines)?;
    Ok(Exit::Done)
}

fn line(name: &str, context: &Context, in_use: Option<InUse<'_>>) -> ContextLine {
    let broker = context.broker.as_deref().map(str::parse::<BrokerUrl>);
    let store = context.store.as_deref().map(str::parse::<StoreUrl>);
    ContextLine {
        context: name.to_owned(),
        in_use: in_use.is_some_and(|in_use| in_use.name == name),
        broker: broker.map(|url| shown(url.ok())),
        store: store.map(|url| shown(url.ok())),
        namespace: context.namespace.clone(),
    }
}

fn shown(url: Option<impl ToString>) -> String {
    url.map_or_else(|| "no URL".to_owned(), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_listed_even_of_what_is_no_url() {
        let context = Context {
            broker: Some("amqp://u:s3cret@h".to_owned()),
            store: Some("mysql://u:s3cret@h/d".to_owned()),
            ..Context::default()
        };

        let line = line("prod", &context, None);

        assert_eq!(line.broker.as_deref(), Some("amqp://u:***@h:5672/%2f"));
        assert_eq!(line.store.as_deref(), Some("no URL"));
    }
}
