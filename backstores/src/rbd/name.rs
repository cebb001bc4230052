//! Names of images and the options of `rbd`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::library::seconds;
use crate::registry::{OpenError, OpenOptions};

/// Name of the kind.
pub(super) const NAME: &str = "rbd";

/// The keys in `bsopts`.
pub(super) const OPTIONS: &[&str] =
    &["conf", "id", "cluster", "keyfile", "virsecretuuid", "cephx_key", "cache", "timeout", "open-timeout"];

/// An image: `[POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ImageName {
    pub(super) pool: String,
    /// Empty: the default namespace.
    pub(super) namespace: String,
    pub(super) image: String,
    pub(super) snapshot: Option<String>,
}

/// What the connection to a cluster depends on. Images with equal settings share one.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Settings {
    /// Name of the cluster, which is part of the default path of its configuration.
    pub(super) cluster: String,
    /// The client without `client.`.
    pub(super) id: String,
    /// `None`: the configuration at its default place.
    pub(super) conf: Option<PathBuf>,
    pub(super) key: Key,
    /// Value of `rbd_cache`; `None`: as configured.
    pub(super) cache: Option<bool>,
    /// Seconds after which an operation fails; `None`: never.
    pub(super) timeout: Option<u32>,
}

/// Where the client's key is.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) enum Key {
    /// In the keyring that the configuration names.
    Keyring,
    /// In this file, in base64.
    File(PathBuf),
    /// Given as text.
    Text(String),
}

/// Does not show the key.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("cluster", &self.cluster)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl ImageName {
    /// Parses the path of a store.
    ///
    /// # Errors
    /// It is not of that form.
    pub(super) fn parse(options: &OpenOptions) -> Result<Self, OpenError> {
        let text = options.name()?;
        let (path, snapshot) = match text.split_once('@') {
            Some((path, snapshot)) => (path, Some(snapshot)),
            None => (text, None),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (pool, namespace, image) = match parts[..] {
            [image] => ("rbd", "", image),
            [pool, image] => (pool, "", image),
            [pool, namespace, image] => (pool, namespace, image),
            _ => ("", "", ""),
        };
        if pool.is_empty() || image.is_empty() || snapshot.is_some_and(str::is_empty) {
            let why = "expected [POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]; the default pool is rbd";
            return Err(OpenError::refused(&options.path, why));
        }
        let [pool, namespace, image] = [pool, namespace, image].map(str::to_owned);
        Ok(Self { pool, namespace, image, snapshot: snapshot.map(str::to_owned) })
    }
}

impl Settings {
    /// Parses the options of a store.
    ///
    /// # Errors
    /// A value is not accepted, or two options contradict each other. The text does not contain the key.
    pub(super) fn parse(options: &OpenOptions) -> Result<Self, OpenError> {
        let text = |key| options.option(key).filter(|value| !value.is_empty());
        let keys = ["keyfile", "virsecretuuid", "cephx_key"].map(|key| (key, text(key)));
        if keys.iter().filter(|(_, value)| value.is_some()).count() > 1 {
            let why = "keyfile, virsecretuuid and cephx_key exclude each other in bsopts";
            return Err(OpenError::refused(&options.path, why));
        }
        let key = match keys {
            [(_, Some(file)), ..] => Key::File(file.into()),
            [_, (key, Some(uuid)), _] => Key::File(libvirt_secret(key, uuid)?),
            [.., (_, Some(key))] => Key::Text(key.to_owned()),
            _ => Key::Keyring,
        };
        let cache = match text("cache") {
            None => None,
            Some("on") => Some(true),
            Some("off") => Some(false),
            Some(other) => {
                let why = "expected on or off";
                return Err(OpenError::BadOption { key: "cache", value: other.to_owned(), why });
            }
        };
        Ok(Self {
            cluster: text("cluster").unwrap_or("ceph").to_owned(),
            id: text("id").unwrap_or("admin").to_owned(),
            conf: text("conf").map(PathBuf::from),
            key,
            cache,
            timeout: seconds(options, "timeout")?,
        })
    }
}

/// How long opening an image may take.
///
/// # Errors
/// The option has another value than a number of seconds.
pub(super) fn open_timeout(options: &OpenOptions) -> Result<Duration, OpenError> {
    Ok(Duration::from_secs(seconds(options, "open-timeout")?.unwrap_or(OPEN_TIMEOUT).into()))
}

/// Returns the file in which libvirt keeps a secret.
fn libvirt_secret(key: &'static str, uuid: &str) -> Result<PathBuf, OpenError> {
    if !uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(OpenError::BadOption { key, value: uuid.to_owned(), why: "expected a UUID" });
    }
    Ok(format!("/etc/libvirt/secrets/{uuid}.base64").into())
}

/// Seconds that opening an image may take without the option `open-timeout`.
pub(super) const OPEN_TIMEOUT: u32 = 20;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn with(bsopts: &str) -> Result<Settings, OpenError> {
        Settings::parse(&OpenOptions { bsopts: bsopts.into(), ..OpenOptions::default() })
    }

    #[test]
    fn image_names_have_pool_namespace_and_snapshot() {
        let parse = |text: &str| ImageName::parse(&OpenOptions::for_path(Path::new(text)));
        let name = |pool: &str, namespace: &str, image: &str, snapshot: Option<&str>| ImageName {
            pool: pool.into(),
            namespace: namespace.into(),
            image: image.into(),
            snapshot: snapshot.map(str::to_owned),
        };
        for (text, expected) in [
            ("disk", name("rbd", "", "disk", None)),
            ("pool/disk", name("pool", "", "disk", None)),
            ("pool/tenant/disk", name("pool", "tenant", "disk", None)),
            ("pool/disk@monday", name("pool", "", "disk", Some("monday"))),
            ("disk@a/b", name("rbd", "", "disk", Some("a/b"))),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for text in ["/disk", "pool/", "pool//disk/x", "a/b/c/d", "disk@", "@snap"] {
            let refused = parse(text).unwrap_err().to_string();
            assert!(refused.contains("[POOL/[NAMESPACE/]]IMAGE[@SNAPSHOT]"), "{refused}");
        }
    }

    #[test]
    fn settings_have_defaults_and_key_sources_exclude_each_other() {
        let plain = with("").unwrap();
        assert_eq!((&*plain.cluster, &*plain.id, plain.conf, plain.cache), ("ceph", "admin", None, None));
        assert!(plain.key == Key::Keyring);
        let full = with("conf=/etc/c.conf;id=tgt;cluster=west;keyfile=/k;cache=off;timeout=30").unwrap();
        assert_eq!(
            (full.conf, full.cache, full.timeout),
            (Some("/etc/c.conf".into()), Some(false), Some(30))
        );
        assert!(full.key == Key::File("/k".into()));
        let libvirt = with("virsecretuuid=11111111-2222-3333-4444-555555555555").unwrap().key;
        let path = "/etc/libvirt/secrets/11111111-2222-3333-4444-555555555555.base64";
        assert!(libvirt == Key::File(path.into()));
        for (bsopts, refused) in [
            ("keyfile=/k;cephx_key=QUJD", "exclude each other"),
            ("cache=maybe", "expected on or off"),
            ("timeout=0", "from 1 to 86400"),
            ("virsecretuuid=../../shadow", "expected a UUID"),
        ] {
            let text = with(bsopts).unwrap_err().to_string();
            assert!(text.contains(refused) && !text.contains("QUJD"), "{text}");
        }
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        assert!(!format!("{:?}", with("cephx_key=QUJD").unwrap()).contains("QUJD"));
    }
}
