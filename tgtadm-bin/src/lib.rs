//! What the administration tools share: the option grammar and the client of the control socket.
