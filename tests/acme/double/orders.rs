//! Orders, from new to the certificate (RFC 8555 §7.4).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header;
use serde_json::{Value, json};

use super::answers::{Answer, Refused, json_answer, problem, text, with};
use super::proof::Looked;
use super::server::unknown;
use super::{Authorization, Order, Proof, Resource, World};

impl World {
    /// What an account asks, by a JWS.
    pub(super) fn signed(
        &mut self,
        resource: Resource,
        path: &str,
        account: &str,
        payload: &Value,
    ) -> Result<Answer, Refused> {
        match resource {
            Resource::Account => {
                let known = self.accounts.get_mut(account).ok_or_else(|| unknown(path))?;
                if payload["contact"].is_array() {
                    known.contact = payload["contact"].clone();
                }
                Ok(json_answer(200, &json!({ "status": "valid", "contact": known.contact })))
            }
            Resource::NewOrder => self.new_order(account, payload),
            Resource::Order => {
                let index = self.find(account, path)?;
                let order = &mut self.orders[index];
                if order.status == "processing" {
                    match order.left.checked_sub(1) {
                        Some(left) => order.left = left,
                        None => order.status = "valid",
                    }
                }
                let wait = self.processing.1.filter(|_| self.orders[index].status == "processing");
                let answer = json_answer(200, &self.shown(&self.orders[index]));
                Ok(match wait {
                    Some(seconds) => with(answer, header::RETRY_AFTER, &seconds.to_string()),
                    None => answer,
                })
            }
            Resource::Authorization => {
                let authorization =
                    self.authorizations.get(&self.url_of(path)).ok_or_else(|| unknown(path))?;
                Ok(json_answer(200, &self.shown_authorization(authorization)))
            }
            Resource::Challenge => self.answered(path),
            Resource::Finalize => self.finalize(account, path, payload),
            Resource::Certificate => {
                let number = number_of(path);
                let issued =
                    number.and_then(|number| self.issued.get(number)).ok_or_else(|| unknown(path))?;
                Ok(text(200, "application/pem-certificate-chain", issued.chain.clone()))
            }
            Resource::Directory
            | Resource::NewNonce
            | Resource::NewAccount
            | Resource::RenewalInfo
            | Resource::Unknown => Err(unknown(path)),
        }
    }

    fn new_order(&mut self, account: &str, payload: &Value) -> Result<Answer, Refused> {
        let [identifier] = payload["identifiers"].as_array().map(Vec::as_slice).unwrap_or_default() else {
            return Err(Refused(400, "malformed", "one identifier, please".into()));
        };
        let host = identifier["value"].as_str().unwrap_or_default().to_owned();
        let member = |name: &str| payload[name].as_str().map(str::to_owned);
        let (replaces, profile) = (member("replaces"), member("profile"));
        if let Some(profile) = profile.as_ref().filter(|profile| !self.profiles.contains(profile)) {
            return Err(Refused(400, "invalidProfile", format!("there is no profile {profile}")));
        }
        if let Some(replaced) = &replaces {
            if !self.issued.iter().any(|issued| issued.id == *replaced && issued.host == host) {
                return Err(Refused(404, "malformed", "there is no certificate of this id".into()));
            }
            let done = |order: &Order| order.replaces.as_ref() == Some(replaced) && order.status != "invalid";
            if self.orders.iter().any(done) {
                return Err(Refused(409, "alreadyReplaced", "it has been replaced already".into()));
            }
        }
        let number = self.number();
        let authorization = format!("{}/authorization/{number}", self.url);
        let known = self.proof(&host) == Proof::Known;
        let (status, order_status) = if known { ("valid", "ready") } else { ("pending", "pending") };
        self.authorizations.insert(
            authorization.clone(),
            Authorization {
                host: host.clone(),
                status,
                token: format!("token-{number}-{}", "t".repeat(24)),
                errors: std::collections::HashMap::new(),
                answered: None,
            },
        );
        let order = Order {
            url: format!("{}/order/{number}", self.url),
            account: account.to_owned(),
            host,
            replaces,
            profile,
            status: order_status,
            serial: None,
            authorization,
            error: None,
            left: 0,
        };
        let answer = with(json_answer(201, &self.shown(&order)), header::LOCATION, &order.url);
        self.orders.push(order);
        Ok(answer)
    }

    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The order with the number in the path, of this account.
    fn find(&self, account: &str, path: &str) -> Result<usize, Refused> {
        let url = number_of(path).map(|number| format!("{}/order/{number}", self.url));
        let found = self.orders.iter().position(|order| Some(&order.url) == url.as_ref());
        let index = found.ok_or_else(|| unknown(path))?;
        if self.orders[index].account != account {
            return Err(Refused(403, "unauthorized", "the order is another account's".into()));
        }
        Ok(index)
    }

    /// RFC 8555 §7.1.3.
    fn shown(&self, order: &Order) -> Value {
        let number = order.url.rsplit('/').next().unwrap_or_default();
        let mut shown = json!({
            "status": order.status,
            "identifiers": [{ "type": kind(&order.host), "value": order.host }],
            "authorizations": [order.authorization],
            "finalize": format!("{}/finalize/{number}", self.url),
        });
        for (name, value) in [("replaces", &order.replaces), ("profile", &order.profile)] {
            if let Some(value) = value {
                shown[name] = value.clone().into();
            }
        }
        if let Some(error) = &order.error {
            shown["error"] = error.clone();
        }
        let index = self.issued.iter().position(|issued| Some(&issued.serial) == order.serial.as_ref());
        if let Some(index) = index.filter(|_| order.status == "valid") {
            shown["certificate"] = format!("{}/certificate/{index}", self.url).into();
        }
        shown
    }

