//! One target on one loop: nexuses, unit ports, running tasks.

pub mod settings;
