//! Stores on servers with a protocol of their own on a socket: the part that `nbd`, `curve` and `longhorn` share.
//!
//! | module | contents |
//! | --- | --- |
//! | `protocol` | [`Protocol`]: what a kind of server implements, as plain state |
//! | `address` | TCP and unix addresses, name look-ups |
//! | `server` | [`Server`]: address and settings of a store, opening it, requests that block |
//! | `engine` | [`Engine`]: the engine of one loop for all stores of a kind |
//! | `session` | a store on a loop: its connections, its operations, reconnecting |
//! | `backoff` | when a lost connection is established again |
//! | `link`, `stream`, `tls`, `socket` | one connection: sending and receiving; its bytes, with or without TLS |
//! | `operations` | the table of operations |
//! | `testing` | a connection without a socket, for tests and fuzzing of protocols |
//! | `watch` | the epoll descriptor of an engine |
//!
//! A kind of store implements [`Protocol`], opens with [`Server::open`] and attaches with [`Engine::attach`]:
//!
//! ```text
//! let server = Server::open(Settings { address, .. }, Box::new(move || Nbd::new(facts.clone())))?; // blocks: on an opener
//! fn attach(&self, engines) { let (engine, all) = engines.of_kind(Engine::<Nbd>::new)?;
//!                             Ok(Port { engine, slot: all.attach(self.server.clone()) }) }
//! fn flush(&self)           { self.server.run(RequestKind::Flush) }                                // blocks
//! fn refresh(&self)         { self.server.check()?; Ok(self.geometry()) }                          // blocks
//! ```
//!
//! What a protocol learns about the store (its size, its flags) it puts into state that it shares with the store, an
//! `Arc` that `make` gives to each protocol.

mod address;
mod backoff;
mod engine;
mod link;
mod operations;
mod protocol;
mod server;
mod session;
mod socket;
mod stream;
pub(crate) mod testing;
#[cfg(feature = "nbd-tls")]
mod tls;
mod watch;

pub(crate) use self::address::Address;
pub(crate) use self::engine::Engine;

pub(crate) use self::protocol::{
    Broken, Cookie, Event, MESSAGE_LEN_MAX, Protocol, Request, RequestKind, Requests,
};
pub(crate) use self::server::{Server, Settings};
#[cfg(feature = "nbd-tls")]
pub(crate) use self::tls::TlsSettings;
