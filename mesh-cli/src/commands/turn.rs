//! TURN servers for which the hub makes credentials: from the command line, but for the secret,
//! which stands in a file or the environment.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use mesh_core::{IceServer, TurnMint, TurnSecret};

use super::config::units::Span;
use super::files;

/// The variable of the environment that may hold the secret.
const SECRET: &str = "MESH_TURN_SECRET";

/// The servers, and what the hub shares with them.
#[derive(Debug, Args)]
pub(crate) struct TurnArgs {
    /// A TURN server for which each member gets a user and a password of its own, that hold for
    /// --turn-ttl: turn:host:port, as coturn's with `use-auth-secret`. May be repeated; all share
    /// one secret.
    #[arg(long, value_name = "URL", value_parser = turn_url)]
    turn_url: Vec<String>,
    /// A file with the secret that those servers share with this one, in one line, as coturn's
    /// `static-auth-secret`. The environment variable MESH_TURN_SECRET may hold the secret itself.
    #[arg(long, value_name = "FILE")]
    turn_secret_file: Option<PathBuf>,
    /// Refused: the list of this machine's processes would show it.
    #[arg(long, value_name = "SECRET", hide = true)]
    turn_secret: Option<Seen>,
    /// How long a member's user and password hold, 10s to 1d; it gets new ones when half of that is
    /// over. Open links go on with the old ones.
    #[arg(long, value_name = "DURATION", default_value_t = Span::from(TurnMint::TTL))]
    turn_ttl: Span,
}

impl TurnArgs {
    /// What credentials are made from, if they are to be made.
    pub(crate) fn mint(&self) -> anyhow::Result<Option<TurnMint>> {
        self.mint_with(std::env::var(SECRET).ok().filter(|text| !text.is_empty()))
    }

    fn mint_with(&self, variable: Option<String>) -> anyhow::Result<Option<TurnMint>> {
        if self.turn_secret.is_some() {
            bail!(
                "a secret on the command line shows in the list of processes: put it into a file \
                 and name that by --turn-secret-file, or into the environment as {SECRET}. Make a \
                 new one, for this one may have been seen"
            );
        }
        let secret = match (&self.turn_secret_file, variable) {
            (Some(_), Some(_)) => {
                bail!("of --turn-secret-file and {SECRET} only one can count: unset the other")
            }
            (Some(path), None) => Some(files::line(path, "the secret")?),
            (None, variable) => variable,
        };
        let Some(secret) = secret else {
            if self.turn_url.is_empty() {
                return Ok(None);
            }
            bail!("--turn-url needs a secret: name its file by --turn-secret-file, or set {SECRET}")
        };
        Ok(Some(TurnMint {
            urls: self.turn_url.clone(),
            secret: TurnSecret::new(secret),
            ttl: self.turn_ttl.into(),
        }))
    }
}

fn turn_url(text: &str) -> Result<String, String> {
    let server = IceServer {
        urls: vec![text.to_owned()],
        username: Some(String::new()),
        credential: Some(String::new()),
    };
    server.check()?;
    if server.is_turn() {
        Ok(text.to_owned())
    } else {
        Err("a STUN server needs no credentials: name it by --ice-server".to_owned())
    }
}

/// A secret that stood on the command line, forgotten at once.
#[derive(Clone, Copy, Debug)]
struct Seen;

impl From<String> for Seen {
    fn from(_: String) -> Self {
        Self // Refused here, clap would print it.
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(line: &[&str]) -> Result<TurnArgs, clap::Error> {
        let command = TurnArgs::augment_args(Command::new("t").no_binary_name(true));
        TurnArgs::from_arg_matches(&command.try_get_matches_from(line)?)
    }

    #[test]
    fn the_secret_comes_from_a_file_or_the_environment_and_nowhere_else() {
        let line = parse(&["--turn-secret", "tops3cret"]).expect("refused later");
        let refused = line.mint_with(None).expect_err("on the command line");
        let refused = format!("{refused} {line:?}");
        assert!(refused.contains("list of processes") && !refused.contains("tops3cret"));
        let url = ["--turn-url", "turn:t.example.org:3478"];
        let lacks = parse(&url)
            .expect("valid")
            .mint_with(None)
            .expect_err("no secret");
        assert!(lacks.to_string().contains("MESH_TURN_SECRET"), "{lacks}");

        let secret = "0123456789abcdef";
        let of_variable = parse(&url)
            .expect("valid")
            .mint_with(Some(secret.to_owned()));
        let path = std::env::temp_dir().join(format!("mesh-secret-{}", std::process::id()));
        std::fs::write(&path, format!("{secret}\n")).expect("written");
        let file = ["--turn-secret-file", path.to_str().expect("UTF-8")];
        let with_file = parse(&[&url[..], &file].concat()).expect("valid");
        let of_file = with_file.mint_with(None).expect("valid");
        assert_eq!(of_file, of_variable.expect("valid"));
        assert_eq!(of_file.map(|mint| mint.ttl), Some(TurnMint::TTL));
        let both = with_file
            .mint_with(Some(secret.to_owned()))
            .expect_err("both");
        assert!(both.to_string().contains("unset"), "{both}");
        std::fs::remove_file(&path).expect("removed");
        let gone = with_file.mint_with(None).expect_err("no file");
        assert!(format!("{gone:#}").contains("mesh-secret"), "{gone:#}");
        assert!(
            parse(&[])
                .expect("valid")
                .mint_with(None)
                .expect("valid")
                .is_none()
        );
    }

    #[test]
    fn only_turn_servers_get_credentials() {
        for (url, cause) in [
            ("stun:s.example.org", "--ice-server"),
            ("turn:t?transport=sctp", "transport=udp"),
            ("turn:t,user,password", "the host"),
        ] {
            let refused = parse(&["--turn-url", url]).expect_err(url).to_string();
            assert!(refused.contains(cause), "{url}: {refused}");
        }
    }
}
