//! From layers of settings to one configuration, or to one line that says what is wrong.

use super::Config;
use super::keys::{KEYS, Key, PREFIX};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::PathBuf;

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "commerce.toml";

/// Where settings come from besides the defaults: later ones win.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must be there; without one, `commerce.toml` if it is there.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them: those that are not ours are left alone.
    pub variables: Vec<(String, String)>,
    /// Flags: the flag as it was written, the key, the value.
    pub flags: Vec<Setting>,
}

/// A setting of one key, by a flag or by a test.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What set it, for messages, such as `--listen-public`.
    pub origin: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Why there is no configuration. One line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such key.
    #[error("{key}: no such key (in {origin}); `commerce config` lists all keys")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// Where.
        origin: String,
    },
    /// A value that is not allowed.
    #[error("{key}: must be {allowed}; it is {found} (in {origin})")]
    NotAllowed {
        /// The key.
        key: String,
        /// What it must be.
        allowed: String,
        /// What it is, passwords hidden.
        found: String,
        /// Where it was set.
        origin: String,
    },
    /// Two keys that do not fit together.
    #[error("{key}: must be {allowed}")]
    Clash {
        /// The key to change.
        key: String,
        /// What it must be.
        allowed: String,
    },
    /// A key that a role cannot do without.
    #[error("{key}: must be {allowed}; it is not set, and {by} needs it")]
    Needed {
        /// The key.
        key: &'static str,
        /// What it must be.
        allowed: String,
        /// Who needs it.
        by: String,
    },
    /// An address that cannot be listened on.
    #[error(
        "{key}: must be an address that can be listened on; {address} cannot: {why}. Set {key} to another IP:PORT (port 0 takes any free one)"
    )]
    Listener {
        /// The key.
        key: String,
        /// The address.
        address: String,
        /// Why it cannot.
        why: String,
    },
    /// A file that cannot be read, or is no TOML.
    #[error("--config {file}: must be a readable TOML file; {text}")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        text: String,
    },
    /// A flag that is no setting.
    #[error("{origin}: must be KEY=VALUE, such as log.format=json; it is {found}")]
    NoSetting {
        /// The flag.
        origin: String,
        /// What was given.
        found: String,
    },
}

impl Problem {
    /// A key that `by` cannot do without.
    pub fn needed(key: &'static str, by: &str) -> Self {
        let allowed = Key::find(key).map_or_else(|| "set".to_owned(), |key| key.rule.to_string());
        Self::Needed { key, allowed, by: by.to_owned() }
    }
}

impl Setting {
    /// From `KEY=VALUE`, as `--set` takes it.
    ///
    /// # Errors
    /// [`Problem::NoSetting`] without an equals sign.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let origin = "--set".to_owned();
        match text.split_once('=') {
            Some((key, value)) => {
                Ok(Self { origin, key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            None => Err(Problem::NoSetting { origin, found: text.to_owned() }),
        }
    }
}

/// A key with its value, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The key.
    pub key: &'static str,
    /// Its value, passwords hidden; `None` when it is not set.
    pub value: Option<String>,
    /// Where it was set: `default`, a variable, a flag or a file.
    pub origin: String,
}

/// Some settings of one origin.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

impl Layer {
    fn of(origin: &str, key: &Key, text: &str) -> Self {
        let value = if key.rule.is_text() {
            Value::from(text)
        } else {
            text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
        };
        Self { origin: origin.to_owned(), values: nested(key.path, value) }
    }
}

impl Sources {
    /// Nothing but the process's environment.
    pub fn of_process() -> Self {
        let readable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let variables = std::env::vars_os().filter_map(readable).collect();
        Self { variables, ..Self::default() }
    }

    /// Sets a key above everything else.
    pub fn set(&mut self, key: &str, value: &str) {
        let origin = "the program".to_owned();
        self.flags.push(Setting { origin, key: key.to_owned(), value: value.to_owned() });
    }

