//! Who we are in the fleet, and the channel that proves it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};

use fleet::Role;
use rustls_pki_types::CertificateDer;
use spa::{ExchangePublic, ExchangeSecret};
use tonic::transport::Channel;

use crate::certificate::{Age, Facts};
use crate::clock;
use crate::controllers::{self, Told};
use crate::error::{ConnectError, FilesError};
use crate::files::{self, CertificateFile, MembershipFile, TrustFile};
use crate::held::Held;
use crate::keyring::Keyring;
use crate::keys;
use crate::renew::{Renewal, Renewed};
use crate::tls::{self, Presented, Trust};
use crate::trust::{Believed, Shared};

/// One member of one fleet, as its directory says. Clones share the certificate.
#[derive(Clone)]
pub struct Membership {
    /// What this member may do.
    pub role: Role,
    /// Its name, given by the controller.
    pub name: String,
    /// The fleet's name.
    pub fleet: String,
    /// Where the controller listens, `host:port`.
    pub address: String,
    /// The name of a user's key, where it has just joined; else empty, since it is not kept.
    pub key_name: String,
    pub(crate) dir: PathBuf,
    /// The authority that it joined with.
    pub(crate) ca: CertificateDer<'static>,
    /// Whose word counts by now.
    pub(crate) trust: Shared,
    /// Where controllers are reached.
    pub(crate) told: Told,
    pub(crate) keys: Held,
    pub(crate) presented: Arc<Presented>,
    /// What the presented certificate says; `None` when there is none that fits.
    pub(crate) facts: Arc<Mutex<Option<Facts>>>,
}

// === impl Membership ===

impl Membership {
    /// Reads the membership in `dir`.
    ///
    /// # Errors
    ///
    /// [`FilesError`] names the file. A certificate that is missing or does not fit is no error; the
    /// next [`channel`](Self::channel) gets another. One whose keys are in a keyring is refused.
    pub fn load(dir: &Path) -> Result<Self, FilesError> {
        Self::load_with(dir, None)
    }

