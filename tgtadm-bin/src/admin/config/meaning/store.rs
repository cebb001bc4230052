//! What a target exports: paths with their options, those of the store over those of its target.

use std::collections::BTreeMap;

use super::{Given, present, whole};
use crate::admin::config::directives::StoreKey;
use crate::admin::config::{Mistake, Place};

/// A logical unit as the file has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Store {
    /// Whether it has the identity of the device behind it.
    pub kind: StoreKind,
    /// A path, or whatever its kind of store takes for one.
    pub path: String,
    /// Where it is first spoken of.
    pub place: Place,
    /// Its number, where one is wanted.
    pub lun: Option<u64>,
    /// What it is.
    pub device_type: Option<String>,
    /// Its kind of store.
    pub bs_type: Option<String>,
    /// Options of that kind.
    pub bs_opts: Option<String>,
    /// How it is opened.
    pub bso_flags: Option<String>,
    /// Its logical block's size, in bytes as written.
    pub block_size: Option<String>,
    /// Whether it may keep writes in a cache.
    pub write_cache: WriteCache,
    /// Mode pages, the store's own first.
    pub mode_pages: Vec<String>,
    /// Parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// Texts of parameters, the store's own first.
    pub params: Vec<String>,
}

/// The two directives that name a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreKind {
    /// `backing-store`.
    Backing,
    /// `direct-store`.
    Direct,
}

/// `write-cache`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum WriteCache {
    /// What the daemon begins with.
    #[default]
    On,
    /// Writes are on the medium when they are answered.
    Off,
    /// Neither word; the daemon's default stays.
    Unknown(String),
}

/// Everything that was said of a store, or of all stores of a target.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    singles: BTreeMap<String, (Place, String)>,
    mode_pages: Vec<String>,
    params: Vec<String>,
}

impl Options {
    /// One directive.
    pub(super) fn take(&mut self, key: &str, what: StoreKey, given: Given) -> Result<(), Mistake> {
        let (place, value) = present(key, given)?;
        match what {
            StoreKey::ModePage => {
                whole(key, &place, &value)?;
                self.mode_pages.push(value);
            }
            StoreKey::Params => self.params.push(value),
            _ => {
                whole(key, &place, &value)?;
                if self.singles.insert(key.to_owned(), (place.clone(), value)).is_some() {
                    let text = format!("Multiple '{key}' definitions not allowed!");
                    return Err(Mistake { place, text });
                }
            }
        }
        Ok(())
    }

    /// These, and where they are silent the others.
    pub(super) fn over(mut self, common: &Self) -> Self {
        for (key, value) in &common.singles {
            self.singles.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self.mode_pages.extend_from_slice(&common.mode_pages);
        self.params.extend_from_slice(&common.params);
        self
    }

    pub(super) fn store(
        self,
        kind: StoreKind,
        path: String,
        place: Place,
        warnings: &mut Vec<Mistake>,
    ) -> Result<Store, Mistake> {
        let Self { mut singles, mode_pages, params } = self;
        let lun = singles.remove("lun").map(|(place, value)| lun(place, &value)).transpose()?;
        let write_cache = match singles.remove("write-cache") {
            None => WriteCache::On,
            Some((_, value)) if value.eq_ignore_ascii_case("on") => WriteCache::On,
            Some((_, value)) if value.eq_ignore_ascii_case("off") => WriteCache::Off,
            Some((place, value)) => {
                let text = format!("'write-cache {value}': it is 'on' or 'off'; the cache stays on");
                warnings.push(Mistake { place, text });
                WriteCache::Unknown(value)
            }
        };
        let mut single = |key: &str| singles.remove(key).map(|(_, value)| value);
        Ok(Store {
            kind,
            path,
            place,
            lun,
            device_type: single("device-type"),
            bs_type: single("bs-type"),
            bs_opts: single("bsopts"),
            bso_flags: single("bsoflags"),
            block_size: single("block-size"),
            write_cache,
            mode_pages,
            parameters: singles.into_iter().map(|(key, (_, value))| (key, value)).collect(),
            params,
        })
    }
}

/// Decimal, or hexadecimal after `0x`, as the daemon's own tool reads it.
fn lun(place: Place, value: &str) -> Result<u64, Mistake> {
    let number = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    number.ok().filter(|lun| *lun > 0).ok_or_else(|| {
        let text = format!("'lun {value}': a unit's number is one from 1 on (0 is the target's controller)");
        Mistake { place, text }
    })
}
