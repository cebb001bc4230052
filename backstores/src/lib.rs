//! Backstores.
