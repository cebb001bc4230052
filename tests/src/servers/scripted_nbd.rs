//! An NBD server in this process that does what a test says, also what no real server does.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

/// A server whose connections a function serves, each on a thread. The threads end when the client closes the
/// connections.
pub struct ScriptedNbd {
    directory: TempDir,
}

/// What the server says about its export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScriptedExport {
    /// Size in bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Minimum, preferred and maximum block size in bytes.
    pub block: Option<[u32; 3]>,
    /// Replies have chunks.
    pub structured: bool,
}

/// An export with flush, FUA, trim, write zeroes and several connections.
pub const EXPORT: ScriptedExport =
    ScriptedExport { size: 1 << 20, flags: 0x16d, block: None, structured: true };

/// A connection of the server.
pub struct ScriptedConnection {
    stream: UnixStream,
}

/// A request of the client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScriptedRequest {
    /// 0 read, 1 write, 3 flush, 4 trim, 6 write zeroes, 7 block status.
    pub command: u16,
    /// Flags of the command.
    pub flags: u16,
    /// Identifies it.
    pub cookie: u64,
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// The data of a write.
    pub data: Vec<u8>,
}

impl ScriptedNbd {
    /// Starts a server. `script` gets the number of the connection, from 0.
    ///
    /// # Panics
    /// There is no socket.
    pub fn start(
        script: impl Fn(usize, ScriptedConnection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("socket")).expect("a socket");
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (Ok(stream), script) = (stream, Arc::clone(&script)) else { return };
                // The end of the connection is how a script ends.
                std::thread::spawn(move || _ = script(number, ScriptedConnection { stream }));
            }
        });
        Self { directory }
    }

    /// Path of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The URI of its export.
    #[must_use]
    pub fn uri(&self) -> String {
        super::nbd::uri(&self.socket(), "")
    }
}

const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
const REPLY_MAGIC: [u8; 8] = [0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9];

impl ScriptedConnection {
    /// The whole handshake.
    ///
    /// # Errors
    /// The connection ends.
    pub fn handshake(&mut self, export: ScriptedExport) -> io::Result<()> {
        self.send(GREETING)?;
        self.array::<4>()?;
        loop {
            let [_, _] = [self.u32()?, self.u32()?];
            let option = self.u32()?;
            let len = self.u32()? as usize;
            self.bytes(len)?;
            match option {
                8 if export.structured => self.option_reply(8, 1, &[])?,
                10 => {
                    self.option_reply(10, 4, b"\0\0\0\x09base:allocation")?;
                    self.option_reply(10, 1, &[])?;
                }
                7 => {
                    let ScriptedExport { size, flags, .. } = export;
                    let info = [&[0, 0][..], &size.to_be_bytes(), &flags.to_be_bytes()].concat();
                    self.option_reply(7, 3, &info)?;
                    if let Some(sizes) = export.block {
                        let info = [&[0, 3][..], &sizes.map(u32::to_be_bytes).concat()].concat();
                        self.option_reply(7, 3, &info)?;
                    }
                    return self.option_reply(7, 1, &[]);
                }
                unknown => self.option_reply(unknown, (1 << 31) + 1, &[])?,
            }
        }
    }

    fn option_reply(&mut self, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
        let len = data.len() as u32;
        let header = [option, kind, len].map(u32::to_be_bytes).concat();
        self.send(&[&REPLY_MAGIC[..], &header, data].concat())
    }

    /// The next request.
    ///
    /// # Errors
    /// The connection ends, or the client ends it by a message.
    pub fn request(&mut self) -> io::Result<ScriptedRequest> {
        if self.u32()? != 0x2560_9513 {
            return Err(io::Error::other("no request"));
        }
        let flags = u16::from_be_bytes(self.array()?);
        let command = u16::from_be_bytes(self.array()?);
        let (cookie, offset) = (u64::from_be_bytes(self.array()?), u64::from_be_bytes(self.array()?));
        let len = self.u32()?;
        if command == 2 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let data = if command == 1 { self.bytes(len as usize)? } else { Vec::new() };
        Ok(ScriptedRequest { command, flags, cookie, offset, len, data })
    }

    /// Performs a request on `disk` and answers it.
    ///
    /// # Errors
    /// The connection ends.
    pub fn perform(&mut self, request: &ScriptedRequest, disk: &Mutex<Vec<u8>>) -> io::Result<()> {
        let ScriptedRequest { command, cookie, offset, len, data, .. } = request;
        let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        let range = *offset as usize..*offset as usize + *len as usize;
        let reply = match command {
            0 => chunk(*cookie, true, 1, &[&offset.to_be_bytes()[..], &disk[range]].concat()),
            1 => {
                disk[range].copy_from_slice(data);
                simple(*cookie, 0)
            }
            6 => {
                disk[range].fill(0);
                simple(*cookie, 0)
            }
            7 => chunk(*cookie, true, 5, &[9, *len, 0].map(u32::to_be_bytes).concat()),
            _ => simple(*cookie, 0),
        };
        drop(disk);
        self.send(&reply)
    }

    /// Performs all requests.
    ///
    /// # Errors
    /// The connection ends.
    pub fn serve(&mut self, disk: &Mutex<Vec<u8>>) -> io::Result<()> {
        loop {
            let request = self.request()?;
            self.perform(&request, disk)?;
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// The connection ends.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Waits until the client closes the connection; drops what it sends.
    ///
    /// # Errors
    /// The connection fails.
    pub fn wait_for_end(&mut self) -> io::Result<()> {
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }

    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_be_bytes)
    }
}

/// A simple reply.
#[must_use]
pub fn simple(cookie: u64, error: u32) -> Vec<u8> {
    [&0x6744_6698u32.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
}

/// A chunk of a structured reply.
#[must_use]
pub fn chunk(cookie: u64, done: bool, kind: u16, data: &[u8]) -> Vec<u8> {
    let (flags, len) = (u16::from(done), data.len() as u32);
    let header = [&0x668e_33efu32.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes()].concat();
    [&header[..], &cookie.to_be_bytes(), &len.to_be_bytes(), data].concat()
}
