//! OpenPGP messages (RFC 9580) in SPA packets, as fwknop makes them with GnuPG.
