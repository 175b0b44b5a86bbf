//! Everything that can go wrong, sorted by culprit: the bytes, the key, or the caller.
//!
//! No error carries anything secret or any text of a packet, so all of them may be logged.

/// A key that cannot be used. The configuration is at fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidKey {
    /// Not base64, or base64 of an impossible length.
    #[error("not valid base64")]
    Base64,
    /// AES-256 takes at most 32 bytes; fwknop refuses more as well, and truncates nothing.
    #[error("encryption key of {0} bytes; at most 32 are allowed")]
    EncryptionKeyTooLong(usize),
    /// fwknop's own limits for the HMAC key.
    #[error("HMAC key of {0} bytes; 1 to 128 are allowed")]
    HmacKeyLength(usize),
    /// One secret in both roles: whoever guesses one has the other. fwknop refuses it too.
    #[error("the HMAC key is equal to the encryption key")]
    HmacKeyEqualsEncryptionKey,
    /// Legacy mode belongs to clients that knew no HMAC; fwknop refuses the pair too.
    #[error("legacy encryption mode cannot be combined with an HMAC key")]
    LegacyWithHmac,
    /// An X25519 text or byte form that is not 32 bytes.
    #[error("exchange key of {0} bytes; 32 are required")]
    ExchangeKeyLength(usize),
    /// A public key that makes the shared secret the same for everyone (RFC 7748 section 6.1).
    #[error("low-order exchange key")]
    LowOrderPoint,
    /// The two public keys named are not those of the two parties.
    #[error("the exchange keys are not those of the user and the host")]
    NotAParty,
}

/// A name of a mode, digest, protocol or port that we do not know.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnknownName {
    /// Not one of md5 sha1 sha256 sha384 sha512 sha3_256 sha3_512.
    #[error("unknown digest type")]
    DigestType,
    /// Not one of CBC CTR CFB OFB ECB legacy.
    #[error("unknown encryption mode")]
    EncryptionMode,
    /// Not `tcp` or `udp`.
    #[error("unknown protocol")]
    Protocol,
    /// Not `protocol/port` with a port of 1 to 65535 without leading zeros.
    #[error("not a protocol and port")]
    ProtoPort,
}

/// Bytes that are no SPA packet, or a plaintext that is no SPA message.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The packet is shorter or longer than any packet can be.
    #[error("{0} bytes; a packet has 140 to 1500")]
    Length(usize),
    /// The packet has a character outside the base64 alphabet; `=` is never sent.
    #[error("a character outside the base64 alphabet")]
    Alphabet,
    /// The plaintext is shorter than 36 or longer than 1499 bytes.
    #[error("plaintext of {0} bytes")]
    PlaintextLength(usize),
    /// The plaintext has a byte that is not printable ASCII.
    #[error("plaintext is not printable")]
    NotPrintable,
    /// The random field is not sixteen decimal digits.
    #[error("random field")]
    Random,
    /// The number of fields is not the one that the message type calls for.
    #[error("number of fields")]
    Fields,
    /// There is the field SERVER_AUTH, in which libfko carries a password for the server. fwknopd takes
    /// it and checks nothing; a message that relies on a check that nobody makes is refused.
    #[error("SERVER_AUTH, a password that nobody checks")]
    ServerAuth,
    /// The user name is empty, too long, or has a forbidden character.
    #[error("user name")]
    Username,
    /// The time stamp is not a canonical decimal number below 2^32.
    #[error("time stamp")]
    Timestamp,
    /// The version is not digits and dots, at most eight characters.
    #[error("version")]
    Version,
    /// The message type is not one of 0 to 6.
    #[error("message type")]
    MessageType,
    /// The address to open is not a canonical IPv4 or IPv6 address.
    #[error("address")]
    Address,
    /// The access request is not `address,service[,service...]`, or that with `close` or `cut` in
    /// front of the services, which may be none then.
    #[error("access request")]
    Access,
    /// The command is empty or has a control character.
    #[error("command")]
    Command,
    /// The NAT field is not `host,port`.
    #[error("NAT access")]
    NatAccess,
    /// The client timeout is not a canonical decimal number of at most 65536.
    #[error("client timeout")]
    ClientTimeout,
    /// The last field has the length of no digest.
    #[error("digest length")]
    DigestLength,
    /// The digest is not that of the message.
    #[error("digest does not match")]
    DigestMismatch,
}

