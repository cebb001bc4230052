//! The configuration as plain data; owned by the control thread.
