//! Options that people look for under another name, or that this version does not have.

/// What to do instead, by the name in lower case without `_` and `-`.
const WORDS: [(&str, &str); 31] = [
    (
        "agentcount",
        "[up] agents is how many agents `mesh up` starts",
    ),
    (
        "testduration",
        "it is an option of `mesh load-test`: --duration",
    ),
    ("messagerate", "it is an option of `mesh load-test`: --rate"),
    (
        "totalmessageload",
        "it is agents times rate of `mesh load-test`",
    ),
    ("topology", PARTIAL),
    ("topologytype", PARTIAL),
    ("maxneighbors", "[mesh] k is the number of links"),
    ("targetdegree", "[mesh] k is the number of links"),
    (
        "maxconnections",
        "[hub] clients_max bounds a server's clients; an agent has [mesh] k links, \
                        and at most links_slack more",
    ),
    (
        "keepalive",
        "[mesh] ping_interval is the time between pings of a link",
    ),
    (
        "keepaliveinterval",
        "[mesh] ping_interval is the time between pings of a link",
    ),
    (
        "connectiontimeout",
        "[mesh] open_timeout is how long a link may take to open",
    ),
    (
        "reconnectdelay",
        "[mesh] redial_min and redial_max are the waits of a link, \
                        signaling_retry_min and signaling_retry_max those of the server",
    ),
    (
        "maxreconnectattempts",
        "[mesh] redials_max is the number of failures in a row",
    ),
    ("stunservers", SERVERS),
    ("turnservers", SERVERS),
    ("iceserver", SERVERS),
    ("turnsecret", SECRET),
    ("staticauthsecret", SECRET),
    ("enablesrtpkeyrotation", ROTATION),
    ("srtpkeyrotationinterval", ROTATION),
    (
        "productionmode",
        "there is no such switch yet: messages are signed, not sealed, and rooms \
                        are open",
    ),
    ("allowselfsignedcerts", CERTIFICATES),
    ("enablecertvalidation", CERTIFICATES),
    ("burstwindowms", RATE),
    (
        "connectionfailurerate",
        "[mesh] adaptive_failure_rate is the share of links that may fail",
    ),
    (
        "meshestablishmenttime",
        "[mesh] mesh_patience is the time until the star is tried",
    ),
    (
        "avglatency",
        "[mesh] adaptive_latency_high and adaptive_latency_low are the bounds",
    ),
    (
        "avoidnodes",
        "an application says what to avoid: the command \"avoid\" of `mesh agent`",
    ),
    ("witness", "there is no witness log yet"),
    ("shardsize", "[hub] shard_members is the size of a shard"),
];

const PARTIAL: &str = "a live mesh is always a partial mesh, and of all with all up to 20 members; \
                       `mesh topology --kind` compares others";
const SERVERS: &str = "STUN and TURN servers are listed under [[hub.ice_servers]]";
const SECRET: &str = "the secret of TURN servers stands in a file, [hub] turn_secret_file, or in \
                      the environment, MESH_TURN_SECRET";
const ROTATION: &str = "[mesh] rotate_interval is how long links keep their keys, 1h unless set; \
                        0s turns rotation off";
const CERTIFICATES: &str = "certificates are always checked: of links by signed fingerprints, of a \
                            wss: server by this machine's CAs and [agent] ca";
const RATE: &str = "[mesh] max_burst_size may be sent at once, and is there again at \
                    max_messages_per_second";

/// What to do instead of an option of this name.
pub(super) fn words_for(key: &str) -> Option<&'static str> {
    let plain = plain(key);
    WORDS
        .iter()
        .find(|(name, _)| *name == plain)
        .map(|(_, words)| *words)
}

/// A name as it compares: `turnServers`, `turn_servers` and `turn-servers` are one.
pub(super) fn plain(key: &str) -> String {
    let letters = key.chars().filter(|c| !"_-".contains(*c));
    letters.flat_map(char::to_lowercase).collect()
}
