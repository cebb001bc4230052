//! Parameter data: what commands return and take besides blocks.
