//! `mesh agent`: one native agent, spoken to in lines of JSON.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use mesh_core::{Config, Identity};
use mesh_native::{Agent, JoinError, JoinOptions, random_seed};

use super::config::limits::{self, Fault};
use super::config::units::Span;
use super::mesh::MeshArgs;
use super::metrics::MetricsArgs;
use super::service::{self, State};
use super::{files, lines};

/// Bytes of an identity: an Ed25519 key.
const IDENTITY_BYTES: usize = 32;

/// Runs one native agent. Every line on stdin is a command, every line on stdout an event or a
/// result, both as JSON.
///
/// Example: echo '{"type":"broadcast","topic":"news","payload":"hello"}' |
/// mesh agent --room demo --name reporter
///
/// Commands: {"type":"send","to":NAME-OR-ID,"payload":ANY,"delivery":"datagram|reliable|
/// acknowledged","deadlineMs":N,"ordered":false}, {"type":"request","to":…,"payload":…},
/// {"type":"reply","id":ID,"payload":…}, {"type":"broadcast","topic":…,"payload":…},
/// {"type":"subscribe","topics":[…] or null for all}, {"type":"avoid","members":[…]},
/// {"type":"cancel","id":ID}, {"type":"play","to":…,"file":PATH}, {"type":"record","from":…,
/// "id":TRACK,"file":PATH}, {"type":"endTrack","id":TRACK}, {"type":"rotateKeys"},
/// {"type":"peers"}, {"type":"routes"}, {"type":"topology"}, {"type":"stats"}, {"type":"close"}.
/// What one agent sends to another arrives in order, unless "ordered" is false. Bytes are
/// {"base64":"…"}, or those of a "file":PATH in place of the "payload" of a message to one agent. A
/// large one goes on by itself, until "cancel": events of the type "sending" tell how far it is,
/// then "delivered" or "deliveryFailed". "play" sends a file to a neighbour, IVF with VP8 or Ogg
/// with Opus; the event "track" names what a neighbour sends, which "record" writes into such a
/// file; when they have ended "played" and "recorded" tell so. The result or error of a command has
/// its "line", and the "ref" that it was given, if any.
///
/// Commands are obeyed in their order; messages to one member leave in that order. A message that
/// has to wait, for its target is slow or out of reach, and a request that waits for its reply
/// hold up no other; a large message, a broadcast and more than 1,024 that wait hold up stdin.
/// "close" waits up to 5 s for what was sent before it; what has no outcome then fails as "left".
/// SIGTERM, SIGHUP and Ctrl-C do not wait. The end of stdin ends commands alone. The last line is
/// {"type":"left"}.
#[derive(Debug, Args)]
pub(crate) struct AgentCommand {
    #[command(flatten)]
    agent: AgentArgs,
    #[command(flatten)]
    mesh: MeshArgs,
}

/// The agent itself.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Where the signaling server is; repeated for several, the first liked best: the agent goes to
    /// the next when one is lost, refuses it or asks it to move.
    #[arg(long, value_name = "URL", default_value = "ws://localhost:9600/signal")]
    signaling: Vec<String>,
    /// Certificates (PEM) that a wss: server may be certified by, beside those that this machine
    /// trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The room to join.
    #[arg(long)]
    room: String,
    /// The agent's label [default: agent- and the start of its id].
    #[arg(long)]
    name: Option<String>,
    /// An address of this machine to link from, several times for several [default: all].
    #[arg(long, value_name = "IP")]
    address: Vec<std::net::IpAddr>,
    /// A file with the agent's key; made if it does not exist. Without it the key is new each time.
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// How long joining may take.
    #[arg(long, default_value_t = Span::from(JoinOptions::new("", "", "").timeout))]
    join_timeout: Span,
    /// Answer every request with its own payload.
    #[arg(long)]
    echo: bool,
    #[command(flatten)]
    metrics: MetricsArgs,
}

impl AgentArgs {
    /// What is wrong with these options.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let name = self.name.as_deref().unwrap_or("agent");
        let checks = [("room", self.room.as_str(), "name"), ("name", "room", name)];
        let mut faults = Vec::new();
        for (option, room, name) in checks {
            if let Err(error) = Config::new(room, name) {
                faults.push(Fault {
                    option,
                    reason: error.to_string(),
                });
            }
        }
        if let Some(error) = self.ca.as_deref().and_then(|path| read_ca(path).err()) {
            faults.push(Fault {
                option: "ca",
                reason: format!("{error:#}"),
            });
        }
        faults
    }
}

impl AgentCommand {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        limits::refuse(&self.mesh.faults())?;
        let agent = self.agent;
        let identity = match &agent.identity {
            Some(path) => load_identity(path)?,
            None => Identity::from_secret(random_seed()),
        };
        let short = identity.peer().short();
        let name = agent.name.unwrap_or_else(|| format!("agent-{short}"));
        let options = JoinOptions {
            ca: agent.ca.as_deref().map(read_ca).transpose()?,
            addresses: agent.address,
            identity: Some(identity),
            metrics: agent.metrics.start()?.inspect(|it| it.expect_agents()),
            timeout: agent.join_timeout.into(),
            ..self.mesh.join(agent.signaling, &agent.room, &name)
        };
        let joined = Agent::join_with_events(options).await;
        let (joined, events) = joined.map_err(|error| naming_ca(error, agent.ca.as_deref()))?;
        service::tell(State::Ready);
        let interrupt = lines::speak(&joined, events, agent.echo).await?;
        Ok(interrupt.map_or(ExitCode::SUCCESS, |by| by.exit_code().into()))
    }
}

/// Reads the certificates of a CA.
pub(crate) fn read_ca(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read(path, files::TEXT_MAX)
        .with_context(|| format!("cannot read the CA {}", path.display()))
}

/// Names the file of a CA, if that is what cannot be used.
pub(crate) fn naming_ca(error: JoinError, path: Option<&Path>) -> anyhow::Error {
    match path {
        Some(path) if matches!(error, JoinError::Ca { .. }) => {
            anyhow!(error).context(format!("cannot use the CA {}", path.display()))
        }
        _ => error.into(),
    }
}

/// Reads a key, or makes one that only this user can read.
fn load_identity(path: &Path) -> anyhow::Result<Identity> {
    match files::read(path, IDENTITY_BYTES as u64) {
        Ok(bytes) => {
            let Ok(secret) = <[u8; IDENTITY_BYTES]>::try_from(bytes.as_slice()) else {
                bail!(
                    "{} is no identity: it has {} bytes, not {IDENTITY_BYTES}",
                    path.display(),
                    bytes.len()
                );
            };
            Ok(Identity::from_secret(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = random_seed();
            write_private(path, &secret)
                .with_context(|| format!("cannot write the new identity {}", path.display()))?;
            Ok(Identity::from_secret(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
            bail!(
                "{} is no identity: {error}, an identity has {IDENTITY_BYTES}",
                path.display()
            )
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot read the identity {}", path.display()))
        }
    }
}

fn write_private(path: &Path, secret: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(secret)
}
