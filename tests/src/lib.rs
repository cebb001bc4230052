//! The bench the tests run on.
