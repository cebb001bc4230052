//! Every bound of the engine: what is not listed here is not bounded, and that would be a mistake.
