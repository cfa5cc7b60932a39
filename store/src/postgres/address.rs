use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use url::Url;

use crate::place::Place;

/// PostgreSQL's own port.
const PORT: u16 = 5432;

/// How long a server may take to accept a connection: as long as one-shot verbs
/// give the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long without an answer to what was sent a connection is over. The
/// system's default is a quarter of an hour.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// When an idle connection is asked whether it still lives, how often, and how
/// many times: a dead one is noticed within half a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES: u32 = 4;

/// What is escaped in a URL that is shown: all but RFC 3986's unreserved.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a PostgreSQL store is, and how to get there.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Address {
    user: String,
    password: Option<String>,
    /// A name, an address, or the folder of a socket.
    host: String,
    port: u16,
    database: String,
    pub(super) encryption: Encryption,
    /// The file with the certificates that are trusted.
    pub(super) roots: Option<PathBuf>,
    /// The options as they were given.
    options: String,
}

/// What a connection must be, as PostgreSQL's own `sslmode` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encryption {
    /// Not encrypted.
    Disable,
    /// Encrypted if the server can, whoever it is.
    Prefer,
    /// Encrypted, whoever the server is.
    Require,
    /// Encrypted, and the server proves that it has the host's name.
    VerifyFull,
}

impl Address {
    /// Reads a URL. The error says what is wrong with it, without its text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("cannot be read: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        let mut address = Self {
            user: decode(url.username(), "user")?,
            password: url
                .password()
                .map(|password| decode(password, "password"))
                .transpose()?,
            host: decode(host.trim_matches(['[', ']']), "host")?,
            port: url.port().unwrap_or(PORT),
            database: decode(url.path().trim_start_matches('/'), "database")?,
            encryption: Encryption::Prefer,
            roots: None,
            options: url.query().unwrap_or_default().to_owned(),
        };
        for (what, text) in [
            ("user", &address.user),
            ("host", &address.host),
            ("database", &address.database),
        ] {
            if text.is_empty() {
                return Err(format!("names no {what}"));
            }
        }
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" => address.encryption = Encryption::parse(&value)?,
                "sslrootcert" => address.roots = Some(PathBuf::from(&*value)),
                // Of a password with a `?` that is not escaped it is the rest.
                _ => {
                    return Err(
                        "has an unknown option: there are `sslmode` and `sslrootcert`, \
                         and a `?` in a password is written `%3F`"
                            .to_owned(),
                    );
                }
            }
        }
        if address.is_verified() && address.encryption == Encryption::Prefer {
            return Err("has an `sslrootcert`, which only `sslmode=require` and `sslmode=verify-full` look at".to_owned());
        }
        Ok(address)
    }

    /// Whether the server must prove that it has the host's name.
    pub(super) fn is_verified(&self) -> bool {
        self.encryption == Encryption::VerifyFull || self.roots.is_some()
    }

    pub(crate) fn place(&self) -> Place {
        Place::Database(self.to_string())
    }

    /// How to connect.
    pub(super) fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.database)
            .application_name(this_process())
            .ssl_mode(match self.encryption {
                Encryption::Disable => SslMode::Disable,
                Encryption::Prefer => SslMode::Prefer,
                Encryption::Require | Encryption::VerifyFull => SslMode::Require,
            })
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(SILENCE_MAX)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVES);
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
    }
}

impl Encryption {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-full" => Self::VerifyFull,
            _ => {
                return Err(
                    "has an unknown `sslmode`: it is one of disable, prefer, require, verify-full"
                        .to_owned(),
                );
            }
        })
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = |text| utf8_percent_encode(text, ESCAPED).to_string();
        let password = if self.password.is_some() { ":***" } else { "" };
        let host = match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => encoded(&self.host),
        };
        let (user, database) = (encoded(&self.user), encoded(&self.database));
        write!(
            f,
            "postgres://{user}{password}@{host}:{}/{database}",
            self.port
        )?;
        if self.options.is_empty() {
            return Ok(());
        }
        write!(f, "?{}", self.options)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How people tell this process from others, as the server shows it to them.
pub(super) fn this_process() -> String {
    /// What PostgreSQL keeps of an application's name, in bytes.
    const BYTES_MAX: usize = 63;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "this host",
        host => host,
    };
    let mut name = format!("process {} on {host}", std::process::id());
    name.retain(|character| character.is_ascii_graphic() || character == ' ');
    name.truncate(BYTES_MAX);
    name
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| format!("has a {what} that is no UTF-8"))?;
    if decoded.contains('\0') {
        return Err(format!("has a {what} with a zero byte"));
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(text)
    }

    #[test]
    fn every_part_of_a_url_is_decoded() {
        let address = parse("postgres://a%40b:p%2F%3A@[::1]:5433/d%20b?sslmode=disable").unwrap();

        assert_eq!(address.user, "a@b");
        assert_eq!(address.password.as_deref(), Some("p/:"));
        assert_eq!((&*address.host, address.port), ("::1", 5433));
        assert_eq!(address.database, "d b");
        assert_eq!(address.encryption, Encryption::Disable);
        assert_eq!(
            address.to_string(),
            "postgres://a%40b:***@[::1]:5433/d%20b?sslmode=disable"
        );
    }

    #[test]
    fn the_folder_of_a_socket_is_a_host_too() {
        let address = parse("postgres://ann@%2Frun%2Fpostgresql/outcomes").unwrap();

        assert_eq!((&*address.host, address.port), ("/run/postgresql", PORT));
        assert_eq!(
            address.to_string(),
            "postgres://ann@%2Frun%2Fpostgresql:5432/outcomes"
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_named_and_the_password_is_not() {
        let problems = [
            ("postgres://u:secret@h", "names no database"),
            ("postgres://:secret@h/d", "names no user"),
            ("postgres://u:secret@/d", "cannot be read"),
            ("postgres://u:secret@h:port/d", "cannot be read"),
            ("postgres://u:secret@h/d?sslcert=a", "has an unknown option"),
            ("postgres://u:123?secret@h/d", "names no user"),
            ("postgres://u:1@2/3?secret@h/d", "has an unknown option"),
            ("postgres://u:1/secret@h/d", "names no user"),
            ("postgres://u:1#secret@h/d", "names no user"),
            (
                "postgres://u:secret@h/d?sslrootcert=a",
                "has an `sslrootcert`",
            ),
        ];

        for (text, expected) in problems {
            let problem = parse(text).unwrap_err();

            assert!(problem.starts_with(expected), "{problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn roots_make_a_required_encryption_a_verified_one() {
        let verified = |options| {
            let url = format!("postgres://u@h/d?{options}");
            parse(&url).unwrap().is_verified()
        };

        assert!(verified("sslmode=verify-full"));
        assert!(verified("sslmode=require&sslrootcert=/a.pem"));
        assert!(!verified("sslmode=require"));
        assert!(!verified("sslmode=prefer"));
    }
}
