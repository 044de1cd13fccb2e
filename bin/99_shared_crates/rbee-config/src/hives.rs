use std::net::IpAddr;

use toml::de::DeValue;

use crate::{
    error::Error,
    file::{Entries, Entry, describe},
    layers::{Layers, invalid},
    origin::Origin,
    setting::Setting,
};

const DEFAULT_ALIAS: &str = "localhost";
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8600;
const MAX_ALIAS_LEN: usize = 64;
const KEYS: [&str; 3] = ["alias", "host", "port"];

/// One `[[hive]]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiveEntry {
    /// The name that people and requests use; `[a-z0-9._-]`, at most 64 characters.
    pub alias: String,
    /// `localhost` or a loopback address for this machine, else what `ssh` calls another one.
    pub host: String,
    /// 0 lets the system choose one. A hive on another machine has none.
    pub port: u16,
}

impl HiveEntry {
    /// What `ssh` calls the machine that it is on, where that is another one.
    pub fn ssh_destination(&self) -> Option<&str> {
        (!is_loopback(&self.host)).then_some(&*self.host)
    }

    /// A hive on another machine, beside those there are.
    ///
    /// # Errors
    ///
    /// When `alias` is no name for a hive, or is taken, or `host` is no name for another machine.
    pub fn elsewhere(hives: &[Self], alias: &str, host: &str) -> Result<Self, Error> {
        let flag = || Origin::Flag("--host".into());
        let Some(Host(host)) = Host::from_text(host).filter(|Host(host)| !is_loopback(host)) else {
            let found = format!("`{host}`");
            return Err(Error::Invalid {
                key: "hive.host".into(),
                expected: "what `ssh` calls another machine, such as `user@gpu-box`".into(),
                found,
                origin: flag(),
            });
        };
        let alias = Self::beside(hives, 0, alias, Some(0))?.alias;
        Ok(Self { alias, host, port: 0 })
    }

    /// A hive on this host beside those there are and the queen; without a port, at the next free one
    /// after the other hives'.
    ///
    /// # Errors
    ///
    /// When `alias` is no name for a hive, or it or the port is taken.
    pub fn beside(
        hives: &[Self],
        queen_port: u16,
        alias: &str,
        port: Option<u16>,
    ) -> Result<Self, Error> {
        let flag = || Origin::Flag("--port".into());
        let Some(Alias(alias)) = Alias::from_text(alias) else {
            let found = format!("`{alias}`");
            return Err(invalid::<Alias>("hive.alias", found, Origin::Flag("ALIAS".into())));
        };
        if hives.iter().any(|hive| hive.alias == alias) {
            return Err(Error::DuplicateHive { alias, origin: Origin::Flag("ALIAS".into()) });
        }
        let of_hives = hives.iter().map(|hive| (format!("hive.{}.port", hive.alias), hive.port));
        let taken: Vec<_> =
            [("queen.port".to_owned(), queen_port)].into_iter().chain(of_hives).collect();
        let is_free = |port: u16| port == 0 || taken.iter().all(|(_, other)| *other != port);
        let port = match port {
            Some(port) => port,
            None => {
                let last = hives.iter().map(|hive| hive.port).max().unwrap_or_default();
                let from = last.max(DEFAULT_PORT - 1).saturating_add(1);
                (from..=u16::MAX).find(|port| is_free(*port)).unwrap_or(0)
            }
        };
        if let Some((first, _)) = taken.iter().find(|(_, other)| port != 0 && *other == port) {
            let (first, second) = (first.clone(), format!("hive.{alias}.port"));
            return Err(Error::SharedPort { first, second, port, origin: flag() });
        }
        Ok(Self { alias, host: DEFAULT_HOST.into(), port })
    }
}

