//! What the agents of a process share.

use std::sync::{Arc, Mutex, PoisonError};

use mesh_core::KnownSignatures;

use crate::link::{Connecting, LinkError, LinkFactory, LinkSettings};

/// What several agents of a process share, so that each costs less: signatures that all of them
/// hear are verified once, their links present the same certificate, and links that open at the
/// same time take turns. Give clones of one to all agents
/// ([`JoinOptions::process`](crate::JoinOptions)); whatever they share, each accepts and rejects
/// the same as alone.
#[derive(Clone, Debug, Default)]
pub struct Process {
    signatures: KnownSignatures,
    connecting: Connecting,
    /// The factory for each kind of settings, made on first use.
    factories: Arc<Mutex<Vec<(LinkSettings, LinkFactory)>>>,
}

impl Process {
    /// Shared by no agent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which signatures are known to be valid.
    pub(crate) fn signatures(&self) -> KnownSignatures {
        self.signatures.clone()
    }

    /// What all links with these settings are made by.
    ///
    /// # Errors
    /// When no links can be made at all.
    pub(crate) fn link_factory(&self, settings: LinkSettings) -> Result<LinkFactory, LinkError> {
        let factories = self.factories.lock();
        let mut factories = factories.unwrap_or_else(PoisonError::into_inner);
        if let Some((_, factory)) = factories.iter().find(|(made_for, _)| *made_for == settings) {
            return Ok(factory.clone());
        }
        let factory = LinkFactory::new(settings.clone(), self.connecting.clone())?;
        factories.push((settings, factory.clone()));
        Ok(factory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_one_process_share_a_link_factory_and_those_of_two_do_not() {
        let factory = |process: &Process| {
            let factory = process.link_factory(LinkSettings::default());
            factory.expect("a factory")
        };
        let (one, other) = (Process::new(), Process::new());
        assert!(factory(&one).is_same(&factory(&one.clone())));
        assert!(!factory(&one).is_same(&factory(&other)));
    }
}
