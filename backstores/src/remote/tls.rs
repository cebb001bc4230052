//! TLS of a connection, by rustls.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::socket;

/// What the TLS connections of a store have in common.
pub(crate) struct TlsSettings {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// The certificates of the system, where no directory is given.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Bytes that a connection takes before they are sent.
const BUFFER_LEN: usize = 1 << 20;

impl TlsSettings {
    /// Reads the certificates: `ca-cert.pem` of the directory, and `client-cert.pem` and `client-key.pem` if they exist.
    /// The certificate of the server must be valid for `name`, unless `verifies_peer` is false.
    ///
    /// # Errors
    /// A text for the operator.
    pub(crate) fn new(directory: Option<&Path>, name: &str, verifies_peer: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if verifies_peer {
            builder.with_root_certificates(roots(directory)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        };
        let config = match client_certificate(directory)? {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("'{name}': {error}"))?;
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) fn stream(&self) -> Result<TlsStream, String> {
        let mut connection = ClientConnection::new(self.config.clone(), self.name.clone())
            .map_err(|error| format!("TLS: {error}"))?;
        connection.set_buffer_limit(Some(BUFFER_LEN));
        Ok(TlsStream { connection, failure: None })
    }
}

fn roots(directory: Option<&Path>) -> Result<RootCertStore, String> {
    let path =
        directory.map_or_else(|| SYSTEM_CERTIFICATES.into(), |directory| directory.join("ca-cert.pem"));
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        // The system has some that rustls does not accept.
        let added = roots.add(certificate);
        if let (Err(error), Some(_)) = (added, directory) {
            return Err(format!("{}: {error}", path.display()));
        }
    }
    if roots.is_empty() { Err(format!("{}: no certificate", path.display())) } else { Ok(roots) }
}

type ClientCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(directory: Option<&Path>) -> Result<Option<ClientCertificate>, String> {
    let Some(directory) = directory else { return Ok(None) };
    let (chain, key) = (directory.join("client-cert.pem"), directory.join("client-key.pem"));
    if !chain.exists() && !key.exists() {
        return Ok(None);
    }
    let chain = certificates(&chain)?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| format!("{}: {error}", key.display()))?;
    Ok(Some((chain, key)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = |error| format!("{}: {error}", path.display());
    CertificateDer::pem_file_iter(path).map_err(text)?.collect::<Result<_, _>>().map_err(text)
}

/// A TLS connection over a socket that it does not own.
pub(super) struct TlsStream {
    connection: ClientConnection,
    failure: Option<String>,
}

impl TlsStream {
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Why TLS has failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    pub(super) fn send(&mut self, fd: BorrowedFd<'_>, from: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let taken = self.connection.writer().write_vectored(from).map_err(errno)?;
        self.flush(fd)?;
        let empty = from.iter().all(|slice| slice.is_empty());
        if taken == 0 && !empty { Err(Errno::AGAIN) } else { Ok(taken) }
    }

    /// Sends what is encrypted, until the socket is full.
    fn flush(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Socket(fd)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(errno(error)),
            }
        }
        Ok(())
    }

    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        into: &mut [IoSliceMut<'_>],
    ) -> Result<usize, Errno> {
        loop {
            let mut received = 0;
            for slice in into.iter_mut() {
                match self.connection.reader().read(slice) {
                    Ok(count) => received += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return if received > 0 { Ok(received) } else { Err(errno(error)) },
                }
                if received < slice.len() {
                    break;
                }
            }
            if received > 0 {
                return Ok(received);
            }
            match self.connection.read_tls(&mut Socket(fd)) {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(errno(error)),
            }
            let state = self.connection.process_new_packets().map_err(|error| {
                self.failure = Some(format!("TLS: {error}"));
                // The alert for the server.
                Errno::PROTO
            });
            if state.is_err() {
                let _ = self.flush(fd);
            }
            if state?.peer_has_closed() {
                return Ok(0);
            }
        }
    }
}

fn errno(error: io::Error) -> Errno {
    if error.kind() == io::ErrorKind::WouldBlock {
        return Errno::AGAIN;
    }
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(socket::receive(self.0, &mut [IoSliceMut::new(into)])?)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(from)])
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(socket::send(self.0, from)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Accepts every certificate, for `tls-verify-peer=0`: the connection is encrypted, and the server may be any.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
