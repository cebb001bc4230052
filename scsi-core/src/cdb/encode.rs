//! Builders of CDBs, for initiators and tests.
