//! The identity of this installation: a UUID from which the SCSI IDs and serial numbers of units are derived. It stays
//! the same across restarts.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use target_engine::model::identity::Identity;
use uuid::{Builder, Uuid};

use crate::failure::Failure;

/// The value of `--identity`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Installation {
    /// The UUID itself.
    Given(Uuid),
    /// The file that contains the UUID; created if it does not exist.
    File(PathBuf),
}

impl Installation {
    /// Parses a UUID, with or without dashes, or a path, which contains a slash.
    ///
    /// # Errors
    /// A message that says what is accepted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return std::path::absolute(text).map(Self::File).map_err(|error| error.to_string());
        }
        parse_uuid(text).map(Self::Given).ok_or_else(|| {
            "expected a UUID, or the path of a file that contains a slash, for example ./identity".to_owned()
        })
    }
}

/// Returns the identity that `--identity` names, or that of this installation.
///
/// # Errors
/// The file cannot be read or created, or contains no UUID.
pub(crate) fn resolve(asked: Option<&Installation>) -> Result<Identity, Failure> {
    let uuid = match asked {
        Some(Installation::Given(uuid)) => *uuid,
        Some(Installation::File(path)) => match read(path)? {
            Some(uuid) => uuid,
            None => create(path)?,
        },
        None => of_installation(&state_file(), Path::new(MACHINE_ID))?,
    };
    log::info!("identity {uuid}");
    Ok(Identity::Given(uuid.into_bytes()))
}

/// Returns the first that exists: the UUID in the state file, one derived from the machine ID, a new one that is
/// written to the state file. If it cannot be written, the new one is for this run only, and a warning is logged.
fn of_installation(state_file: &Path, machine_id: &Path) -> Result<Uuid, Failure> {
    if let Some(uuid) = read(state_file)? {
        return Ok(uuid);
    }
    if let Some(machine_id) = fs::read_to_string(machine_id).ok().as_deref().and_then(parse_uuid) {
        return Ok(derive(machine_id));
    }
    let directory = state_file.parent().unwrap_or(state_file);
    let created = fs::create_dir_all(directory).map_err(Failure::file("create", directory));
    created.and_then(|()| create(state_file)).or_else(|failure| {
        log::warn!(
            "{failure}: units will have other SCSI IDs and serial numbers after the next start; use --identity to \
             keep them"
        );
        random()
    })
}

/// The path of the file that keeps the UUID of this installation.
fn state_file() -> PathBuf {
    let directory = if rustix::process::geteuid().is_root() {
        PathBuf::from(STATE_DIRECTORY)
    } else {
        let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || set("HOME").unwrap_or_else(|| "/".into()).join(".local/state");
        set("XDG_STATE_HOME").unwrap_or_else(home).join("tgt")
    };
    directory.join("identity")
}

/// Reads the UUID in a file; `None` if the file does not exist.
fn read(path: &Path) -> Result<Option<Uuid>, Failure> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Failure::file(READ, path))?,
    };
    let no_uuid = || io::Error::new(ErrorKind::InvalidData, "it contains no UUID");
    parse_uuid(&text).ok_or_else(no_uuid).map_err(Failure::file(READ, path)).map(Some)
}

/// Creates the file with a random UUID, or reads the file if another daemon creates it first. The file is linked when
/// it is complete, so that no reader sees a part of it.
fn create(path: &Path) -> Result<Uuid, Failure> {
    let uuid = random()?;
    // The UUID makes the name unique, also if several containers share the directory.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{uuid}"));
    let temporary = PathBuf::from(temporary);
    let linked = write(&temporary, uuid)
        .and_then(|()| fs::hard_link(&temporary, path))
        .and_then(|()| sync_directory_of(path));
    // It does not exist if `write` failed.
    let _ = fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(read(path)?.unwrap_or(uuid)),
        linked => linked.map(|()| uuid).map_err(Failure::file(CREATE, path)),
    }
}

fn write(path: &Path, uuid: Uuid) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "{uuid}")?;
    file.sync_all()
}

/// Syncs the directory entry of a file, so that a loss of power does not change the identity.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

