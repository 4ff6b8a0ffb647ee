//! Hosts of a test's own: network namespaces on one switch, with the interfaces that the test gives
//! them. Linux alone has them, and only root may make them.

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::report;
use crate::wait::{SOON, until};

mod loopback;

pub(crate) use loopback::Loopback;

/// Whether this machine can make hosts; says so loudly if not.
pub async fn can_be_made(test: &str) -> bool {
    let made = ip(&["netns", "list"]).await.is_ok() && is_root().await;
    if !made {
        report(&format!("SKIPPED (needs root and Linux's ip): {test}"));
    }
    made
}

async fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().await;
    id.is_ok_and(|id| id.stdout == b"0\n")
}

/// Hosts on one switch. Removed when dropped.
#[derive(Debug)]
pub struct Network {
    switch: Host,
}

/// A host, or the switch between them.
#[derive(Debug)]
pub struct Host {
    namespace: String,
    /// Variables of the environment of what runs there.
    variables: Vec<(String, String)>,
}

impl Network {
    /// A network without hosts.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn new() -> Result<Self> {
        let switch = Host::new("switch").await?;
        switch
            .ip(&["link", "add", "switch", "type", "bridge"])
            .await?;
        switch.ip(&["link", "set", "switch", "up"]).await?;
        Ok(Self { switch })
    }

    /// A host with `interface` on the switch, and these addresses (`10.9.0.1/24`) on it.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn host(&self, name: &str, interface: &str, addresses: &[&str]) -> Result<Host> {
        let host = Host::new(name).await?;
        host.ip(&["link", "set", "lo", "up"]).await?;
        self.attach(&host, name, interface, addresses).await?;
        Ok(host)
    }

    /// Gives a host an `interface` on this switch, whose port is called `to-` and this name.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn attach(
        &self,
        host: &Host,
        name: &str,
        interface: &str,
        addresses: &[&str],
    ) -> Result<()> {
        let (port, namespace) = (format!("to-{name}"), &*host.namespace);
        let pair = [
            "link", "add", &*port, "type", "veth", "peer", "name", interface,
        ];
        self.switch
            .ip(&[&pair[..], &["netns", namespace]].concat())
            .await?;
        self.switch
            .ip(&["link", "set", &port, "master", "switch", "up"])
            .await?;
        host.ip(&["link", "set", interface, "up"]).await?;
        for address in addresses {
            host.add_address(interface, address).await?;
        }
        Ok(())
    }

    /// The switch, whose ports are called `to-` and the name of the host.
    pub fn switch(&self) -> &Host {
        &self.switch
    }

    /// Lets these hosts reach each other no longer, or again. The switch drops what they send to
    /// each other, and tells no end.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn isolate(&self, hosts: [&str; 2], isolated: bool) -> Result<()> {
        let word = if isolated { "on" } else { "off" };
        for name in hosts {
            let port = format!("to-{name}");
            let set = [
                "link",
                "set",
                &*port,
                "type",
                "bridge_slave",
                "isolated",
                word,
            ];
            self.switch.ip(&set).await?;
        }
        Ok(())
    }
}

