//! The control records of the unix socket, and what is done with them.