/// Reads the `[[hive]]` tables; without any there is one hive, on this host.
pub(crate) fn read(layers: &mut Layers<'_>) -> Result<Vec<HiveEntry>, Error> {
    let source = layers.file.source();
    let wrong = |found: &str, span| Error::Invalid {
        key: "hive".into(),
        expected: "written as one `[[hive]]` for each hive".into(),
        found: found.into(),
        origin: source.origin(span),
    };
    if let Some(span) = layers.file.table("hive") {
        return Err(wrong("one `[hive]`", span));
    }
    let Some(Entry { value, span }) = layers.file.take("hive") else {
        let only = HiveEntry {
            alias: DEFAULT_ALIAS.into(),
            host: DEFAULT_HOST.into(),
            port: DEFAULT_PORT,
        };
        layers.list("hive.localhost.host", only.host.clone(), Origin::Default);
        layers.list("hive.localhost.port", only.port.to_string(), Origin::Default);
        return Ok(vec![only]);
    };
    let DeValue::Array(tables) = value else {
        return Err(wrong(&describe(&value), span));
    };
    let mut hives: Vec<HiveEntry> = Vec::new();
    for table in tables {
        let span = table.span();
        let table = match table.into_inner() {
            DeValue::Table(table) => table,
            other => return Err(wrong(&format!("a list with {}", describe(&other)), span)),
        };
        let origin = source.origin(span);
        let (hive, named) = read_one(layers, Entries::of_table(source, table), origin)?;
        if hives.iter().any(|other| other.alias == hive.alias) {
            return Err(Error::DuplicateHive { alias: hive.alias, origin: named });
        }
        hives.push(hive);
    }
    Ok(hives)
}

/// Refuses two processes on one port: the second would find a stranger there.
pub(crate) fn refuse_shared_ports(
    queen_port: u16,
    hives: &[HiveEntry],
    layers: &Layers<'_>,
) -> Result<(), Error> {
    let mut taken = vec![("queen.port".to_owned(), queen_port)];
    for hive in hives {
        let key = format!("hive.{}.port", hive.alias);
        if let Some((first, port)) = taken.iter().find(|(_, port)| *port != 0 && *port == hive.port)
        {
            // The later key, unless only the earlier one was set.
            let origin =
                layers.origin(&key).or_else(|| layers.origin(first)).unwrap_or(Origin::Default);
            let (first, port) = (first.clone(), *port);
            return Err(Error::SharedPort { first, second: key, port, origin });
        }
        taken.push((key, hive.port));
    }
    Ok(())
}

/// The hive, and where its alias is.
fn read_one(
    layers: &mut Layers<'_>,
    mut table: Entries<'_>,
    origin: Origin,
) -> Result<(HiveEntry, Origin), Error> {
    let Some((Alias(alias), named)) = field(&mut table, "alias")? else {
        return Err(Error::Invalid {
            key: "hive.alias".into(),
            expected: "given for each hive".into(),
            found: "left out".into(),
            origin,
        });
    };
    let (Host(host), host_origin) =
        field(&mut table, "host")?.unwrap_or((Host(DEFAULT_HOST.to_owned()), Origin::Default));
    let port = field(&mut table, "port")?;
    table.refuse_rest("hive.", KEYS)?;
    layers.list(&format!("hive.{alias}.host"), host.clone(), host_origin);
    if !is_loopback(&host) {
        return match port {
            None => Ok((HiveEntry { alias, host, port: 0 }, named)),
            Some((_, origin)) => Err(Error::PortElsewhere { alias, host, origin }),
        };
    }
    let (port, port_origin) = port.unwrap_or((DEFAULT_PORT, Origin::Default));
    layers.list(&format!("hive.{alias}.port"), port.to_string(), port_origin);
    Ok((HiveEntry { alias, host, port }, named))
}

fn field<T: Setting>(table: &mut Entries<'_>, name: &str) -> Result<Option<(T, Origin)>, Error> {
    let Some(entry) = table.take(name) else { return Ok(None) };
    let origin = table.source().origin(entry.span);
    match T::from_toml(&entry.value) {
        Some(value) => Ok(Some((value, origin))),
        None => Err(invalid::<T>(&format!("hive.{name}"), describe(&entry.value), origin)),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// `localhost`, an address, or what `ssh` knows: never an option of it.
struct Host(String);

impl Setting for Host {
    fn expected() -> String {
        "`localhost`, or what `ssh` calls another machine, such as `user@gpu-box`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let (user, host) = match text.split_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, text),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
        let is_plain =
            |part: &str| !part.is_empty() && !part.starts_with('-') && part.chars().all(allowed);
        let is_right = user.is_none_or(is_plain) && is_plain(host);
        let is_no_address = host.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
        (is_right && !is_no_address).then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The pattern is strict because an alias becomes part of file names and URLs.
struct Alias(String);

impl Setting for Alias {
    fn expected() -> String {
        "a name of at most 64 characters from a-z, 0-9, `.`, `_` and `-`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
        let valid = !text.is_empty()
            && text.len() <= MAX_ALIAS_LEN
            && text.chars().all(allowed)
            && !text.starts_with(['.', '-']);
        valid.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
