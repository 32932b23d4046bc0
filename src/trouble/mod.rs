//! The troubles that people have with OAuth in front of MCP servers: their ids, and what there is to say of each. The one place for
//! that: error pages, OAuth errors, JSON-RPC errors, log lines, `portcullis check` and `portcullis doctor` name a trouble by its id, and the
//! help page of the gateway and `portcullis doctor --explain` show the same words.

mod behind;
mod discovery;
pub mod probes;
mod reaching;
mod running;
mod signing_in;
mod starting;
mod tokens;

use std::fmt;

use serde_json::{Value, json};

/// What there is to say of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What is seen.
    pub symptom: &'static str,
    /// Why it is so.
    pub cause: &'static str,
    /// What to do, a step a line; commands and lines of the configuration stand in backquotes.
    pub fix: &'static [&'static str],
    /// What Portcullis does about it by itself.
    pub portcullis: &'static str,
    /// Which client shows what for it.
    pub clients: &'static [(&'static str, &'static str)],
}

/// Where on the way a trouble is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// The gateway does not start, or not well.
    Starting,
    /// It cannot be reached.
    Reaching,
    /// A client does not find how to sign in.
    Discovery,
    /// A person does not get through the sign-in.
    SigningIn,
    /// Tokens are not given or not believed.
    Tokens,
    /// The MCP server does not answer as it should.
    Behind,
    /// In the long run.
    Running,
}

impl Group {
    /// All of them, on the way of a request.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Reaching,
        Self::Discovery,
        Self::SigningIn,
        Self::Tokens,
        Self::Behind,
        Self::Running,
    ];

    /// Its heading.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Reaching => "Reaching it",
            Self::Discovery => "Discovery",
            Self::SigningIn => "Signing in",
            Self::Tokens => "Tokens",
            Self::Behind => "The server behind",
            Self::Running => "Running it",
        }
    }

    const fn texts(self) -> &'static [(Trouble, Explanation)] {
        match self {
            Self::Starting => starting::TEXTS,
            Self::Reaching => reaching::TEXTS,
            Self::Discovery => discovery::TEXTS,
            Self::SigningIn => signing_in::TEXTS,
            Self::Tokens => tokens::TEXTS,
            Self::Behind => behind::TEXTS,
            Self::Running => running::TEXTS,
        }
    }
}

