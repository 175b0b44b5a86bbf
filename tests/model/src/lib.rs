//! The replay machine, checked exhaustively: see the tests of this crate.