    /// RFC 8555 §7.1.4.
    fn shown_authorization(&self, authorization: &Authorization) -> Value {
        let challenge = |name: &&'static str| {
            let error = authorization.errors.get(name);
            let answered = authorization.answered == Some(name);
            let status = match (authorization.status, error) {
                (_, Some(_)) => "invalid",
                ("valid", None) if answered || authorization.answered.is_none() => "valid",
                ("pending", None) if answered => "processing",
                _ => "pending",
            };
            let mut shown = json!({
                "type": name, "status": status, "token": authorization.token,
                "url": format!("{}/challenge/{}/{name}", self.url, authorization.token),
            });
            if let Some(error) = error {
                shown["error"] = error.clone();
            }
            shown
        };
        json!({
            "status": authorization.status,
            "identifier": { "type": kind(&authorization.host), "value": authorization.host },
            "challenges": self.challenges.iter().map(challenge).collect::<Vec<_>>(),
        })
    }

    /// Somebody says that a challenge is answered (RFC 8555 §7.5.1).
    fn answered(&mut self, path: &str) -> Result<Answer, Refused> {
        let (url, name) = self.challenge_of(path).ok_or_else(|| unknown(path))?;
        let authorization = self.authorizations.get_mut(&url).ok_or_else(|| unknown(path))?;
        if authorization.status == "pending" && authorization.answered.is_none() {
            authorization.answered = Some(name);
        }
        let shown = self.shown_authorization(&self.authorizations[&url]);
        let challenges = shown["challenges"].as_array().cloned().unwrap_or_default();
        let one = challenges.into_iter().find(|challenge| challenge["type"] == name);
        Ok(json_answer(200, &one.unwrap_or_default()))
    }

    fn challenge_of(&self, path: &str) -> Option<(String, &'static str)> {
        let mut parts = path.split('/').skip(2);
        let (token, name) = (parts.next()?, parts.next()?);
        let name = self.challenges.iter().find(|known| **known == name)?;
        let (url, _) = self.authorizations.iter().find(|(_, known)| known.token == token)?;
        Some((url.clone(), name))
    }

    /// What a request has just given to be looked at.
    pub(super) fn to_be_looked_at(&self, resource: Resource, path: &str) -> Option<Looked> {
        if resource != Resource::Challenge {
            return None;
        }
        let (url, challenge) = self.challenge_of(path)?;
        let authorization = &self.authorizations[&url];
        let order = self.orders.iter().find(|order| order.authorization == url)?;
        let key = &self.accounts.get(&order.account)?.thumbprint;
        let pending = authorization.status == "pending" && authorization.answered == Some(challenge);
        pending.then(|| Looked {
            host: authorization.host.clone(),
            challenge,
            token: authorization.token.clone(),
            key_authorization: format!("{}.{key}", authorization.token),
            authorization: url,
        })
    }

    /// What was found: the order goes on, or ends.
    pub(super) fn looked(&mut self, url: &str, challenge: &'static str, found: Result<(), Value>) {
        let Some(authorization) = self.authorizations.get_mut(url) else { return };
        let order = self.orders.iter_mut().find(|order| order.authorization == url);
        let (Some(order), "pending") = (order, authorization.status) else { return };
        match found {
            Ok(()) => (authorization.status, order.status) = ("valid", "ready"),
            Err(error) => {
                authorization.errors.insert(challenge, error);
                (authorization.status, order.status) = ("invalid", "invalid");
            }
        }
    }

    fn finalize(&mut self, account: &str, path: &str, payload: &Value) -> Result<Answer, Refused> {
        let index = self.find(account, path)?;
        if self.orders[index].status != "ready" {
            let told = format!("the order is {}", self.orders[index].status);
            return Err(Refused(403, "orderNotReady", told));
        }
        if let Some((kind, detail)) = self.invalid.take() {
            let order = &mut self.orders[index];
            (order.status, order.error) = ("invalid", Some(problem(kind, detail)));
            return Ok(json_answer(200, &self.shown(&self.orders[index])));
        }
        let bad = |detail: String| Refused(400, "badCSR", detail);
        let request = payload["csr"].as_str().and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let request = request.ok_or_else(|| bad("it is no base64url".into()))?;
        let now = (self.now)();
        let (serial, host) = (self.number(), self.orders[index].host.clone());
        let issued = self.authority.issue(&request, &host, serial, (now, now + self.life.as_secs()));
        let issued = issued.map_err(bad)?;
        let order = &mut self.orders[index];
        order.serial = Some(issued.serial.clone());
        order.left = self.processing.0;
        order.status = if order.left == 0 { "valid" } else { "processing" };
        // The look that follows is the first one.
        order.left = order.left.saturating_sub(1);
        self.issued.push(issued);
        let shown = json_answer(200, &self.shown(&self.orders[index]));
        Ok(with(shown, header::LOCATION, &self.orders[index].url))
    }
}

fn number_of(path: &str) -> Option<usize> {
    path.rsplit('/').next()?.parse().ok()
}

fn kind(host: &str) -> &'static str {
    if host.parse::<std::net::IpAddr>().is_ok() { "ip" } else { "dns" }
}
