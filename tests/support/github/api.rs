//! The API calls that a sign-in needs.

use http::header;
use serde_json::{Value, json};

use super::answers::{json_answer, not_found, text};
use super::{Answer, Hiding, Membership, Seen, User, World};

impl World {
    /// Everything below `/api/v3/`.
    pub(super) fn api(&self, seen: &Seen) -> Answer {
        if !seen.headers.contains_key(header::USER_AGENT) {
            return text(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header.",
            );
        }
        // What everybody may ask.
        let path: Vec<&str> = seen.path.trim_start_matches("/api/v3/").split('/').collect();
        let exists = match path.as_slice() {
            ["users", login] => Some(self.users.iter().any(|user| user.login.eq_ignore_ascii_case(login))),
            ["orgs", org] => Some(self.orgs.iter().any(|(name, _)| name.eq_ignore_ascii_case(org))),
            _ => None,
        };
        match exists {
            Some(true) => return json_answer(200, &json!({ "login": path[1] })),
            Some(false) => return not_found(),
            None => {}
        }
        let authorization = seen.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        let known = token
            .and_then(|token| self.tokens.get(token))
            .filter(|token| token.ends.is_none_or(|ends| self.now() < ends))
            .and_then(|token| Some((self.users.iter().find(|user| user.id == token.user)?, &token.scopes)));
        let Some((user, scopes)) = known else {
            return json_answer(401, &json!({ "message": "Bad credentials" }));
        };
        let allowed = |scope: &str| scopes.contains(scope);
        match path.as_slice() {
            ["user"] => json_answer(200, &json!({ "login": user.login, "id": user.id, "type": "User" })),
            ["user", "emails"] if allowed("user:email") => self.list(seen, &user.emails),
            ["user", "orgs"] => self.list(seen, &self.orgs_of(user)),
            ["user", "memberships", "orgs"] if allowed("read:org") => {
                self.list(seen, &self.memberships_of(user))
            }
            ["user", "memberships", "orgs", org] if allowed("read:org") => self.membership(user, org),
            ["orgs", org, "teams", team, "memberships", login] if allowed("read:org") => {
                self.team_membership(org, team, login)
            }
            ["user", "memberships", ..] | ["orgs", ..] => {
                json_answer(403, &json!({ "message": "You need read:org." }))
            }
            _ => not_found(),
        }
    }

    fn orgs_of(&self, user: &User) -> Vec<Value> {
        let shown =
            self.orgs.iter().filter(|(org, hiding)| hiding.is_none() && self.standing(user, org).is_some());
        shown.map(|(org, _)| json!({ "login": org })).collect()
    }

    fn memberships_of(&self, user: &User) -> Vec<Value> {
        let shown = self.orgs.iter().filter(|(_, hiding)| hiding.is_none());
        shown.filter_map(|(org, _)| Some(membership(self.standing(user, org)?, org))).collect()
    }

    fn standing(&self, user: &User, org: &str) -> Option<Membership> {
        self.members.get(&(user.id, org.to_owned())).copied()
    }

    fn membership(&self, user: &User, asked: &str) -> Answer {
        let Some((org, hiding)) = self.orgs.iter().find(|(org, _)| org.eq_ignore_ascii_case(asked)) else {
            return not_found();
        };
        match hiding {
            Some(hiding) => hidden(org, *hiding),
            None => {
                self.standing(user, org).map_or_else(not_found, |how| json_answer(200, &membership(how, org)))
            }
        }
    }

    fn team_membership(&self, org: &str, team: &str, login: &str) -> Answer {
        let Some((org, hiding)) = self.orgs.iter().find(|(name, _)| name.eq_ignore_ascii_case(org)) else {
            return not_found();
        };
        if let Some(hiding) = hiding {
            return hidden(org, *hiding);
        }
        let user = self.by_login(login).map(|user| (user.id, org.to_owned(), team.to_owned()));
        match user.and_then(|key| self.teams.get(&key)) {
            Some(Membership::Active) => json_answer(200, &json!({ "state": "active", "role": "member" })),
            Some(Membership::Pending) => json_answer(200, &json!({ "state": "pending", "role": "member" })),
            None => not_found(),
        }
    }

    fn list(&self, seen: &Seen, entries: &[Value]) -> Answer {
        let page: usize = seen.query.get("page").and_then(|page| page.parse().ok()).unwrap_or(1).max(1);
        let from = ((page - 1) * self.page).min(entries.len());
        let to = (from + self.page).min(entries.len());
        let mut answer = json_answer(200, &Value::from(&entries[from..to]));
        let at = |page: usize| format!("<{}{}?page={page}>", self.url, seen.path.trim_start_matches('/'));
        if to < entries.len() {
            let last = entries.len().div_ceil(self.page);
            let links = format!("{}; rel=\"next\", {}; rel=\"last\"", at(page + 1), at(last));
            answer.headers_mut().insert(header::LINK, links.parse().expect("a header"));
        }
        answer
    }
}

fn membership(how: Membership, org: &str) -> Value {
    let state = match how {
        Membership::Active => "active",
        Membership::Pending => "pending",
    };
    json!({ "state": state, "role": "member", "organization": { "login": org } })
}

/// What an organisation says that shows the application nothing.
fn hidden(org: &str, hiding: Hiding) -> Answer {
    match hiding {
        Hiding::SingleSignOn => {
            let mut answer = json_answer(
                403,
                &json!({ "message": "Resource protected by organization SAML enforcement. You must grant your OAuth token access to this organization." }),
            );
            let value =
                format!("required; url=https://github.com/orgs/{org}/sso?authorization_request=AZSCKtL4U8");
            answer.headers_mut().insert("x-github-sso", value.parse().expect("a header"));
            answer
        }
        Hiding::AppRestrictions => json_answer(
            403,
            &json!({ "message": format!("Although you appear to have the correct authorization credentials, the `{org}` organization has enabled OAuth App access restrictions.") }),
        ),
    }
}