    /// The configuration, and how it came about.
    ///
    /// # Errors
    /// See [`Problem`]; the first one met.
    pub fn load(&self) -> Result<(Config, Vec<Shown>), Problem> {
        self.finish(self.merge_file(defaults())?)
    }

    /// The configuration without any file.
    pub(super) fn load_without_file(&self) -> Result<(Config, Vec<Shown>), Problem> {
        self.finish(defaults())
    }

    fn finish(&self, mut settings: Figment) -> Result<(Config, Vec<Shown>), Problem> {
        for (name, value) in self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let key = KEYS.iter().find(|key| key.variable() == *name).ok_or_else(|| {
                Problem::UnknownKey { key: name.clone(), origin: "the environment".to_owned() }
            })?;
            settings = settings.merge(Layer::of(name, key, value));
        }
        for Setting { origin, key, value } in &self.flags {
            let key = Key::find(key)
                .ok_or_else(|| Problem::UnknownKey { key: key.clone(), origin: origin.clone() })?;
            settings = settings.merge(Layer::of(origin, key, value));
        }
        let shown = check(&settings)?;
        let config: Config = settings.extract().map_err(|error| Problem::NotAllowed {
            key: error.path.join("."),
            allowed: "as `commerce config` says".to_owned(),
            found: one_line(&error.kind.to_string()),
            origin: error.metadata.map_or_else(String::new, |it| it.name.into_owned()),
        })?;
        config.check_together()?;
        Ok((config, shown))
    }

    fn merge_file(&self, settings: Figment) -> Result<Figment, Problem> {
        let named = self.file.is_some();
        let path = self.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let file = path.display().to_string();
        let refuse = |text: String| Problem::File { file: file.clone(), text: one_line(&text) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(settings);
            }
            Err(error) => return Err(refuse(error.to_string())),
        };
        let values = Toml::string(&text).data().map_err(|error| refuse(error.kind.to_string()))?;
        let values = values.get(&Profile::Default).cloned().unwrap_or_default();
        if let Some(key) = leaves("", &values).find(|path| Key::find(path).is_none()) {
            return Err(Problem::UnknownKey { key, origin: file });
        }
        Ok(settings.merge(Layer { origin: file, values }))
    }
}

fn defaults() -> Figment {
    let set = KEYS.iter().filter_map(|key| Some(Layer::of("default", key, key.default?)));
    set.fold(Figment::new(), Figment::merge)
}

/// Checks each key's value by its rule, and tells how it is shown.
fn check(settings: &Figment) -> Result<Vec<Shown>, Problem> {
    let mut shown = Vec::new();
    for key in KEYS {
        let Ok(value) = settings.find_value(key.path) else {
            shown.push(Shown { key: key.path, value: None, origin: "default".to_owned() });
            continue;
        };
        let origin = origin(settings, value.tag());
        let text = key.rule.show(&value);
        if !key.rule.accepts(&value) {
            return Err(Problem::NotAllowed {
                key: key.path.to_owned(),
                allowed: key.rule.to_string(),
                found: format!("{:?}", one_line(&text)),
                origin,
            });
        }
        shown.push(Shown { key: key.path, value: Some(text), origin });
    }
    Ok(shown)
}

fn origin(settings: &Figment, tag: Tag) -> String {
    settings.get_metadata(tag).map_or_else(String::new, |metadata| metadata.name.to_string())
}

fn nested(path: &str, value: Value) -> Dict {
    let (name, value) = match path.split_once('.') {
        Some((name, rest)) => (name, Value::from(nested(rest, value))),
        None => (path, value),
    };
    Dict::from([(name.to_owned(), value)])
}

/// The paths of all values that are no tables; an empty table counts as one.
fn leaves<'a>(above: &'a str, values: &'a Dict) -> Box<dyn Iterator<Item = String> + 'a> {
    Box::new(values.iter().flat_map(move |(name, value)| {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => leaves(&path, inner).collect::<Vec<_>>(),
            _ => vec![path],
        }
    }))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
