//! The loopback interface of a host: a driver of a browser listens there alone.

use std::net::{Ipv4Addr, TcpStream as StdStream};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The way to a host's loopback interface. What it brought here ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Loopback {
    namespace: String,
    brought: Mutex<Vec<JoinHandle<()>>>,
}

impl Loopback {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            brought: Mutex::default(),
        }
    }

    /// Connects to a port of it.
    ///
    /// # Errors
    /// If nothing listens there.
    pub(crate) async fn connect(&self, port: u16) -> Result<TcpStream> {
        connect(self.namespace.clone(), port).await
    }

    /// Has this machine's port of the same number lead there.
    ///
    /// # Errors
    /// If that is taken.
    pub(crate) async fn bring_here(&self, port: u16) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let namespace = self.namespace.clone();
        let bringing = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let namespace = namespace.clone();
                tokio::spawn(async move {
                    let mut there = connect(namespace, port).await?;
                    copy_bidirectional(&mut here, &mut there).await?;
                    anyhow::Ok(())
                });
            }
        });
        let mut brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        brought.push(bringing);
        Ok(())
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        let brought = self.brought.get_mut();
        let brought = brought.unwrap_or_else(PoisonError::into_inner);
        brought.iter().for_each(JoinHandle::abort);
    }
}

async fn connect(namespace: String, port: u16) -> Result<TcpStream> {
    let (tell, connected) = oneshot::channel();
    // A thread of its own: it stays in the namespace that it enters, and the socket does too.
    std::thread::spawn(move || tell.send(enter(&namespace).and_then(|()| dial(port))));
    let stream = connected.await.context("the thread has ended")??;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}

fn dial(port: u16) -> Result<StdStream> {
    Ok(StdStream::connect((Ipv4Addr::LOCALHOST, port))?)
}

/// Moves this thread to a host.
#[cfg(target_os = "linux")]
fn enter(namespace: &str) -> Result<()> {
    use std::os::fd::AsFd;

    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    // Where `ip netns` keeps them.
    let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    let kind = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(file.as_fd(), kind)?)
}

#[cfg(not(target_os = "linux"))]
fn enter(namespace: &str) -> Result<()> {
    anyhow::bail!("{namespace}: Linux alone has hosts of a test's own")
}
