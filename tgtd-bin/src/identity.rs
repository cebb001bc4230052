//! Which installation this is: a number that no other has, of which the names of units are made. It is the same after
//! every restart.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use target_engine::model::identity::Identity;
use uuid::{Builder, Uuid};

use crate::failure::Failure;

/// What `--identity` says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Installation {
    /// The number itself.
    Number(Uuid),
    /// The file that holds it; made if it is missing.
    File(PathBuf),
}

impl Installation {
    /// Reads a UUID, with or without its dashes, or a path, which has a slash in it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return std::path::absolute(text).map(Self::File).map_err(|error| error.to_string());
        }
        number(text).map(Self::Number).ok_or_else(|| {
            "expected a UUID, or the path of a file with a slash in it, for example ./identity".to_owned()
        })
    }
}

/// The identity that was asked for, or this installation's own.
///
/// # Errors
/// The file that was named cannot be read or made, or holds something else.
pub(crate) fn of(asked: Option<&Installation>) -> Result<Identity, Failure> {
    let number = match asked {
        Some(Installation::Number(number)) => *number,
        Some(Installation::File(path)) => match read(path)? {
            Some(number) => number,
            None => make(path)?,
        },
        None => own(&state_file(), Path::new(MACHINE_ID))?,
    };
    log::info!("identity {number}");
    Ok(Identity::Given(number.into_bytes()))
}

/// In this order: what was kept before, what the machine says of itself, a number that is made and kept; for want of
/// a place to keep it, one for this time.
fn own(state_file: &Path, machine_id: &Path) -> Result<Uuid, Failure> {
    if let Some(number) = read(state_file)? {
        return Ok(number);
    }
    if let Some(machine) = fs::read_to_string(machine_id).ok().as_deref().and_then(number) {
        return Ok(of_machine(machine));
    }
    let directory = state_file.parent().unwrap_or(state_file);
    let kept = fs::create_dir_all(directory).map_err(Failure::file("make", directory));
    kept.and_then(|()| make(state_file)).or_else(|failure| {
        log::warn!(
            "{failure}: units will have other SCSI IDs and serial numbers after the next start; --identity gives \
             them lasting ones"
        );
        random()
    })
}

/// Where the number is kept.
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

/// The number in a file; `None` where there is no file.
fn read(path: &Path) -> Result<Option<Uuid>, Failure> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Failure::file(READ, path))?,
    };
    let nothing = || io::Error::new(ErrorKind::InvalidData, "it holds no UUID");
    number(&text).ok_or_else(nothing).map_err(Failure::file(READ, path)).map(Some)
}

/// Makes a number and the file that holds it, or takes that of a daemon that was first. The file appears whole.
fn make(path: &Path) -> Result<Uuid, Failure> {
    let number = random()?;
    // Nobody else makes a draft of this name, also where several containers have the directory in common.
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{number}"));
    let draft = PathBuf::from(draft);
    let made = write(&draft, number).and_then(|()| fs::hard_link(&draft, path)).and_then(|()| keep(path));
    // It may not have been made.
    let _ = fs::remove_file(&draft);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(read(path)?.unwrap_or(number)),
        made => made.map(|()| number).map_err(Failure::file(MAKE, path)),
    }
}

fn write(path: &Path, number: Uuid) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "{number}")?;
    file.sync_all()
}

/// A file that a loss of power takes away is another identity after it.
fn keep(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
}

/// machine-id(5): the machine's number is not for others to see, but what is made of it is.
fn of_machine(machine: Uuid) -> Uuid {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(machine.as_bytes()) else {
        unreachable!("a key of any length will do")
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

/// A UUID alone; none of nothing but zeroes.
fn number(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text.trim()).ok().filter(|number| !number.is_nil())
}

/// Made for this program once: `systemd-id128 machine-id --app-specific=` this prints the machine's identity.
const APPLICATION: Uuid = Uuid::from_u128(0x6f1d_5a3e_9b7c_4f0d_8a2e_4c6b_1d3f_5a79);
const MACHINE_ID: &str = "/etc/machine-id";
const STATE_DIRECTORY: &str = "/var/lib/tgt";
const READ: &str = "read the identity in";
const MAKE: &str = "keep an identity in";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_number_or_a_file() {
        let uuid = "01234567-89ab-4def-8123-456789abcdef";
        let number = Installation::Number(Uuid::try_parse(uuid).unwrap());
        assert_eq!(Installation::parse(uuid), Ok(number.clone()));
        assert_eq!(Installation::parse("0123456789ab4def8123456789abcdef"), Ok(number));
        assert_eq!(Installation::parse("/x/y"), Ok(Installation::File("/x/y".into())));
        assert!(matches!(Installation::parse("./y"), Ok(Installation::File(path)) if path.is_absolute()));
        for wrong in ["", "identity", "00000000-0000-0000-0000-000000000000", "0123"] {
            assert!(Installation::parse(wrong).unwrap_err().contains("a UUID, or the path"), "{wrong}");
        }
    }

    /// `SYSTEMD_MACHINE_ID` cannot be given to it, so this is what systemd-id128 printed on a machine of this number.
    #[test]
    fn the_machines_number_is_told_as_systemd_tells_it() {
        let machine = number("3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        assert_eq!(of_machine(machine).simple().to_string(), "b7c8bcbeee0e44c7b7055657cceb2eed");
    }

    #[test]
    fn a_file_is_made_once_and_is_the_same_after_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        let asked = Installation::File(path.clone());
        let first = of(Some(&asked)).unwrap();
        assert_eq!(of(Some(&asked)).unwrap(), first);
        assert_eq!(
            make(&path).unwrap(),
            read(&path).unwrap().unwrap(),
            "who comes second takes what is there"
        );
        let other = Installation::File(directory.path().join("other"));
        assert_ne!(of(Some(&other)).unwrap(), first);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no draft stays behind");
        assert!(write(&path, random().unwrap()).is_err(), "nobody has put anything where a draft goes");

        fs::write(&path, "hello").unwrap();
        let error = of(Some(&asked)).unwrap_err().to_string();
        assert!(error.contains("identity: it holds no UUID"), "{error}");
        assert!(of(Some(&Installation::File("/nonexistent/identity".into()))).is_err());
    }

    #[test]
    fn what_was_kept_comes_before_the_machines_number_and_that_before_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let (state, machine) =
            (directory.path().join("lib/tgt/identity"), directory.path().join("machine-id"));
        fs::write(&machine, "3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        let of_machine = own(&state, &machine).unwrap();
        assert_eq!(of_machine.simple().to_string(), "b7c8bcbeee0e44c7b7055657cceb2eed");
        assert!(!state.exists());

        fs::write(&machine, "uninitialized\n").unwrap();
        let made = own(&state, &machine).unwrap();
        assert!(state.exists() && made != of_machine);
        fs::write(&machine, "3d1219c7c4c5404aaa1f6d2a48adfda4\n").unwrap();
        assert_eq!(own(&state, &machine).unwrap(), made, "disks do not change their names");

        let nowhere = Path::new("/proc/self/tgt/identity");
        let none = directory.path().join("none");
        assert_ne!(own(nowhere, &none).unwrap(), own(nowhere, &none).unwrap());
    }
}
