//! The STUN and TURN servers that a hub hands out: from the command line, a file, or the
//! environment.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use mesh_core::IceServer;
use serde::Deserialize;

use super::files;

/// Which servers members are told of. Every member gets the passwords too.
#[derive(Debug, Args)]
pub(crate) struct IceArgs {
    /// A STUN or TURN server that members should use: stun:host:port, or
    /// turn:host:port,user,password. The list of this machine's processes shows the password, which
    /// can have no comma: --ice-servers does without either. May be repeated.
    #[arg(long, value_parser = parse_ice_server, value_name = "SERVER")]
    ice_server: Vec<IceServer>,
    /// A file with more of them, in JSON:
    /// `[{"urls": ["turn:host:port"], "username": "user", "credential": "password"}]`, where
    /// `credential_file` may name a file with the password instead. The environment variable
    /// MESH_ICE_SERVERS may hold such JSON itself. Every member gets to know all of it.
    #[arg(long, value_name = "FILE")]
    ice_servers: Option<IceServers>,
}

/// Servers that are listed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IceServers {
    File(PathBuf),
    Json(String),
}

/// A server as an operator lists it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    urls: Vec<String>,
    username: Option<String>,
    credential: Option<String>,
    credential_file: Option<PathBuf>,
}

impl IceArgs {
    /// All servers, each of which every browser takes.
    pub(crate) fn servers(&self) -> anyhow::Result<Vec<IceServer>> {
        let mut servers = self.ice_server.clone();
        if let Some(listed) = &self.ice_servers {
            servers.extend(listed.read()?);
        }
        Ok(servers)
    }
}

impl FromStr for IceServers {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_json = text.trim_start().starts_with('[');
        Ok(if is_json {
            Self::Json(text.to_owned())
        } else {
            Self::File(text.into())
        })
    }
}

impl IceServers {
    fn read(&self) -> anyhow::Result<Vec<IceServer>> {
        match self {
            Self::File(path) => from_file(path),
            Self::Json(text) => from_json(text),
        }
    }
}

fn from_file(path: &Path) -> anyhow::Result<Vec<IceServer>> {
    let what = || format!("the ICE servers in {}", path.display());
    let text = files::read(path, files::TEXT_MAX).with_context(what)?;
    from_json(std::str::from_utf8(&text).with_context(what)?).with_context(what)
}

fn from_json(text: &str) -> anyhow::Result<Vec<IceServer>> {
    let listed: Vec<Listed> = serde_json::from_str(text).context(
        "this is no list of servers: [{\"urls\": [\"turn:host:port\"], \"username\": \"user\", \
         \"credential\": \"password\"}]",
    )?;
    listed.into_iter().map(Listed::read).collect()
}

impl Listed {
    fn read(self) -> anyhow::Result<IceServer> {
        let credential = match (self.credential, &self.credential_file) {
            (Some(_), Some(_)) => bail!("of credential and credential_file only one can count"),
            (credential, None) => credential,
            (None, Some(path)) => Some(files::line(path, "the password")?),
        };
        let server = IceServer {
            urls: self.urls,
            username: self.username,
            credential,
        };
        server.check().map_err(|cause| anyhow!(cause))?;
        Ok(server)
    }
}

/// Parses `stun:host:port` or `turn:host:port,user,password`.
pub(crate) fn parse_ice_server(text: &str) -> Result<IceServer, String> {
    let mut parts = text.split(',').map(str::to_owned);
    let server = IceServer {
        urls: parts.next().into_iter().collect(),
        username: parts.next(),
        credential: parts.next(),
    };
    if parts.next().is_some() {
        let message = "more than a URL, a user and a password; a password with a comma can stand \
                       in the file of --ice-servers";
        return Err(message.to_owned());
    }
    server.check()?;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_the_command_line_are_parsed_or_explained() {
        let turn = parse_ice_server("turn:t.example.org:3478,user,secret").expect("valid");
        assert_eq!(turn.urls, ["turn:t.example.org:3478"]);
        assert_eq!(turn.username.as_deref(), Some("user"));
        assert!(parse_ice_server("stun:s.example.org").is_ok());
        for (bad, cause) in [
            ("", "stun:host:port"),
            ("s.example.org", "stun:host:port"),
            ("turn:t.example.org", "username"),
            ("stun:s.example.org:3478?transport=udp", "after the port"),
            ("turn:t.example.org,user,a,b", "--ice-servers"),
        ] {
            let error = parse_ice_server(bad).expect_err(bad);
            assert!(error.contains(cause), "{bad}: {error}");
        }
    }

    #[test]
    fn servers_in_json_may_have_any_password_and_each_is_checked() {
        let turn = r#"[{"urls": ["turn:t:1"], "username": "u", "credential": "a,b,c"}]"#;
        let servers = from_json(turn).expect("valid");
        assert_eq!(servers[0].credential.as_deref(), Some("a,b,c"));
        for (bad, cause) in [
            ("{}", "list of servers"),
            (
                r#"[{"urls": ["stun:s?transport=udp"]}]"#,
                "stun:s?transport",
            ),
            (r#"[{"urls": []}]"#, "URL"),
        ] {
            let error = format!("{:#}", from_json(bad).expect_err(bad));
            assert!(error.contains(cause), "{bad}: {error}");
        }
    }

    #[test]
    fn a_password_may_stand_in_a_file_of_its_own() {
        let path = std::env::temp_dir().join(format!("mesh-password-{}", std::process::id()));
        let server = serde_json::json!([
            { "urls": ["turn:t:1"], "username": "u", "credential_file": path }
        ]);
        std::fs::write(&path, "a, b\n").expect("written");
        let servers = from_json(&server.to_string()).expect("valid");
        assert_eq!(servers[0].credential.as_deref(), Some("a, b"));
        std::fs::write(&path, "one\ntwo\n").expect("written");
        let error = format!(
            "{:#}",
            from_json(&server.to_string()).expect_err("two lines")
        );
        assert!(error.contains("one line"), "{error}");
        std::fs::remove_file(&path).expect("removed");
        let error = format!("{:#}", from_json(&server.to_string()).expect_err("no file"));
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
}