/// Derives the identity from the machine ID, which machine-id(5) asks to keep confidential.
fn derive(machine_id: Uuid) -> Uuid {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(machine_id.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    let hash: [u8; 32] = mac.chain_update(APPLICATION.as_bytes()).finalize().into_bytes().into();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    Builder::from_random_bytes(first).into_uuid()
}

fn random() -> Result<Uuid, Failure> {
    let mut bytes = [0; 16];
    let filled = getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()));
    filled.map_err(Failure::process("get random numbers"))?;
    Ok(Builder::from_random_bytes(bytes).into_uuid())
}

/// Parses a UUID. The nil UUID is refused.
fn parse_uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text.trim()).ok().filter(|uuid| !uuid.is_nil())
}

/// The application ID of tgtd: `systemd-id128 machine-id --app-specific=ID` prints what [`derive()`] returns.
const APPLICATION: Uuid = Uuid::from_u128(0x6f1d_5a3e_9b7c_4f0d_8a2e_4c6b_1d3f_5a79);
const MACHINE_ID: &str = "/etc/machine-id";
const STATE_DIRECTORY: &str = "/var/lib/tgt";
const READ: &str = "read the identity in";
const CREATE: &str = "write an identity to";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_a_uuid_or_a_file() {
        let uuid = "01234567-89ab-4def-8123-456789abcdef";
        let given = Installation::Given(Uuid::try_parse(uuid).unwrap());
        assert_eq!(Installation::parse(uuid), Ok(given.clone()));
        assert_eq!(Installation::parse("0123456789ab4def8123456789abcdef"), Ok(given));
        assert_eq!(Installation::parse("/x/y"), Ok(Installation::File("/x/y".into())));
        assert!(matches!(Installation::parse("./y"), Ok(Installation::File(path)) if path.is_absolute()));
        for invalid in ["", "identity", "00000000-0000-0000-0000-000000000000", "0123"] {
            assert!(Installation::parse(invalid).unwrap_err().contains("a UUID, or the path"), "{invalid}");
        }
    }

    /// The expected value is what systemd-id128 printed on a machine with this ID.
    #[test]
    fn identity_is_derived_from_the_machine_id_as_systemd_id128_derives_it() {
        let machine_id = parse_uuid("3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        assert_eq!(derive(machine_id).simple().to_string(), "b7c8bcbeee0e44c7b7055657cceb2eed");
    }

    #[test]
    fn file_is_created_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        let asked = Installation::File(path.clone());
        let first = resolve(Some(&asked)).unwrap();
        assert_eq!(resolve(Some(&asked)).unwrap(), first);
        assert_eq!(
            create(&path).unwrap(),
            read(&path).unwrap().unwrap(),
            "the second to create the file reads it"
        );
        let other = Installation::File(directory.path().join("other"));
        assert_ne!(resolve(Some(&other)).unwrap(), first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no temporary file is left");
        assert!(write(&path, random().unwrap()).is_err(), "an existing file is not overwritten");

        fs::write(&path, "hello").unwrap();
        let error = resolve(Some(&asked)).unwrap_err().to_string();
        assert!(error.contains("identity: it contains no UUID"), "{error}");
        assert!(resolve(Some(&Installation::File("/nonexistent/identity".into()))).is_err());
    }

    #[test]
    fn state_file_precedes_machine_id_and_machine_id_precedes_a_new_uuid() {
        let directory = tempfile::tempdir().unwrap();
        let (state, machine_id) =
            (directory.path().join("lib/tgt/identity"), directory.path().join("machine-id"));
        fs::write(&machine_id, "3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        let derived = of_installation(&state, &machine_id).unwrap();
        assert_eq!(derived.simple().to_string(), "b7c8bcbeee0e44c7b7055657cceb2eed");
        assert!(!state.exists());

        fs::write(&machine_id, "uninitialized\n").unwrap();
        let created = of_installation(&state, &machine_id).unwrap();
        assert!(state.exists() && created != derived);
        fs::write(&machine_id, "3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        assert_eq!(of_installation(&state, &machine_id).unwrap(), created, "the identity of the units stays");

        let nowhere = Path::new("/proc/self/tgt/identity");
        let none = directory.path().join("none");
        assert_ne!(of_installation(nowhere, &none).unwrap(), of_installation(nowhere, &none).unwrap());
    }
}
