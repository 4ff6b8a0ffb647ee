//! Keys, signatures, and the gate that every statement passes: [`Signed`] in, [`Verified`] out.
//!
//! A signature covers `domain ‖ room length ‖ room ‖ body`, where the domain is one versioned
//! string a purpose ([`Domain`]): what was signed for one purpose, or in one room, is worthless in
//! another. The received bytes are verified, never a re-encoding of them, with Ed25519's strict
//! rules (`verify_strict`: no small-order keys, one valid signature a message and key).

use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::VerifyError;
use crate::id::PeerId;
use crate::samples::Sample;
use crate::trust::Verifier;

/// What a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// An agent's answer to the signaling server's challenge.
    Admission,
    /// A [`Message`](crate::wire::Message): data, signals, receipts and notices.
    Message,
    /// A [`LinkState`](crate::wire::LinkState) record.
    LinkState,
}

impl Domain {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Admission => b"mesh/2 admission",
            Self::Message => b"mesh/2 message",
            Self::LinkState => b"mesh/2 link-state",
        }
    }
}

/// A body that can be signed, bound to the one domain it belongs to.
pub trait Statement: Serialize + DeserializeOwned {
    /// The purpose under which this body is signed.
    const DOMAIN: Domain;
}

/// An agent's key pair.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
    peer: PeerId,
}

impl Identity {
    /// The key pair of a 32-byte secret, which the driver draws from the system's randomness.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&secret);
        let peer = PeerId::from_bytes(key.verifying_key().to_bytes());
        Self { key, peer }
    }

    /// The secret, to be kept where only this agent can read it.
    pub fn secret(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// The public half: the agent's id.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Encodes and signs a statement for one room.
    pub fn sign<T: Statement>(&self, room: &str, statement: &T) -> Signed {
        let body = postcard::to_stdvec(statement).expect("statements always encode");
        let signature = self.key.sign(&preimage(T::DOMAIN, room, &body)).to_bytes();
        Signed {
            author: self.peer,
            signature: Signature(signature),
            body: body.into(),
        }
    }
}

impl fmt::Debug for Identity {
    /// Shows the public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.peer)
    }
}

fn preimage(domain: Domain, room: &str, body: &[u8]) -> Vec<u8> {
    let tag = domain.tag();
    let room_len = u8::try_from(room.len()).expect("room names are at most 64 bytes");
    let mut bytes = Vec::with_capacity(tag.len() + 1 + room.len() + body.len());
    bytes.extend_from_slice(tag);
    bytes.push(room_len);
    bytes.extend_from_slice(room.as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// An Ed25519 signature; base64 in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_bytes(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserialize_bytes(deserializer)?;
        let bytes = <[u8; 64]>::try_from(&bytes[..])
            .map_err(|_| D::Error::custom("a signature has 64 bytes"))?;
        Ok(Self(bytes))
    }
}

/// A body, its claimed author and a signature that has not been checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    author: PeerId,
    signature: Signature,
    #[serde(
        serialize_with = "serialize_bytes",
        deserialize_with = "deserialize_bytes"
    )]
    body: Bytes,
}

impl Signed {
    /// The claimed author. Not to be trusted before [`Signed::verify`].
    pub fn claimed_author(&self) -> PeerId {
        self.author
    }

    /// Decodes the start of the body without checking the signature, for what may act on a mere
    /// claim: dropping known duplicates before paying for a verification, telling an author that
    /// its message is stuck.
    pub(crate) fn peek<T: DeserializeOwned>(&self) -> Option<T> {
        let (start, _rest) = postcard::take_from_bytes(&self.body).ok()?;
        Some(start)
    }

