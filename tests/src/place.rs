//! Where a broker, or a database, is, from a URL as the tests have them: one host, and no
//! escapes but in the virtual host.

#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) vhost: String,
    /// What stands before and after host and port.
    around: (String, String),
}

impl Place {
    pub(crate) fn of(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "5672"));
        let (user, password) = login
            .and_then(|login| login.split_once(':'))
            .unwrap_or(("guest", "guest"));
        let vhost = path.split('?').next().unwrap_or_default();
        let vhost = vhost.strip_prefix('/').unwrap_or_default();
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            host: host.to_owned(),
            port: port.parse().expect("a port"),
            vhost: match vhost {
                "" => "/".to_owned(),
                name => name.replace("%2f", "/").replace("%2F", "/"),
            },
            around: (format!("{scheme}://{login}"), path.to_owned()),
        }
    }

    /// The same URL for another port of this machine.
    pub(crate) fn url_at(&self, port: u16) -> String {
        let (before, after) = &self.around;
        format!("{before}127.0.0.1:{port}{after}")
    }
}