    /// As [`load`](Self::load), also where the keys are in this keyring. It is asked when they are needed,
    /// and not yet here.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(dir: &Path, keyring: Option<Arc<dyn Keyring>>) -> Result<Self, FilesError> {
        let file: MembershipFile = files::load(dir)?.ok_or_else(|| FilesError::NotMember {
            dir: dir.to_owned(),
        })?;
        let membership = Self::from_file(dir, &file, keyring.as_ref())?;
        if let Some(CertificateFile {
            certificate, key, ..
        }) = membership
            .certificate_dir()
            .and_then(|dir| load_certificate(&dir))
            && let Err(problem) = membership.present(&certificate.0, &key.0)
        {
            tracing::warn!(problem, "the stored certificate is of no use");
        }
        Ok(membership)
    }

    /// The X25519 secret from which pairwise SPA keys come; hosts and users have one.
    ///
    /// # Errors
    ///
    /// What the keyring says, where it is in one: at the first time only, and this then waits for it.
    pub fn exchange(&self) -> Result<Option<&ExchangeSecret>, FilesError> {
        Ok(self.keys.get()?.exchange.as_deref())
    }

    /// The public half of [`exchange`](Self::exchange).
    #[must_use]
    pub fn exchange_public(&self) -> Option<ExchangePublic> {
        self.keys.publics().exchange
    }

    /// The CA certificate of the fleet that this membership began with, DER. By now another may have followed
    /// it: see [`authorities`](Self::authorities).
    #[must_use]
    pub fn ca_der(&self) -> &[u8] {
        &self.ca
    }

    /// The CA certificates whose word counts by now, DER, the one that issues first.
    #[must_use]
    pub fn authorities(&self) -> Vec<Vec<u8>> {
        let believed = self.trust.get();
        let all = believed.authorities.iter();
        all.map(|ca| ca.to_vec()).collect()
    }

    /// The Ed25519 public keys that sign directories; empty where the controller has named none.
    #[must_use]
    pub fn directory_keys(&self) -> Vec<[u8; 32]> {
        self.trust.get().directory_keys.clone()
    }

    /// Whether the controller, which names what it says of its authorities so, says something else than
    /// this member keeps: then [`renew`](Self::renew) asks it. Empty from controllers that say nothing.
    #[must_use]
    pub fn is_behind(&self, digest: &[u8]) -> bool {
        !digest.is_empty() && *digest != self.trust.get().digest()
    }

    /// Uses the certificate no more: the next [`channel`](Self::channel) gets another, in this program and in
    /// others. For one that the controller says it does not know.
    pub fn forget_certificate(&self) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(dir) = self.certificate_dir() {
            // One that stays is renewed at its half life.
            let _ = files::remove::<CertificateFile>(&dir);
        }
    }

    /// The directory it lives in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When the certificate in use should be renewed, seconds since the Unix epoch; 0 for at once.
    #[must_use]
    pub fn renew_at_secs(&self) -> u64 {
        self.facts().map_or(0, |facts| facts.half_life_secs())
    }

    /// When the certificate in use runs out, seconds since the Unix epoch; 0 when there is none.
    #[must_use]
    pub fn expires_at_secs(&self) -> u64 {
        self.facts().map_or(0, |facts| facts.not_after_secs)
    }

    /// Where the fleet's controllers are reached, in the order in which this member dials them: what one of them has said
    /// last, and at the end the address that it joined at.
    #[must_use]
    pub fn controllers(&self) -> Vec<String> {
        let mut all = self.spread(self.told.get().to_vec());
        if !all.contains(&self.address) {
            all.push(self.address.clone());
        }
        all
    }

    /// These addresses in this member's own order, so that not all members begin with the first.
    #[must_use]
    pub fn spread(&self, addresses: Vec<String>) -> Vec<String> {
        controllers::spread(addresses, &format!("{}/{}", self.role, self.name))
    }

    /// Keeps where the controllers are, as one of them says; whether that is news. Who says nothing is not heard.
    ///
    /// # Errors
    ///
    /// What the disk says. It is used all the same, while this program runs.
    pub fn hear_controllers(&self, said: &[String]) -> Result<bool, FilesError> {
        self.told.hear(said, (&self.dir, &self.ca))
    }

    /// A channel to the first controller that answers, and where that is. See [`channel_to`](Self::channel_to).
    ///
    /// Who cannot be reached, or does not prove to be a controller of the fleet, is passed over. Nothing was asked by
    /// then: whatever is asked over the channel is asked once.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]: of the controllers that did not answer, if none refused us, all are named.
    pub async fn channel_and_address(&self) -> Result<(Channel, String), ConnectError> {
        let mut failures = Vec::new();
        for address in controllers::by_answer(self.controllers()).await {
            match self.channel_to(&address).await {
                Ok(channel) => return Ok((channel, address)),
                Err(error) if error.is_of_place() => failures.push((address, error)),
                Err(error) => return Err(error),
            }
        }
        Err(ConnectError::of_all(failures))
    }

    /// A channel to the controller in which both sides have proven who they are.
    ///
    /// The certificate is renewed first when it is past its half life, of the future, or gone. The channel makes a
    /// new connection by itself when the old one breaks, with the certificate of then.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], by who can act.
    pub async fn channel(&self) -> Result<Channel, ConnectError> {
        let (channel, _) = self.channel_and_address().await?;
        Ok(channel)
    }

    /// The same, to another address (`host:port`) than the one the token named. The controller must
    /// prove itself all the same.
    ///
    /// # Errors
    ///
    /// As [`channel`](Self::channel).
    pub async fn channel_to(&self, address: &str) -> Result<Channel, ConnectError> {
        match self.age() {
            Age::Fresh => {}
            // The controller may take it all the same: it judges by its own clock.
            Age::Early => {
                if let Err(error) = self.renew_at(address).await {
                    tracing::warn!(error = %program::one_line(&error), "the certificate begins in the future by this machine's clock, and is not renewed");
                }
            }
            Age::Ripe => {
                if let Err(error) = self.renew_at(address).await {
                    tracing::warn!(error = %program::one_line(&error), "the certificate is not renewed, and still valid");
                }
            }
            Age::Expired => self.renew_at(address).await?,
        }
        let presented = || Some(self.presented.clone());
        let (channel, is_behind) =
            tls::channel_and_shown(address, &self.trust(), presented()).await?;
        if !is_behind {
            return Ok(channel);
        }
        // It was away while authorities followed one another: its certificate may be of one that counts no
        // more, and the first call would be refused for that.
        if let Err(error) = self.renew_at(address).await {
            tracing::warn!(error = %program::one_line(&error), "another authority issues now, and nothing is learnt of it");
            return Ok(channel);
        }
        tls::channel(address, &self.trust(), presented()).await
    }

    /// Gets a fresh certificate now, by proof of the identity key, and keeps it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Refused`] when the member was banned; otherwise by who can act.
    pub async fn renew(&self) -> Result<(), ConnectError> {
        let mut failures = Vec::new();
        for address in controllers::by_answer(self.controllers()).await {
            match self.renew_at(&address).await {
                Err(error) if error.is_of_place() => failures.push((address, error)),
                renewed => return renewed,
            }
        }
        Err(ConnectError::of_all(failures))
    }

    /// As [`renew`](Self::renew), at another address.
    ///
    /// # Errors
    ///
    /// As [`renew`](Self::renew).
    pub async fn renew_at(&self, address: &str) -> Result<(), ConnectError> {
        let mut renewed = self.ask(address).await?;
        if self.learn(renewed.believed.take())? {
            // Only whoever has it on the disk says that it knows it.
            renewed = self.ask(address).await?;
            self.learn(renewed.believed.take())?;
        }
        if let Err(error) = self.hear_controllers(&renewed.controllers) {
            tracing::warn!(error = %program::one_line(&error), "where the fleet's controllers are is not saved");
        }
        let Renewed {
            certificate_der,
            key,
            ca: _,
            believed: _,
            controllers: _,
        } = renewed;
        self.present(&certificate_der, &key.pkcs8_der)
            .map_err(ConnectError::Answer)?;
        if let Err(error) = self.save_certificate(&certificate_der, &key.pkcs8_der) {
            // The next program has to renew again; this one can go on.
            tracing::warn!(error = %program::one_line(&error), "the renewed certificate is not saved");
        }
        tracing::debug!(name = self.name, "certificate renewed");
        Ok(())
    }

    async fn ask(&self, address: &str) -> Result<Renewed, ConnectError> {
        let renewal = Renewal {
            role: self.role,
            name: &self.name,
            keys: self.keys.get()?,
            trust: self.trust(),
            known: self.trust.get().fingerprints(),
        };
        renewal.ask(address, clock::now_secs()).await
    }

    /// Keeps what the controller says of its authorities; whether that is news.
    fn learn(&self, believed: Option<Believed>) -> Result<bool, FilesError> {
        let Some(believed) = believed.filter(|it| *it != *self.trust.get()) else {
            return Ok(false);
        };
        believed.save(&self.dir, &self.ca)?;
        tracing::info!("the fleet's authorities are others than before, and are kept");
        self.trust.set(believed);
        Ok(true)
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Authorities(self.trust.get().authorities.clone())
    }

    /// Uses a certificate from now on, if it is this member's.
    pub(crate) fn present(&self, certificate: &[u8], key: &[u8]) -> Result<(), &'static str> {
        let facts = Facts::read(certificate)?;
        if (&facts.fleet, facts.role, &facts.name) != (&self.fleet, self.role, &self.name) {
            return Err("the certificate is somebody else's");
        }
        self.presented
            .set(certificate, key)
            .map_err(|_| "the certificate does not fit its key")?;
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
        Ok(())
    }

    pub(crate) fn save(&self) -> Result<(), FilesError> {
        let file = MembershipFile::new(
            (self.role.as_str(), &self.name, &self.fleet),
            &self.address,
            &self.ca,
            self.keys.to_store(),
        );
        files::save(&self.dir, &file)
    }

    /// The same with what is believed: before it, so that a membership never stands there that believes
    /// less than it was told.
    pub(crate) fn save_all(&self) -> Result<(), FilesError> {
        let believed = self.trust.get();
        if *believed == Believed::only(self.ca.clone()) {
            // Of a membership before, in the same fleet.
            files::remove::<TrustFile>(&self.dir)?;
        } else {
            believed.save(&self.dir, &self.ca)?;
        }
        self.told.save((&self.dir, &self.ca))?;
        self.save()
    }

    /// Keeps a certificate with its key for the next program, where there is a place for that.
    pub(crate) fn save_certificate(
        &self,
        certificate: &[u8],
        key: &[u8],
    ) -> Result<(), FilesError> {
        let Some(dir) = self.certificate_dir() else {
            return Ok(());
        };
        files::make_private_dir(&dir)?;
        files::save(&dir, &CertificateFile::new(certificate, key))
    }

    /// Where the certificate and its key are. They stand for the member until it expires, so where the
    /// keys are not on the disk these are not there either.
    pub(crate) fn certificate_dir(&self) -> Option<PathBuf> {
        let Some(keyring) = self.keys.keyring() else {
            return Some(self.dir.clone());
        };
        let session = keyring.session_dir()?;
        Some(session.join("postern").join(self.keys.publics().hex()))
    }

    fn facts(&self) -> Option<Facts> {
        self.facts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn age(&self) -> Age {
        self.facts()
            .map_or(Age::Expired, |facts| facts.age(clock::now_secs()))
    }

    fn from_file(
        dir: &Path,
        file: &MembershipFile,
        keyring: Option<&Arc<dyn Keyring>>,
    ) -> Result<Self, FilesError> {
        let path = dir.join(files::MEMBERSHIP);
        let damaged = |problem: &str| FilesError::damaged(&path, problem.to_owned());
        let role = Role::from_str(&file.role).map_err(|_| damaged("unknown role"))?;
        let keys = Held::stored(&path, &file.keys(), keyring)?;
        let ca = keys::certificate(&file.ca.0);
        tls::roots(std::slice::from_ref(&ca))
            .map_err(|_| damaged("the CA certificate is not one"))?;
        let trust = Shared::new(Believed::load(dir, &ca)?);
        Ok(Self {
            role,
            name: file.name.clone(),
            fleet: file.fleet.clone(),
            address: file.address.clone(),
            dir: dir.to_owned(),
            told: Told::load(dir, &ca),
            ca,
            trust,
            keys,
            key_name: String::new(),
            presented: Arc::default(),
            facts: Arc::default(),
        })
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership")
            .field("role", &self.role)
            .field("name", &self.name)
            .field("fleet", &self.fleet)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The stored certificate, or a word in the log about why there is none.
fn load_certificate(dir: &Path) -> Option<CertificateFile> {
    files::load(dir).unwrap_or_else(|error| {
        tracing::warn!(error = %program::one_line(&error), "the stored certificate is of no use");
        None
    })
}