impl Host {
    /// A host without an interface.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) async fn new(name: &str) -> Result<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let namespace = format!("mesh-{}-{number}-{name}", std::process::id());
        ip(&["netns", "add", &namespace]).await?;
        let host = Self {
            namespace,
            variables: Vec::new(),
        };
        // Its own addresses of IPv6 are not looked for at others first: they would appear a second
        // or two after the interface, and browsers end what they fetch when the network changes.
        let at_once = ["all", "default"].map(|of| format!("net.ipv6.conf.{of}.accept_dad=0"));
        host.set_kernel(&at_once.each_ref().map(String::as_str))
            .await?;
        Ok(host)
    }

    /// Moves an interface of this machine to the host, under another name.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) async fn take_interface(&self, interface: &str, name: &str) -> Result<()> {
        ip(&["link", "set", interface, "netns", &self.namespace]).await?;
        self.ip(&["link", "set", interface, "name", name]).await
    }

    /// The name of its namespace, which no other host has.
    pub fn name(&self) -> &str {
        &self.namespace
    }

    /// The way to what listens on its loopback interface.
    pub(crate) fn loopback(&self) -> Loopback {
        Loopback::new(&self.namespace)
    }

    /// Sets a variable for all commands that are made from now on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Has the host drop what these rules of nft's `output` hook match, as a firewall before it
    /// would; none for no firewall.
    ///
    /// # Errors
    /// What nft says.
    pub async fn drop_outgoing(&self, rules: &[&str]) -> Result<()> {
        let rules: String = rules.iter().map(|rule| format!("{rule} drop\n")).collect();
        self.nft(&format!(
            "add table inet firewall\ndelete table inet firewall\ntable inet firewall {{\n\
             chain out {{\ntype filter hook output priority 0;\n{rules}}}\n}}\n"
        ))
        .await
    }

    /// Has names lead to these addresses for what runs on this host, and no others.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn set_names(&self, names: &[(&str, &str)]) -> Result<()> {
        // `ip netns exec` puts these in the place of what /etc has.
        let folder = self.settings();
        std::fs::create_dir_all(&folder)?;
        // Chromium asks for servers of ICE with the dot that ends a name.
        let lines = names.iter();
        let lines = lines.map(|(ip, name)| format!("{ip} {name} {name}.\n"));
        let text: String = lines.collect();
        std::fs::write(folder.join("hosts"), format!("127.0.0.1 localhost\n{text}"))?;
        // Nothing answers there, so that other names are refused at once.
        std::fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        Ok(())
    }

    fn settings(&self) -> std::path::PathBuf {
        std::path::Path::new("/etc/netns").join(&self.namespace)
    }

    /// Has nft carry out a script on this host.
    ///
    /// # Errors
    /// What it says.
    pub async fn nft(&self, script: &str) -> Result<()> {
        let output = self.command().args(["nft", script]).output().await;
        let output = output.context("there is no nft")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {script:?}: {said}");
        Ok(())
    }

    /// Waits until something on this host listens on a port of TCP or UDP.
    ///
    /// # Errors
    /// If nothing does soon.
    pub async fn until_listening(&self, protocol: &str, port: u16) -> Result<()> {
        let kind = format!("--{protocol}");
        let what = format!("{protocol} {port} to be open");
        until(&what, SOON, async || {
            let mut sockets = self.command();
            let sockets = sockets.args(["ss", &kind, "--listening", "--numeric"]);
            let open = String::from_utf8(sockets.output().await?.stdout)?;
            ensure!(open.contains(&format!(":{port} ")), "{open}");
            Ok(())
        })
        .await
    }

    /// An interface that leads nowhere, with these addresses.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn add_dead_end(&self, interface: &str, addresses: &[String]) -> Result<()> {
        // Both ends are here, and nobody answers at the other.
        let end = format!("{interface}-end");
        self.ip(&[
            "link", "add", interface, "type", "veth", "peer", "name", &end,
        ])
        .await?;
        for each in [interface, &end] {
            self.ip(&["link", "set", each, "up"]).await?;
        }
        for address in addresses {
            self.add_address(interface, address).await?;
        }
        Ok(())
    }

    /// Default routes of these families, `-4` and `-6`, on which everything is lost.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn add_void(&self, families: &[&str]) -> Result<()> {
        self.add_dead_end("void", &[]).await?;
        // Or whoever sends would be told that nobody answers there.
        self.ip(&["link", "set", "void", "arp", "off"]).await?;
        for family in families {
            self.ip(&[family, "route", "add", "default", "dev", "void"])
                .await?;
        }
        Ok(())
    }

    /// Another address for an interface.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        // An IPv6 address is usable at once without looking for its double.
        let nodad: &[&str] = if address.contains(':') {
            &["nodad"]
        } else {
            &[]
        };
        let add = ["address", "add", address, "dev", interface];
        self.ip(&[&add[..], nodad].concat()).await
    }

    /// Drops what comes from these addresses, or nothing any more: no end is told, and unlike
    /// [`Network::isolate`] hosts still find each other's interfaces.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn drop_from(&self, addresses: &[&str]) -> Result<()> {
        let set = addresses.join(", ");
        let rule = match addresses {
            [] => String::new(),
            _ => format!("add rule inet test in ip saddr {{ {set} }} drop"),
        };
        let rules = format!(
            "add table inet test; delete table inet test; add table inet test; add chain inet test \
             in {{ type filter hook input priority 0; }}; {rule}"
        );
        let output = self.command().args(["nft", &rules]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nft {rules}: {said}");
        Ok(())
    }

    /// Makes it a router.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn forward(&self) -> Result<()> {
        self.set_kernel(&["net.ipv4.ip_forward=1"]).await
    }

    /// Sets parameters of the kernel for this host, as far as it has them.
    async fn set_kernel(&self, settings: &[&str]) -> Result<()> {
        let mut command = self.command();
        let set = ["sysctl", "--quiet", "--ignore", "--write"];
        let output = command
            .args(set)
            .args(settings)
            .output()
            .await
            .context("there is no sysctl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "sysctl: {said}");
        Ok(())
    }

    /// `ip` on this host.
    ///
    /// # Errors
    /// What it says.
    pub async fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.namespace], arguments].concat()).await
    }

    /// A command that runs the program of its first argument on this host.
    pub fn command(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]);
        let variables = self.variables.iter();
        command.envs(variables.map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let delete = ["netns", "delete", &self.namespace];
        let _ = std::fs::remove_dir_all(self.settings());
        // What runs there keeps it until it ends, and is killed by the test too.
        let _ = std::process::Command::new("ip").args(delete).status();
    }
}

async fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().await;
    let output = output.context("there is no ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments:?}: {said}");
    Ok(())
}
