//! What the command blocks of the guides need before them, and what has to be true after them.

/// The network that the guides suppose, and what checks use.
pub(crate) const NETWORK: &str = r#"
    set -o pipefail
    mount -t tmpfs none /run
    mount --bind hosts /etc/hosts
    ip link add eth0 type veth peer name eth0-end
    ip link set eth0-end up
    ip link set eth0 up
    ip address add 203.0.113.1/24 dev eth0
    until_is() { until "$@" > /dev/null 2>&1; do sleep 0.05; done; }
    ready() { until_is curl --silent --fail http://127.0.0.1:$1/readyz; }
    health() { curl --silent http://127.0.0.1:$1/healthz | grep --quiet "$2"; }
    members() { until_is health $1 "\"members\":$2"; }
    status() { curl --silent --output page --write-out '%{http_code}' "$@"; }
"#;

/// The names of the guides, for `/etc/hosts`.
pub(crate) const HOSTS: &str = "127.0.0.1 localhost hub.example.org redis.example.org\n\
                     127.0.0.1 redis-1.example.org redis-2.example.org redis-3.example.org\n\
                     203.0.113.1 turn.example.org stun.example.org\n";

const REDIS: &str = "redis-server --save '' --appendonly no > redis.log &\n\
                     until_is redis-cli ping";

/// HAProxy in front of one hub, as its file tells to add TLS.
const TLS: &str = "mesh signal --listen 127.0.0.1:9601 2> hub.log &\n\
                   sed 's#bind :9600#bind :443 ssl crt mesh.pem#' deploy/haproxy.cfg > tls.cfg\n\
                   haproxy -db -f tls.cfg 2> haproxy.log &\n\
                   ready 9601\n\
                   until_is curl --fail --cacert ca.pem https://hub.example.org/readyz";

/// What the guide to trouble supposes.
pub(crate) const WATCHED: &str = "mesh signal --metrics 127.0.0.1:9601 2> hub.log &\n\
                       mesh agent --room demo --name anna --metrics 127.0.0.1:9602 \
                       < /dev/null > anna.log &\n\
                       members 9600 1";

/// What is there before the n-th block of a heading, and what has to be true after it. What is not
/// listed needs nothing, and its own exit code is all.
pub(crate) const BLOCKS: [(&str, &str, usize, &str, &str); 25] = [
    ("deploy", "One hub", 1, "", "members 9600 1"),
    (
        "deploy",
        "One hub",
        2,
        "",
        "members 9600 1; test -s anna.key",
    ),
    ("deploy", "TLS in front", 1, "", ""),
    ("deploy", "TLS in front", 2, "", "ready 9601; ready 9602"),
    ("deploy", "TLS in front", 3, TLS, "members 9601 1"),
    ("deploy", "TLS in front", 4, "", ORIGINS),
    (
        "deploy",
        "Several hubs",
        1,
        REDIS,
        "ready 9600; ready 9601; ready 9602; ready 9603
         any() { health 9601 '\"members\":1' || health 9602 '\"members\":1' ||
             health 9603 '\"members\":1'; }
         until_is any",
    ),
    (
        "deploy",
        "Several hubs",
        2,
        REDIS,
        "members 9601 1; ready 9602",
    ),
    ("deploy", "A Redis that fails over", 1, REDIS, "ready 9601"),
    (
        "deploy",
        "TURN",
        1,
        "",
        "grep 'Total lost packets 0 ' told; ready 9600
         stranger() { timeout 5 turnutils_uclient -y -n 2 -u mesh -w wrong turn.example.org; }
         stranger > stranger.log 2>&1 || true
         if grep 'Total lost packets 0 ' stranger.log; then exit 1; fi",
    ),
    ("deploy", "TURN", 2, "", "ready 9600"),
    ("deploy", "By environment", 1, "", "members 9600 1"),
    ("deploy", "By environment", 2, "", "ready 9600"),
    (
        "sizing",
        "Links an agent",
        1,
        "",
        "grep '^links  *1000 ' told",
    ),
    (
        "sizing",
        "More than 500",
        1,
        "",
        "grep '^diameter  *6 ' told; grep '3.768' told",
    ),
    (
        "sizing",
        "Bandwidth",
        1,
        "",
        "grep -E '^joining cost an agent +1[5-9][0-9] KB' told
         grep -E '^at rest an agent sends +(9|1[0-9]) B/s' told",
    ),
    (
        "sizing",
        "Bandwidth",
        2,
        "",
        "grep 'mesh_frame_bytes_total' told",
    ),
    (
        "sizing",
        "Memory and CPU",
        1,
        "",
        "test -s report/report.html",
    ),
    (
        "sizing",
        "TURN",
        1,
        "",
        "ports=$(tail -n 1 told); test $ports -ge 30; test $ports -le 90",
    ),
    (
        "upgrade",
        "The running version",
        1,
        "",
        "grep '^mesh [0-9]' told",
    ),
    (
        "upgrade",
        "The running version",
        2,
        "",
        "grep 'protocol=\"2\"' told",
    ),
    ("upgrade", "One hub", 1, "", "members 9600 1"),
    (
        "upgrade",
        "Several hubs",
        1,
        REDIS,
        "ready 9601; ready 9602",
    ),
    (
        "upgrade",
        "Agents",
        1,
        "",
        "id() { grep '\"ready\"' $1 | grep -o '\"id\":\"[0-9a-f]*\"'; }
         test -n \"$(id before.log)\"; test \"$(id before.log)\" = \"$(id after.log)\"",
    ),
    ("upgrade", "Check before you restart", 2, "", "wait"),
];

/// Pages of the origin that was allowed are served, and others are not.
const ORIGINS: &str = "ready 9600
    test $(status --header 'Origin: https://app.example.org' http://localhost:9600/signal) = 426
    test $(status --header 'Origin: https://other.example' http://localhost:9600/signal) = 403";