/// The HMAC does not verify under this key, or the packet cannot be one for this key at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not authentic under this key")]
pub struct NotAuthentic;

/// Why an authentic packet could not be opened. Without an HMAC key: the usual fate of a packet
/// that was sealed with another key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The text is not the base64 of a salted ciphertext of whole blocks.
    #[error("not a salted ciphertext")]
    Ciphertext,
    /// The decrypted text is not padded as PKCS#7 says (RFC 5652 section 6.3).
    #[error("padding")]
    Padding,
    /// An OpenPGP message, and nobody who decrypts it.
    #[error("an OpenPGP message, which nothing here decrypts")]
    NoDecryptor,
    /// An OpenPGP message that was not decrypted.
    #[error("OpenPGP")]
    OpenPgp(#[from] NotDecrypted),
    /// The decrypted text is no SPA message.
    #[error("message")]
    Message(#[from] Malformed),
}

/// Why an OpenPGP message was not decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotDecrypted {
    /// It is for somebody else, or damaged.
    #[error("no secret key of this host decrypts it")]
    NoKey,
    /// It is not signed by any of those whom the stanza names.
    #[error("not signed by a key that the stanza names")]
    Signer,
    /// Whoever decrypts could not be asked, or gave no answer in time.
    #[error("the keyring cannot be used")]
    Keyring,
}

/// A message that cannot be written. The caller is at fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidMessage {
    /// The random field is not sixteen ASCII digits.
    #[error("the random field must be sixteen decimal digits")]
    Random,
    /// The user name is empty, longer than 48 bytes, or has a character the format forbids.
    #[error(
        "the user name must be 1 to 48 printable characters and none of \" / \\ [ ] : ; | = , + * ? < >"
    )]
    Username,
    /// The format has 32 bits for the time.
    #[error("the time stamp must be below 2^32")]
    Timestamp,
    /// The version is not digits and dots, at most eight characters.
    #[error("the version must be digits and dots, at most eight characters")]
    Version,
    /// A command request with an access type, or the other way round.
    #[error("the request is not of the message's type")]
    Request,
    /// No port is asked for.
    #[error("no port is asked for")]
    NoPorts,
    /// The address is unspecified or an IPv4 address in IPv6 form.
    #[error("the address cannot be opened")]
    Address,
    /// The command is empty or has a control character.
    #[error("the command is empty or has a control character")]
    Command,
    /// The format allows 192 bytes for address and ports or command, and for the NAT access.
    #[error("{0} bytes of request; the format allows 192")]
    RequestTooLong(usize),
    /// NAT access is missing where the type calls for it, present where it does not, or malformed.
    #[error("the NAT access does not fit the message type, or is malformed")]
    NatAccess,
    /// The timeout is missing where the type calls for it, present where it does not, or over 65536.
    #[error("the timeout does not fit the message type, or is over 65536 seconds")]
    ClientTimeout,
}

/// Why a message could not be sealed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The message itself cannot be written.
    #[error("message")]
    Message(#[from] InvalidMessage),
    /// No receiver looks at a packet of this length. A message of nothing but short fields with an
    /// MD5 digest can be too short; with a SHA-256 digest it is not.
    #[error("a packet of {0} characters; 140 to 1500 can be sent")]
    Length(usize),
    /// The tagged form needs an HMAC key, from which the tag key is derived.
    #[error("the tagged form needs an HMAC key")]
    NoTagKey,
    /// What was to be sealed is no OpenPGP message for one recipient who is named in it.
    #[error("not an OpenPGP message that can be sent")]
    NotOpenPgp,
}
