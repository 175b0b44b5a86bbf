//! Other keys in the place of those of a membership, in steps that may each be cut off.
//!
//! | step | on the disk then | who may open |
//! |---|---|---|
//! | made | the membership, and the next keys beside it | the keys of before |
//! | told | the same; the controller has both, and hosts hear of it | the keys of before, and where a host has heard the next |
//! | switched | the membership with the next keys, and whom they follow | both: every host has heard |
//! | ended | the membership alone | the next ones |
//!
//! Of a host, former exchange keys stay good for a while after that ([`former`](crate::former)): whom it opens for is
//! not known to it, nor how old their directories are.
//!
//! At every moment the membership has keys that work everywhere, so a knock in between needs to know nothing. What was
//! done is read from the disk, so the next call goes on wherever one was cut off.

use std::sync::Arc;

use fleet::Role;
use fleet::wire::enrollment_client::EnrollmentClient;
use fleet::wire::{Role as WireRole, RotateRequest, RotateResponse};

use crate::clock;
use crate::controllers;
use crate::error::{ConnectError, FilesError, JoinError};
use crate::files::{self, CertificateFile, RotatingFile};
use crate::held::{Held, Publics};
use crate::joining;
use crate::keyring::{Keyring, KeyringError};
use crate::keys::Keys;
use crate::membership::Membership;
use crate::tls;

/// How far a rotation is, by what is on the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rotation {
    /// The next keys are made; the membership has those of before.
    Made,
    /// The membership has the next keys, and those of before have not ended yet.
    Switched,
}

/// What one step of a rotation came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RotationStep {
    /// The next keys are on the disk, or in the keyring.
    Made,
    /// The controller knows the next keys, and these hosts do not yet, by name: ask again.
    WaitsFor(Vec<String>),
    /// The membership has the next keys.
    Switched,
    /// The keys of before are nobody's any more.
    Ended(Rotated),
}

/// What is left to say of a rotation that has come to its end.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rotated {
    /// Why the keyring still has the keys of before, which are good for nothing now.
    pub left_in_keyring: Option<String>,
}

/// What `rotating.json` is about.
struct Begun {
    former: [u8; 32],
    next: Held,
}