    /// The same body and signature in another's name: what a liar would send.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn claimed_by(self, author: PeerId) -> Self {
        Self { author, ..self }
    }

    /// Names what was signed: eight bytes of each half of the signature. No author can make two
    /// authors' names meet; an author that uses a nonce twice repeats one half, and not the other.
    pub(crate) fn fingerprint(&self) -> u64 {
        let half = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.signature.0[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        half(0) ^ half(32)
    }

    /// The signature, which no two statements share.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn signature(&self) -> [u8; 64] {
        self.signature.0
    }

    /// Size of the body in bytes.
    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Checks the signature for `room` and decodes the body.
    ///
    /// # Errors
    /// [`VerifyError::Key`] if the author is no valid public key, [`VerifyError::Signature`] if the
    /// signature is not the author's over this body, purpose and room, [`VerifyError::Body`] if
    /// what was rightly signed does not decode.
    pub fn verify<T: Statement>(&self, room: &str) -> Result<Verified<T>, VerifyError> {
        self.verify_with(&mut Verifier::default(), room)
    }

    /// As [`Signed::verify`], for agents that hear of the same authors again and again.
    pub(crate) fn verify_with<T: Statement>(
        &self,
        verifier: &mut Verifier,
        room: &str,
    ) -> Result<Verified<T>, VerifyError> {
        self.check(verifier, &preimage(T::DOMAIN, room, &self.body))?;
        self.decode()
    }

    /// As [`Signed::verify_with`], for what all agents hear: those that share what they know check
    /// it once.
    pub(crate) fn verify_once<T: Statement>(
        &self,
        verifier: &mut Verifier,
        room: &str,
    ) -> Result<Verified<T>, VerifyError> {
        let preimage = preimage(T::DOMAIN, room, &self.body);
        let signatures = verifier.signatures.as_ref();
        let known = signatures
            .is_some_and(|known| known.contains(&self.signature.0, self.author, &preimage));
        if !known {
            self.check(verifier, &preimage)?;
            if let Some(signatures) = &verifier.signatures {
                signatures.insert(self.signature.0, self.author, &preimage);
            }
        }
        self.decode()
    }

    fn check(&self, verifier: &mut Verifier, preimage: &[u8]) -> Result<(), VerifyError> {
        let mut samples = std::mem::take(&mut verifier.samples);
        let checked = samples.time(Sample::Verified, || {
            let key = verifier.key(self.author)?;
            let signature = DalekSignature::from_bytes(&self.signature.0);
            let checked = key.verify_strict(preimage, &signature);
            checked.map_err(|_| VerifyError::Signature)
        });
        verifier.samples = samples;
        checked
    }

    /// What was signed, once the signature was checked.
    fn decode<T: Statement>(&self) -> Result<Verified<T>, VerifyError> {
        let statement = postcard::from_bytes(&self.body).map_err(|_| VerifyError::Body)?;
        Ok(Verified {
            author: self.author,
            statement,
        })
    }
}

/// A statement whose signature was checked. The only way to make one is [`Signed::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    author: PeerId,
    statement: T,
}

impl<T> Verified<T> {
    /// The agent that signed the statement.
    pub fn author(&self) -> PeerId {
        self.author
    }

    /// The statement.
    pub fn get(&self) -> &T {
        &self.statement
    }

    /// The author and the statement.
    pub fn into_parts(self) -> (PeerId, T) {
        (self.author, self.statement)
    }
}

/// Bytes on the wire, base64 in JSON.
fn serialize_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&BASE64.encode(bytes))
    } else {
        serializer.serialize_bytes(bytes)
    }
}

fn deserialize_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    if deserializer.is_human_readable() {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(bytes.into())
    } else {
        Bytes::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Admit, LinkState};

    fn record() -> LinkState {
        LinkState {
            version: 3,
            name: "agent-003".into(),
            departed: false,
            lacks: 0,
            links: Vec::new(),
        }
    }

    #[test]
    fn what_was_signed_verifies() {
        let identity = Identity::from_secret([7; 32]);
        let verified = identity.sign("room", &record()).verify::<LinkState>("room");
        let verified = verified.expect("verifies");
        assert_eq!(verified.author(), identity.peer());
        assert_eq!(verified.get(), &record());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let signed = Identity::from_secret([7; 32]).sign("room", &record());
        for bit in 0..signed.body.len() * 8 {
            let mut body = signed.body.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            let forged = Signed {
                body: body.into(),
                ..signed.clone()
            };
            assert_eq!(
                forged.verify::<LinkState>("room"),
                Err(VerifyError::Signature)
            );
        }
        for bit in 0..512 {
            let mut forged = signed.clone();
            forged.signature.0[bit / 8] ^= 1 << (bit % 8);
            assert!(forged.verify::<LinkState>("room").is_err());
        }
    }

    #[test]
    fn another_author_room_or_purpose_is_refused() {
        let identity = Identity::from_secret([7; 32]);
        let signed = identity.sign("room", &record());
        let stolen = Signed {
            author: Identity::from_secret([8; 32]).peer(),
            ..signed.clone()
        };
        assert_eq!(
            stolen.verify::<LinkState>("room"),
            Err(VerifyError::Signature)
        );
        assert_eq!(
            signed.verify::<LinkState>("other"),
            Err(VerifyError::Signature)
        );
        assert_eq!(signed.verify::<Admit>("room"), Err(VerifyError::Signature));
    }
}
