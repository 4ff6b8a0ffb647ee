//! The identity of this agent, and which signatures it accepts.
//!
//! Bytes that came in are [`Signed`] until their signature was checked; only [`Verified`] ones go
//! further.

mod identity;
mod signature_cache;

pub use identity::{Domain, Identity, Signature, Signed, Statement, Verified};
pub use signature_cache::KnownSignatures;
pub(crate) use signature_cache::Verifier;

use crate::context::Context;
use crate::error::VerifyError;
use crate::samples::{Sample, Stopwatch};
use crate::time::UnixTime;

/// This agent's key pair, and what it needs to check the signatures of others.
#[derive(Debug)]
pub(crate) struct Trust {
    identity: Identity,
    verifier: Verifier,
    /// Grows with every start of this identity; dates its messages and link-state records.
    incarnation: u64,
}

impl Trust {
    pub(crate) fn new(identity: Identity, unix_now: UnixTime) -> Self {
        Self {
            identity,
            verifier: Verifier::default(),
            incarnation: unix_now.as_micros(),
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Nothing was sent yet: this life begins now, by the time of the room.
    pub(crate) fn begin(&mut self, unix_now: UnixTime) {
        self.incarnation = unix_now.as_micros();
    }

    /// Signs for this agent's room.
    pub(crate) fn sign(&self, statement: &impl Statement, cx: &mut Context) -> Signed {
        let (identity, room) = (&self.identity, &cx.config.room);
        let sign = || identity.sign(room, statement);
        cx.samples.time(Sample::Signed, sign)
    }

    /// Checks the signature of a statement for this agent's room.
    pub(crate) fn verify<T: Statement>(
        &mut self,
        signed: &Signed,
        cx: &Context,
    ) -> Result<Verified<T>, VerifyError> {
        signed.verify_with(&mut self.verifier, &cx.config.room)
    }

    /// As [`Trust::verify`], for what all members hear: agents that share what they know check it
    /// once between them.
    pub(crate) fn verify_once<T: Statement>(
        &mut self,
        signed: &Signed,
        cx: &Context,
    ) -> Result<Verified<T>, VerifyError> {
        signed.verify_once(&mut self.verifier, &cx.config.room)
    }

    /// Shares with other agents of the process which signatures are known to be valid.
    pub(crate) fn share_signatures(&mut self, signatures: KnownSignatures) {
        self.verifier.signatures = Some(signatures);
    }

    pub(crate) fn take_samples(&mut self, stopwatch: Stopwatch) {
        self.verifier.samples.begin(stopwatch);
    }

    pub(crate) fn poll_sample(&mut self) -> Option<Sample> {
        self.verifier.samples.poll()
    }
}
