//! RFC 7143 through the whole stack, told by chapters: an initiator and the engine in memory.

mod data_transfer;
