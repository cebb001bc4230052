//! The threads, sockets and clocks around the engine.
