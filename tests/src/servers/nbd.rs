//! NBD servers of other projects: nbdkit, qemu-nbd and qemu-storage-daemon, over a unix socket.

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Server, require, wait_until};

/// A running server; killed when dropped.
pub struct NbdServer {
    directory: TempDir,
    program: &'static str,
    arguments: Vec<OsString>,
    export: &'static str,
    server: Option<Server>,
}

impl NbdServer {
    /// Starts nbdkit with these arguments, which name a plug-in; `{dir}` is its directory.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn nbdkit(words: &[&str]) -> Self {
        Self::nbdkit_in(tempfile::tempdir().expect("a directory"), words)
    }

    /// Starts nbdkit with a file of `len` bytes, these options and these parameters of filters.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn nbdkit_file(len: u64, words: &[&str]) -> Self {
        let directory = directory_with_image(len);
        let (options, parameters): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
        Self::nbdkit_in(directory, &[options, vec!["file", "{dir}/image"], parameters].concat())
    }

    fn nbdkit_in(directory: TempDir, words: &[&str]) -> Self {
        require("nbdkit", "nbdkit");
        let mut arguments: Vec<OsString> = vec!["-f".into()];
        if !words.contains(&"-p") {
            arguments.extend(["-U".into(), directory.path().join("socket").into()]);
        }
        let path = directory.path().to_str().expect("text");
        arguments.extend(words.iter().map(|word| word.replace("{dir}", path).into()));
        Self::run(directory, "nbdkit", arguments, "")
    }

    /// Starts qemu-nbd with a file of `len` bytes and these arguments.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn qemu_nbd(len: u64, words: &[&str]) -> Self {
        require("qemu-nbd", "qemu-utils");
        let directory = directory_with_image(len);
        let (socket, image) = (directory.path().join("socket"), directory.path().join("image"));
        let mut arguments: Vec<OsString> =
            ["-t", "-f", "raw", "--discard=unmap", "-k"].map(OsString::from).into();
        arguments.push(socket.into());
        arguments.extend(words.iter().map(OsString::from));
        arguments.push(image.into());
        Self::run(directory, "qemu-nbd", arguments, "")
    }

    /// Starts qemu-storage-daemon with a file of `len` bytes as the export `disk`.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn storage_daemon(len: u64) -> Self {
        require("qemu-storage-daemon", "qemu-system-common");
        let directory = directory_with_image(len);
        let path = directory.path().to_str().expect("text").to_owned();
        let words = [
            "--blockdev".to_owned(),
            format!("driver=file,node-name=disk,filename={path}/image,discard=unmap"),
            "--nbd-server".to_owned(),
            format!("addr.type=unix,addr.path={path}/socket,max-connections=0"),
            "--export".to_owned(),
            "type=nbd,id=export,node-name=disk,name=disk,writable=on".to_owned(),
        ];
        Self::run(directory, "qemu-storage-daemon", words.map(OsString::from).into(), "disk")
    }

    fn run(
        directory: TempDir,
        program: &'static str,
        arguments: Vec<OsString>,
        export: &'static str,
    ) -> Self {
        let mut this = Self { directory, program, arguments, export, server: None };
        this.start();
        this
    }

    /// Starts it again after [`kill`](Self::kill).
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        let socket = self.path("socket");
        let _ = std::fs::remove_file(&socket);
        self.server = Some(Server::start(self.program, &self.arguments, &self.path("log")));
        let port = self.arguments.iter().position(|word| word == "-p").map(|at| &self.arguments[at + 1]);
        let port = port.and_then(|port| port.to_str()?.parse::<u16>().ok());
        wait_until(self.program, || match port {
            Some(port) => TcpStream::connect(("127.0.0.1", port)).is_ok(),
            None => UnixStream::connect(&socket).is_ok(),
        });
    }

    /// Kills it with SIGKILL.
    ///
    /// # Panics
    /// It has ended.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::KILL);
            server.wait();
        }
    }

    /// Stops or continues it.
    ///
    /// # Panics
    /// It has ended.
    pub fn stop(&self, stopped: bool) {
        let signal = if stopped { Signal::STOP } else { Signal::CONT };
        self.server.as_ref().expect("a running server").signal(signal);
    }

    /// Sets the length of its file in bytes.
    ///
    /// # Panics
    /// The file cannot be changed.
    pub fn set_len(&self, len: u64) {
        File::options()
            .write(true)
            .open(self.path("image"))
            .and_then(|file| file.set_len(len))
            .expect("an image");
    }

    /// Path of a file in its directory; its image is `image`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The URI of its export.
    #[must_use]
    pub fn uri(&self) -> String {
        uri(&self.path("socket"), self.export)
    }
}

/// The URI of an export behind a unix socket.
#[must_use]
pub fn uri(socket: &Path, export: &str) -> String {
    format!("nbd+unix:///{export}?socket={}", socket.display())
}

/// A new directory with a sparse file `image`.
fn directory_with_image(len: u64) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    File::create(directory.path().join("image")).and_then(|file| file.set_len(len)).expect("an image");
    directory
}
