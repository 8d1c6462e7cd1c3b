//! One context of pachctl's config file: how to reach one server, and as whom.

use std::collections::BTreeMap;

use super::document::Node;

/// The keys of a context in the order in which they are written.
const FIELDS: [&str; 12] = [
    "source",
    "pachd_address",
    "server_cas",
    "session_token",
    "active_transaction",
    "cluster_name",
    "auth_info",
    "namespace",
    "port_forwarders",
    "cluster_deployment_id",
    "enterprise_server",
    "project",
];

const SOURCES: [&str; 4] = ["NONE", "CONFIG_V1", "HUB", "IMPORTED"];

/// The number of the source `IMPORTED`.
pub(crate) const IMPORTED: u64 = 3;

/// A context as it is understood; what is not set is empty, zero or false.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// Where the context came from, a number of `SOURCES`.
    pub(crate) source: u64,
    /// `[scheme://]host[:port]`.
    pub(crate) pachd_address: String,
    /// Base64 of PEM certificates that replace the system's roots.
    pub(crate) server_cas: String,
    /// The token to send.
    pub(crate) session_token: String,
    pub(crate) active_transaction: String,
    pub(crate) cluster_name: String,
    pub(crate) auth_info: String,
    pub(crate) namespace: String,
    /// Service to local port, while a port-forward runs.
    pub(crate) port_forwarders: BTreeMap<String, u32>,
    /// Which deployment this is, learnt at the first connection.
    pub(crate) cluster_deployment_id: String,
    /// Whether it is an enterprise server.
    pub(crate) enterprise_server: bool,
    pub(crate) project: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("Context")
            .field("pachd_address", &self.pachd_address)
            .field("cluster_deployment_id", &self.cluster_deployment_id)
            .field("enterprise_server", &self.enterprise_server)
            .finish_non_exhaustive()
    }
}

/// Whether `key` is written after `than`.
fn comes_after(key: &str, than: &str) -> bool {
    let place = |key: &str| FIELDS.iter().position(|field| *field == key);
    matches!((place(key), place(than)), (Some(key), Some(than)) if key > than)
}

/// The `snake_case` name of a known key in either spelling.
pub(crate) fn canonical_key(key: &str) -> Option<&'static str> {
    let mut snake = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    FIELDS.into_iter().find(|field| *field == key || *field == snake)
}

impl Context {
    /// Reads a context under the rules of proto3 JSON.
    ///
    /// # Errors
    /// A text that names the key whose value has the wrong type.
    pub(crate) fn read(node: &Node) -> Result<Context, String> {
        if !matches!(node, Node::Map(_) | Node::Null) {
            return Err("a context must be an object".to_owned());
        }
        let text = |key: &str| match node.get(key) {
            None => Ok(String::new()),
            Some(Node::Text(text)) => Ok(text.clone()),
            Some(other) => Err(format!("invalid value for string field {key}: {other}")),
        };
        Ok(Context {
            source: node.get("source").map_or(Ok(0), read_source)?,
            pachd_address: text("pachd_address")?,
            server_cas: text("server_cas")?,
            session_token: text("session_token")?,
            active_transaction: text("active_transaction")?,
            cluster_name: text("cluster_name")?,
            auth_info: text("auth_info")?,
            namespace: text("namespace")?,
            port_forwarders: node.get("port_forwarders").map_or(Ok(BTreeMap::new()), read_ports)?,
            cluster_deployment_id: text("cluster_deployment_id")?,
            enterprise_server: match node.get("enterprise_server") {
                None => false,
                Some(Node::Bool(value)) => *value,
                Some(other) => {
                    return Err(format!("invalid value for bool field enterprise_server: {other}"));
                }
            },
            project: text("project")?,
        })
    }

    /// Brings `node` in line with this context. Keys whose value does not change are not
    /// touched, whoever wrote them and however.
    pub(crate) fn write(&self, node: &mut Node) {
        let old = Context::read(node).unwrap_or_default().fields(Source::Number);
        let new = self.fields(Source::Number);
        for key in FIELDS {
            match (old.get(key), new.get(key)) {
                (old, new) if old == new => {}
                (_, Some(value)) => {
                    node.set(key, value.clone(), |later| comes_after(later, key));
                }
                (_, None) => node.remove(key),
            }
        }
    }

    /// The context in proto3 JSON, as `config get context` shows it.
    pub(crate) fn to_json(&self) -> String {
        self.fields(Source::Name).to_string()
    }

    fn fields(&self, source: Source) -> Node {
        let ports = self
            .port_forwarders
            .iter()
            .map(|(service, port)| (service.clone(), Node::Number((*port).into())))
            .collect();
        let texts = |text: &String| (!text.is_empty()).then(|| Node::Text(text.clone()));
        let values = [
            (self.source != 0).then(|| match (source, name_of(self.source)) {
                (Source::Name, Some(name)) => Node::Text(name.to_owned()),
                _ => Node::Number(self.source.into()),
            }),
            texts(&self.pachd_address),
            texts(&self.server_cas),
            texts(&self.session_token),
            texts(&self.active_transaction),
            texts(&self.cluster_name),
            texts(&self.auth_info),
            texts(&self.namespace),
            (!self.port_forwarders.is_empty()).then_some(Node::Map(ports)),
            texts(&self.cluster_deployment_id),
            self.enterprise_server.then_some(Node::Bool(true)),
            texts(&self.project),
        ];
        let named = FIELDS.into_iter().zip(values);
        Node::Map(named.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

#[derive(Clone, Copy)]
enum Source {
    Number,
    Name,
}

fn name_of(source: u64) -> Option<&'static str> {
    SOURCES.get(usize::try_from(source).ok()?).copied()
}

fn read_source(node: &Node) -> Result<u64, String> {
    let known = match node {
        Node::Number(number) => number.as_u64(),
        Node::Text(name) => {
            SOURCES.iter().position(|source| source == name).and_then(|at| u64::try_from(at).ok())
        }
        _ => None,
    };
    known.ok_or_else(|| format!("invalid value for enum field source: {node}"))
}

fn read_ports(node: &Node) -> Result<BTreeMap<String, u32>, String> {
    let wrong = |node: &Node| format!("invalid value for field port_forwarders: {node}");
    let Node::Map(entries) = node else { return Err(wrong(node)) };
    entries
        .iter()
        .map(|(service, port)| {
            let number = match port {
                Node::Number(number) => number.as_u64().and_then(|port| u32::try_from(port).ok()),
                Node::Text(text) => text.parse().ok(),
                _ => None,
            };
            Ok((service.clone(), number.ok_or_else(|| wrong(port))?))
        })
        .collect()
}
