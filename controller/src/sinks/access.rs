//! Certificates, keys and secrets of a sink, from their files.

use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::DeliveryError;
use crate::settings::Access;

/// No file of ours is longer; bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A file that only its owner and group may read, in bytes.
pub(super) fn secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, DeliveryError> {
    let failed = |source| DeliveryError::File {
        path: path.to_owned(),
        source,
    };
    let file = program::files::open_regular(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(DeliveryError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    // Editors end every file with a line's end, which belongs to no secret.
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Err(malformed(path, "secret"));
    }
    Ok(bytes)
}

/// The same as a header's value, behind its prefix.
pub(super) fn token(path: &Path, prefix: &str) -> Result<Zeroizing<String>, DeliveryError> {
    let bytes = secret(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| malformed(path, "text"))?;
    if !text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic())
    {
        return Err(malformed(path, "value of a header"));
    }
    let between = if prefix.is_empty() { "" } else { " " };
    Ok(Zeroizing::new(format!("{prefix}{between}{text}")))
}

/// Whose certificates are believed.
pub(super) fn authorities(access: &Access) -> Result<Vec<CertificateDer<'static>>, DeliveryError> {
    if let Some(path) = &access.ca {
        return certificates(path);
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return Err(DeliveryError::NoAuthorities);
    }
    Ok(found)
}

/// The same, as rustls has them.
pub(super) fn roots(access: &Access) -> Result<RootCertStore, DeliveryError> {
    let mut roots = RootCertStore::empty();
    let authorities = authorities(access)?;
    match &access.ca {
        Some(_) => {
            for authority in authorities {
                roots.add(authority).map_err(DeliveryError::Tls)?;
            }
        }
        // Old certificates among the system's are nobody's mistake here.
        None => _ = roots.add_parsable_certificates(authorities),
    }
    Ok(roots)
}

/// Our own certificates and key, where the receiver asks for them.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

pub(super) fn identity(access: &Access) -> Result<Option<Identity>, DeliveryError> {
    let Some([certificate, key]) = &access.client else {
        return Ok(None);
    };
    let bytes = secret(key)?;
    let parsed = PrivateKeyDer::from_pem_slice(&bytes);
    let key = parsed.map_err(|_| malformed(key, "private key in PEM"))?;
    Ok(Some((certificates(certificate)?, key)))
}

/// TLS as a client of this sink.
pub(super) fn tls(access: &Access) -> Result<ClientConfig, DeliveryError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(DeliveryError::Tls)?
        .with_root_certificates(roots(access)?);
    match identity(access)? {
        Some((certificates, key)) => config
            .with_client_auth_cert(certificates, key)
            .map_err(DeliveryError::Tls),
        None => Ok(config.with_no_client_auth()),
    }
}

/// A public file, in bytes.
pub(super) fn pem(path: &Path) -> Result<Vec<u8>, DeliveryError> {
    let failed = |source| DeliveryError::File {
        path: path.to_owned(),
        source,
    };
    let file = program::files::open_regular(path).map_err(failed)?;
    let mut pem = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut pem)
        .map_err(failed)?;
    Ok(pem)
}

/// All certificates of a file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DeliveryError> {
    let failed = |source| DeliveryError::File {
        path: path.to_owned(),
        source,
    };
    let pem = pem(path)?;
    let each = CertificateDer::pem_slice_iter(&pem);
    let found: Result<Vec<_>, _> = each.collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(malformed(path, "certificate in PEM")),
        Err(error) => Err(failed(io::Error::new(
            io::ErrorKind::InvalidData,
            error.to_string(),
        ))),
    }
}

fn malformed(path: &Path, what: &'static str) -> DeliveryError {
    DeliveryError::Malformed {
        path: path.to_owned(),
        what,
    }
}
