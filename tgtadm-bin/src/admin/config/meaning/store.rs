//! A store of a target: its path and options. Options of the store override those of its target.

use std::collections::BTreeMap;

use target_engine::model::number::c_number;
use target_engine::model::unit::{DEFAULT_BLOCK_LEN, is_block_len};

use super::value::{DirectiveValue, check_no_comma, required_value};
use crate::admin::config::directives::StoreKey;
use crate::admin::config::{ConfigError, Location};

/// A logical unit as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// Whether the unit takes the identity of the device.
    pub kind: StoreKind,
    /// The path, or the name that the type of backing store uses.
    pub path: String,
    /// The first line that has the store.
    pub location: Location,
    /// The LUN, if given.
    pub lun: Option<u64>,
    /// The device type.
    pub device_type: Option<String>,
    /// The type of backing store.
    pub bs_type: Option<String>,
    /// Options of the backing store.
    pub bs_opts: Option<String>,
    /// Flags for opening the backing store.
    pub bso_flags: Option<String>,
    /// The logical block size in bytes, as written.
    pub block_size: Option<String>,
    /// Whether the unit has a write cache.
    pub write_cache: WriteCache,
    /// Mode pages; those of the store precede those of the target.
    pub mode_pages: Vec<String>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// Values of `params`; those of the store precede those of the target.
    pub params: Vec<String>,
}

/// The directive that defines a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreKind {
    /// `backing-store`.
    Backing,
    /// `direct-store`.
    Direct,
}

/// The value of `write-cache`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum WriteCache {
    /// On, the daemon's default.
    #[default]
    On,
    /// Writes are on the medium before they are answered.
    Off,
    /// Another word; the daemon's default stays.
    Unknown(String),
}

/// The options of a store, or the defaults of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreOptions {
    singles: BTreeMap<String, (Location, String)>,
    mode_pages: Vec<String>,
    params: Vec<String>,
}

impl StoreOptions {
    /// Adds a directive.
    ///
    /// # Errors
    /// The value is missing, contains a comma, or the directive is repeated.
    pub(super) fn add(
        &mut self,
        key: &str,
        what: StoreKey,
        given: DirectiveValue,
    ) -> Result<(), ConfigError> {
        let (location, value) = required_value(key, given)?;
        match what {
            StoreKey::ModePage => {
                check_no_comma(key, &location, &value)?;
                self.mode_pages.push(value);
            }
            StoreKey::Params => self.params.push(value),
            _ => {
                check_no_comma(key, &location, &value)?;
                if self.singles.insert(key.to_owned(), (location.clone(), value)).is_some() {
                    let text = format!("Multiple '{key}' definitions not allowed!");
                    return Err(ConfigError { location, text });
                }
            }
        }
        Ok(())
    }

    /// Adds the options of `common` that the store does not set.
    pub(super) fn over(mut self, common: &Self) -> Self {
        for (key, value) in &common.singles {
            self.singles.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self.mode_pages.extend_from_slice(&common.mode_pages);
        self.params.extend_from_slice(&common.params);
        self
    }

    /// Creates the store from its options.
    pub(super) fn store(
        self,
        kind: StoreKind,
        path: String,
        location: Location,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<Store, ConfigError> {
        let Self { mut singles, mode_pages, params } = self;
        let lun = singles.remove("lun").map(|(location, value)| lun(location, &value)).transpose()?;
        let write_cache = match singles.remove("write-cache") {
            None => WriteCache::On,
            Some((_, value)) if value.eq_ignore_ascii_case("on") => WriteCache::On,
            Some((_, value)) if value.eq_ignore_ascii_case("off") => WriteCache::Off,
            Some((location, value)) => {
                let text = format!("'write-cache {value}': the value is 'on' or 'off'; the cache stays on");
                warnings.push(ConfigError { location, text });
                WriteCache::Unknown(value)
            }
        };
        let block_size = singles.remove("block-size").map(|(location, value)| {
            if !c_number(&value).is_some_and(is_block_len) {
                let text = format!(
                    "'block-size {value}': the value is a power of two from 512; \
                     for another the daemon uses {DEFAULT_BLOCK_LEN}"
                );
                warnings.push(ConfigError { location, text });
            }
            value
        });
        let mut single = |key: &str| singles.remove(key).map(|(_, value)| value);
        Ok(Store {
            kind,
            path,
            location,
            lun,
            device_type: single("device-type"),
            bs_type: single("bs-type"),
            bs_opts: single("bsopts"),
            bso_flags: single("bsoflags"),
            block_size,
            write_cache,
            mode_pages,
            parameters: singles.into_iter().map(|(key, (_, value))| (key, value)).collect(),
            params,
        })
    }
}

/// Parses a LUN: decimal, or hexadecimal after `0x`, as `tgtadm` does.
fn lun(location: Location, value: &str) -> Result<u64, ConfigError> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.ok().filter(|lun| *lun > 0).ok_or_else(|| {
        let text = format!("'lun {value}': the LUN must be 1 or more (0 is the controller)");
        ConfigError { location, text }
    })
}