impl Membership {
    /// How far a rotation is that has begun and not come to its end.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn rotation(&self) -> Result<Option<Rotation>, FilesError> {
        let begun = self.begun()?;
        Ok(begun.map(|begun| self.stage(&begun)))
    }

    /// Begins a rotation of the keys, or takes the next step of one: exactly one change that lasts, or one
    /// question to the controller. Run until it has [`Ended`](RotationStep::Ended).
    ///
    /// # Errors
    ///
    /// [`JoinError`], by who can act. Whatever it is, the keys of the membership work as before, and the next
    /// call goes on.
    pub async fn rotate_step(&mut self) -> Result<RotationStep, JoinError> {
        let mut addresses = controllers::by_answer(self.controllers()).await;
        // Asked again elsewhere with the same keys it is answered the same; but that is for the next call.
        self.rotate_step_at(&addresses.swap_remove(0)).await
    }

    /// As [`rotate_step`](Self::rotate_step), with the controller at another address (`host:port`).
    ///
    /// # Errors
    ///
    /// As [`rotate_step`](Self::rotate_step).
    pub async fn rotate_step_at(&mut self, address: &str) -> Result<RotationStep, JoinError> {
        files::prepare(&self.dir)?;
        let _held = joining::hold(&self.dir)?;
        self.require_current()?;
        let Some(begun) = self.begun()?.filter(|begun| !self.is_lost(begun)) else {
            self.make_next()?;
            return Ok(RotationStep::Made);
        };
        match self.stage(&begun) {
            Rotation::Made => self.switch(begun, address).await,
            Rotation::Switched => self.end(&begun, address).await,
        }
    }

    /// Refuses where keys may not be moved because others are about to follow them.
    pub(crate) fn require_no_rotation(&self) -> Result<(), JoinError> {
        match self.begun()? {
            None => Ok(()),
            Some(_) => Err(JoinError::Rotating {
                dir: self.dir.clone(),
            }),
        }
    }

    fn stage(&self, begun: &Begun) -> Rotation {
        if begun.next.publics() == self.keys.publics() {
            Rotation::Switched
        } else {
            Rotation::Made
        }
    }

    /// Whether the keyring has the next keys no more, or others in their place: nothing depends on them yet, and
    /// others are made.
    fn is_lost(&self, begun: &Begun) -> bool {
        let lost = begun.next.get().is_err_and(|error| {
            matches!(
                error,
                FilesError::Keyring(KeyringError::Missing { .. } | KeyringError::Other { .. })
            )
        });
        lost && self.stage(begun) == Rotation::Made
    }

    /// What is on the disk, if it is about the keys of this membership: to follow them, or to be them.
    fn begun(&self) -> Result<Option<Begun>, FilesError> {
        let path = self.dir.join(files::ROTATING);
        let Some(file) = files::load::<RotatingFile>(&self.dir)? else {
            return Ok(None);
        };
        let former = file.former.key().ok_or_else(|| {
            FilesError::damaged(&path, "the key that is followed is not 32 bytes".to_owned())
        })?;
        let own = self.keys.publics();
        let next = match Held::stored(&path, &file.next(), self.keys.keyring()) {
            // Of a membership before, which had its keys there.
            Err(FilesError::Keyring(KeyringError::Absent)) if former != own.identity => {
                return Ok(None);
            }
            next => next?,
        };
        let is_ours = former == own.identity || next.publics() == own;
        Ok(is_ours.then_some(Begun { former, next }))
    }

    /// Makes the next keys and keeps them, where those of the membership are.
    fn make_next(&self) -> Result<(), JoinError> {
        forget_stale(self, self.keys.keyring())?;
        self.require_few_former(clock::now_secs())?;
        let with_exchange = self.keys.publics().exchange.is_some();
        let next = Keys::generate(with_exchange)?;
        let next = match self.keys.keyring() {
            None => Held::in_file(next),
            Some(keyring) => {
                let whose = format!("{} {} of fleet {}", self.role, self.name, self.fleet);
                Held::put(next, keyring, &whose)?
            }
        };
        let file = RotatingFile::new(&self.keys.publics().identity, next.to_store());
        Ok(files::save(&self.dir, &file)?)
    }

    /// Tells the controller of the next keys, and takes them once every host knows them.
    async fn switch(&mut self, begun: Begun, address: &str) -> Result<RotationStep, JoinError> {
        let RotateResponse {
            waits_for,
            old_ended,
        } = self.tell((&begun, false), address).await?;
        if !waits_for.is_empty() && !old_ended {
            return Ok(RotationStep::WaitsFor(waits_for));
        }
        // In a keyring the next ones are read before those of before are forgotten.
        begun.next.get()?;
        if self.role == Role::Host {
            self.keep_former(clock::now_secs())?;
        }
        self.keys = begun.next;
        self.save()?;
        self.forget_certificate();
        Ok(RotationStep::Switched)
    }

    /// Comes with the next keys, and has those of before ended.
    async fn end(&self, begun: &Begun, address: &str) -> Result<RotationStep, JoinError> {
        // The certificate that is kept may be one of the key that is to end.
        self.forget_certificate();
        self.renew_at(address).await?;
        let RotateResponse {
            waits_for,
            old_ended,
        } = self.tell((begun, true), address).await?;
        if !old_ended {
            return Ok(RotationStep::WaitsFor(waits_for));
        }
        let left_in_keyring = self.forget_former(&begun.former);
        files::remove::<RotatingFile>(&self.dir)?;
        files::discard_drafts(&self.dir)?;
        Ok(RotationStep::Ended(Rotated { left_in_keyring }))
    }

    async fn tell(
        &self,
        (begun, end_old): (&Begun, bool),
        address: &str,
    ) -> Result<RotateResponse, ConnectError> {
        let (next, now_secs) = (begun.next.get()?, clock::now_secs());
        let new_identity = next.identity_public();
        let exchange = begun.next.publics().exchange;
        let exchange = exchange.map_or_else(Vec::new, |public| public.0.to_vec());
        let message = fleet::rotation_message(
            self.role,
            &self.name,
            (&begun.former, &new_identity),
            &exchange,
            (now_secs, end_old),
        );
        // Once the membership has the next keys, the controller has registered them.
        let signature = match self.stage(begun) {
            Rotation::Made => self.keys.get()?.sign(&message).to_vec(),
            Rotation::Switched => Vec::new(),
        };
        let request = RotateRequest {
            role: WireRole::from(self.role).into(),
            name: self.name.clone(),
            identity_key: begun.former.to_vec(),
            new_identity_key: new_identity.to_vec(),
            new_exchange_key: exchange,
            signed_at_secs: now_secs,
            end_old,
            new_signature: next.sign(&message).to_vec(),
            signature,
        };
        let channel = tls::channel(address, &self.trust(), None).await?;
        let answer = EnrollmentClient::new(channel).rotate(request).await;
        let answer = answer.map_err(|status| ConnectError::from_status(address, status))?;
        Ok(answer.into_inner())
    }

    /// Takes the keys of before, and what stood for them, out of their keyring; why that could not be.
    fn forget_former(&self, former: &[u8; 32]) -> Option<String> {
        let keyring = self.keys.keyring()?;
        let publics = Publics {
            identity: *former,
            exchange: None,
        };
        if let Some(session) = keyring.session_dir() {
            let dir = session.join("postern").join(publics.hex());
            let _ = files::remove::<CertificateFile>(&dir);
        }
        let removed = keyring.remove(&publics.name());
        removed
            .err()
            .map(|error| program::one_line(&error).to_string())
    }
}

/// Takes away what a rotation has left of a membership that was replaced meanwhile.
pub(crate) fn forget_stale(
    member: &Membership,
    keyring: Option<&Arc<dyn Keyring>>,
) -> Result<(), FilesError> {
    let file = match files::load::<RotatingFile>(&member.dir) {
        Ok(None) => return Ok(()),
        Ok(Some(file)) => file,
        Err(error) if error.is_damage() => return files::remove::<RotatingFile>(&member.dir),
        Err(error) => return Err(error),
    };
    let path = member.dir.join(files::ROTATING);
    let next = Held::stored(&path, &file.next(), keyring);
    let own = member.keys.publics();
    let named = file.former.key() == Some(own.identity);
    match next {
        Ok(next) if named || next.publics() == own => return Ok(()),
        Ok(next) => {
            if let Some(keyring) = next.keyring()
                && let Err(error) = keyring.remove(&next.publics().name())
            {
                let error = program::one_line(&error);
                tracing::warn!(%error, "keys that were to follow stay in the keyring");
            }
        }
        Err(FilesError::Keyring(KeyringError::Absent)) if named => return Ok(()),
        Err(_) => {}
    }
    files::remove::<RotatingFile>(&member.dir)
}