macro_rules! troubles {
    ($($(#[$doc:meta])* $name:ident = $id:literal in $group:ident,)*) => {
        /// A trouble.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Trouble { $($(#[$doc])* $name,)* }

        impl Trouble {
            /// All of them, in the order in which they are met.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name everywhere.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Where it is met.
            #[must_use]
            pub const fn group(self) -> Group {
                match self { $(Self::$name => Group::$group,)* }
            }
        }
    };
}

troubles! {
    /// A variable that the configuration names is not set.
    EnvMissing = "env-missing" in Starting,
    /// A value has not the form that it must have.
    EnvShape = "env-shape" in Starting,
    /// The configuration is no YAML, or has unknown keys.
    YamlSyntax = "yaml-syntax" in Starting,
    /// Another process has the port.
    PortInUse = "port-in-use" in Starting,
    /// This user may not have the port.
    PortDenied = "port-denied" in Starting,
    /// The gateway does not run, or not with what its file says.
    GatewayDown = "gateway-down" in Starting,
    /// Something that is needed is not installed.
    DependencyMissing = "dependency-missing" in Starting,
    /// The secret key is not the store's.
    SecretKeyChanged = "secret-key-changed" in Starting,
    /// Redis cannot be used.
    RedisDown = "redis-down" in Starting,
    /// Redis forgets at a restart, or when it is full.
    RedisForgets = "redis-forgets" in Starting,
    /// Redis is slow.
    RedisSlow = "redis-slow" in Starting,
    /// The embedded store's file cannot be used.
    StoreFile = "store-file" in Starting,
    /// The name leads nowhere, or elsewhere.
    Dns = "dns" in Reaching,
    /// Nothing answers on the port, or clients do not take that port.
    Port443 = "port-443" in Reaching,
    /// The URL is not the MCP server's.
    WrongUrl = "wrong-url" in Reaching,
    /// The certificate is not good.
    Cert = "cert" in Reaching,
    /// The clock is wrong.
    Clock = "clock" in Reaching,
    /// Something in front answers in the gateway's place.
    Waf = "waf" in Reaching,
    /// A tunnel or proxy in front changes host or scheme.
    Tunnel = "tunnel" in Reaching,
    /// The protected resource metadata is not there.
    PrmMissing = "prm-404" in Discovery,
    /// The protected resource metadata names another resource.
    PrmResource = "prm-resource" in Discovery,
    /// The authorization server's metadata names another issuer.
    IssuerMismatch = "issuer-mismatch" in Discovery,
    /// Clients cannot register.
    NoRegistration = "no-registration" in Discovery,
    /// A request without a token is not told where to get one.
    NoChallenge = "no-challenge" in Discovery,
    /// Browsers may not ask from other origins.
    Cors = "cors" in Discovery,
    /// GitHub cannot be reached.
    GithubUnreachable = "github-unreachable" in SigningIn,
    /// GitHub does not accept the client id and secret.
    GithubCredentials = "github-credentials" in SigningIn,
    /// GitHub knows another callback URL.
    GithubCallback = "github-callback" in SigningIn,
    /// No access rule lets the person in.
    NotAllowed = "not-allowed" in SigningIn,
    /// The person, or the provider, said no.
    SignInRefused = "sign-in-refused" in SigningIn,
    /// The sign-in took too long.
    StateExpired = "state-expired" in SigningIn,
    /// The sign-in was finished already, or began elsewhere.
    StateReused = "state-reused" in SigningIn,
    /// The answer goes elsewhere than it was asked for.
    LoginHijacked = "login-hijacked" in SigningIn,
    /// The client does not take the answer.
    RedirectDead = "redirect-dead" in SigningIn,
    /// The redirect URI is not one of the client's.
    RedirectMismatch = "redirect-mismatch" in SigningIn,
    /// The redirect URI is one that nobody may have.
    RedirectInvalid = "redirect-invalid" in SigningIn,
    /// The client asks in a way that cannot be answered.
    RequestInvalid = "request-invalid" in SigningIn,
    /// The client's metadata document cannot be used.
    ClientDocument = "client-document" in SigningIn,
    /// Two clients sign in at once.
    TwoClients = "two-clients" in SigningIn,
    /// A connection that is not there is to be ended.
    ConnectionUnknown = "connection-unknown" in SigningIn,
    /// The code is not taken.
    ExchangeFailed = "exchange-failed" in Tokens,
    /// The refresh token is not taken.
    RefreshFailed = "refresh-failed" in Tokens,
    /// The client is not known.
    ClientUnknown = "client-unknown" in Tokens,
    /// The client does not prove who it is.
    ClientUnproven = "client-unproven" in Tokens,
    /// The access token is not believed.
    TokenUnaccepted = "token-401" in Tokens,
    /// A scope is missing.
    ScopeMissing = "scope-403" in Tokens,
    /// One issuer for several environments.
    Environments = "environments" in Tokens,
    /// Too many requests.
    RateLimited = "rate-limited" in Tokens,
    /// The MCP server cannot be reached.
    UpstreamDown = "upstream-down" in Behind,
    /// The MCP server is slow.
    UpstreamSlow = "upstream-slow" in Behind,
    /// The body of a request is not taken.
    RequestBody = "request-body" in Behind,
    /// The MCP server has another path.
    UpstreamPath = "upstream-path" in Behind,
    /// The MCP server does not accept the Host or Origin.
    UpstreamHost = "upstream-host" in Behind,
    /// The MCP server wants a login of its own.
    UpstreamAuth = "upstream-auth" in Behind,
    /// The MCP server speaks another transport.
    UpstreamTransport = "upstream-transport" in Behind,
    /// Client and MCP server have no revision in common.
    ProtocolVersion = "protocol-version" in Behind,
    /// The MCP server's session has ended.
    SessionLost = "session-lost" in Behind,
    /// The MCP server's process ends again and again.
    StdioDied = "stdio-died" in Behind,
    /// Memory grows.
    Memory = "memory" in Running,
    /// A request is looked for.
    TraceOne = "trace-one" in Running,
    /// Diagnostics are asked for.
    Bundle = "bundle" in Running,
    /// Everything is to be kept.
    Backup = "backup" in Running,
    /// Keys are to be changed.
    Rotate = "rotate" in Running,
}

impl Trouble {
    /// The trouble of that id.
    #[must_use]
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|trouble| trouble.id() == id)
    }

    /// What there is to say of it.
    #[must_use]
    pub fn explanation(self) -> &'static Explanation {
        let mut texts = self.group().texts().iter();
        texts.find(|(trouble, _)| *trouble == self).map_or(&UNEXPLAINED, |(_, explanation)| explanation)
    }

    /// All there is to say of it, for programs.
    #[must_use]
    pub fn to_json(self) -> Value {
        let Explanation { symptom, cause, fix, portcullis, clients } = self.explanation();
        let clients: Vec<_> =
            clients.iter().map(|(client, shows)| json!({ "client": client, "shows": shows })).collect();
        json!({
            "id": self.id(), "group": self.group().title(), "symptom": symptom, "cause": cause, "fix": fix,
            "portcullis": portcullis, "clients": clients,
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A test sees to it that nobody meets this.
const UNEXPLAINED: Explanation =
    Explanation { symptom: "", cause: "", fix: &[], portcullis: "", clients: &[] };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_trouble_is_explained_once_in_its_group_and_in_order() {
        let explained: Vec<Trouble> =
            Group::ALL.iter().flat_map(|group| group.texts()).map(|(trouble, _)| *trouble).collect();
        assert_eq!(explained, Trouble::ALL);
        for group in Group::ALL {
            assert!(group.texts().iter().all(|(trouble, _)| trouble.group() == group), "{group:?}");
        }
    }

    #[test]
    fn ids_are_unique_and_found_again() {
        let ids: BTreeSet<_> = Trouble::ALL.iter().map(|trouble| trouble.id()).collect();
        assert_eq!(ids.len(), Trouble::ALL.len());
        for trouble in Trouble::ALL {
            assert_eq!(Trouble::from_id(trouble.id()), Some(*trouble));
        }
        assert_eq!(Trouble::from_id("no-such-trouble"), None);
    }

    #[test]
    fn texts_are_whole_sentences() {
        for trouble in Trouble::ALL {
            let Explanation { symptom, cause, fix, portcullis, clients } = trouble.explanation();
            assert!(!fix.is_empty(), "{trouble}: no fix");
            for text in [symptom, cause, portcullis].into_iter().chain(fix.iter()) {
                assert!(text.ends_with(['.', '`', ')']), "{trouble}: {text}");
                assert!(text.chars().all(|c| !c.is_control()) && !text.contains("  "), "{trouble}: {text}");
                assert_eq!(text.matches('`').count() % 2, 0, "{trouble}: {text}");
            }
            assert!(clients.iter().all(|(client, shown)| !client.is_empty() && !shown.is_empty()));
        }
    }
}
