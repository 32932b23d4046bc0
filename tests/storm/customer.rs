//! A client as people have them: it keeps the newest refresh token that it has received, and now and then its connection
//! breaks, it asks twice, or a second connection of its own comes late with an older token.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::oauth::{GrantId, GrantState};
use portcullis::token::RefreshToken;

use crate::chance::Chance;
use crate::http1::{self, Heard, call, post, send, send_and_go};
use crate::oracle::{Oracle, Outcome, Presentation};
use crate::pair::Pair;

/// How long a client tries before it counts as signed out.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how many seconds a token must be harmless that an honest client presents.
const HARMLESS: u64 = 25;

pub(crate) struct Customer {
    pair: Arc<Pair>,
    chance: Chance,
    id: String,
    pub(crate) grant: GrantId,
    /// What it has received, oldest first; the last is the newest.
    received: Vec<Tokens>,
    oracle: Oracle,
}

#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) generation: u64,
    pub(crate) refresh: String,
    pub(crate) access: String,
    /// When they came.
    since: u64,
}

impl Tokens {
    fn of(heard: &Heard, now: u64) -> Self {
        let (json, text) = (heard.json(), |json: &serde_json::Value| json.as_str().unwrap().to_owned());
        Self::new(text(&json["refresh_token"]), text(&json["access_token"]), now)
    }

    fn new(refresh: String, access: String, since: u64) -> Self {
        let generation = refresh.split('.').nth(2).unwrap().parse().unwrap();
        Self { generation, refresh, access, since }
    }
}

impl Customer {
    /// Registers and signs in.
    pub(crate) async fn sign_in(pair: &Arc<Pair>, seed: u64, whose: u64) -> Self {
        let signed_in = pair.client().sign_in(&format!("user{whose}")).await;
        let grant = RefreshToken::parse(&signed_in.refresh).unwrap().grant();
        Self {
            pair: Arc::clone(pair),
            chance: Chance::new(seed, whose),
            id: signed_in.client,
            grant,
            received: vec![Tokens::new(signed_in.refresh, signed_in.access, pair.time.now())],
            oracle: Oracle::new(pair.time.now()),
        }
    }

    pub(crate) fn newest(&self) -> Tokens {
        self.received.last().unwrap().clone()
    }

    /// Does what clients do until `enough`, and is signed in afterwards.
    pub(crate) async fn live_until(mut self, enough: usize) -> Self {
        self.refresh().await;
        while *self.pair.refreshed.borrow() < enough {
            match self.chance.below(10) {
                0..=2 => self.refresh().await,
                3 => self.refresh_twice().await,
                4 => self.race().await,
                5 => self.lose_the_answer().await,
                6 => self.go_away().await,
                7 => self.come_late().await,
                _ => self.use_access().await,
            }
        }
        self.refresh().await;
        self
    }

    /// Refreshes with the newest token until there is an answer.
    pub(crate) async fn refresh(&mut self) {
        let (token, started) = (self.newest(), Instant::now());
        loop {
            let which = self.chance.below(2);
            let presented = self.present(&token);
            let answer = self.ask(which, &token).await;
            if let Some(Outcome::Tokens(_)) = self.hear(presented, answer, true) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "signed out: {:?}", self.oracle);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The same token again at once at the other process, as after an answer that came too late.
    async fn refresh_twice(&mut self) {
        let (token, which) = (self.newest(), self.chance.below(2));
        for which in [which, 1 - which] {
            let presented = self.present(&token);
            let answer = self.ask(which, &token).await;
            self.hear(presented, answer, true);
        }
    }

    /// Two connections with the same token at the same moment.
    async fn race(&mut self) {
        let (token, which) = (self.newest(), self.chance.below(2));
        let other = self.chance.below(2);
        let presented = [self.present(&token), self.present(&token)];
        let (one, other) = tokio::join!(self.ask(which, &token), self.ask(other, &token));
        self.hear(presented[0], one, true);
        self.hear(presented[1], other, true);
    }

    /// The answer is made, and something on the way swallows it: the test knows it, the client does not.
    async fn lose_the_answer(&mut self) {
        let (token, which) = (self.newest(), self.chance.below(2));
        let presented = self.present(&token);
        let answer = self.ask(which, &token).await;
        self.hear(presented, answer, false);
    }

    /// The client goes away when its request is written. Nobody knows what becomes of it.
    async fn go_away(&mut self) {
        let (token, which) = (self.newest(), self.chance.below(2));
        self.present(&token);
        drop(send_and_go(self.pair.address(which), &self.request(&token)).await);
    }

    /// A connection that has slept presents an older token, if the rules are lenient with it just now.
    async fn come_late(&mut self) {
        let older = self.received.len().saturating_sub(1);
        if older == 0 {
            return;
        }
        let token = self.received[self.chance.below(older)].clone();
        let possible = self.oracle.possible(token.generation, self.pair.time.now(), HARMLESS);
        if possible.contains(&Outcome::Theft) {
            return;
        }
        let which = self.chance.below(2);
        let presented = self.present(&token);
        let answer = self.ask(which, &token).await;
        self.hear(presented, answer, true);
    }

    /// Calls the service with an access token that has not expired: the newest, or one before it.
    async fn use_access(&mut self) {
        let now = self.pair.time.now();
        let fresh: Vec<_> = self.received.iter().filter(|tokens| now - tokens.since < 60 * 60).collect();
        let token = fresh[self.chance.below(fresh.len())].clone();
        let which = self.chance.below(2);
        self.admitted(which, &token).await;
    }

    /// The token is let in, as soon as the process is there.
    pub(crate) async fn admitted(&mut self, which: usize, token: &Tokens) {
        let started = Instant::now();
        loop {
            self.oracle.uses(token.generation);
            match send(self.pair.address(which), &call(&self.pair.host(), &token.access)).await {
                Ok(heard) if heard.status == 200 => return,
                Ok(heard) => assert_eq!(heard.status, 503, "{heard:?}"),
                Err(_) => {}
            }
            assert!(started.elapsed() < PATIENCE, "process {which} admits nobody");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The status that an access token gets.
    pub(crate) async fn status(&self, which: usize, token: &Tokens) -> u16 {
        send(self.pair.address(which), &call(&self.pair.host(), &token.access)).await.unwrap().status
    }

    /// Presents a token at a process that is there.
    pub(crate) async fn outcome(&mut self, which: usize, token: &Tokens) -> Outcome {
        let presented = self.present(token);
        let answer = self.ask(which, token).await;
        self.hear(presented, answer, true).expect("the process is there")
    }

    /// The same, and the answer never arrives.
    pub(crate) async fn lost(&mut self, which: usize, token: &Tokens) -> Outcome {
        let presented = self.present(token);
        let answer = self.ask(which, token).await;
        self.hear(presented, answer, false).expect("the process is there")
    }

    /// Whatever may become of a token now.
    pub(crate) fn possible(&self, token: &Tokens) -> Vec<Outcome> {
        self.oracle.possible(token.generation, self.pair.time.now(), 0)
    }

    /// Holds the store's record against what may be, while nothing is under way; whether it is confirmed.
    pub(crate) async fn read(&mut self) -> bool {
        let grant = self.pair.grant(self.grant).await;
        let GrantState::Active { generation, reached, confirmed, .. } = grant.state else {
            panic!("an honest client's grant has ended: {grant:?}; {:?}", self.oracle)
        };
        self.oracle.read(generation, reached.seconds(), confirmed).unwrap();
        confirmed
    }

    fn request(&self, token: &Tokens) -> String {
        let form =
            [("grant_type", "refresh_token"), ("client_id", &self.id), ("refresh_token", &token.refresh)];
        post(&self.pair.host(), "/token", &form)
    }

    fn present(&mut self, token: &Tokens) -> Presentation {
        self.oracle.present(token.generation, self.pair.time.now())
    }

    async fn ask(&self, which: usize, token: &Tokens) -> io::Result<Heard> {
        http1::send(self.pair.address(which), &self.request(token)).await
    }

    /// Holds an answer against the rules; takes its tokens if it `arrives`. `None` if there is none.
    fn hear(&mut self, presented: Presentation, answer: io::Result<Heard>, arrives: bool) -> Option<Outcome> {
        let heard = answer.ok()?;
        let (outcome, tokens) = match heard.status {
            200 => {
                let tokens = Tokens::of(&heard, self.pair.time.now());
                (Outcome::Tokens(tokens.generation), Some(tokens))
            }
            400 if heard.body.contains("the refresh token was replaced") => (Outcome::Replaced, None),
            400 if heard.body.contains("the refresh token was used before") => (Outcome::Theft, None),
            503 => return None,
            _ => panic!("{heard:?}: {:?}", self.oracle),
        };
        if let Err(fault) = self.oracle.answered(presented, outcome, self.pair.time.now()) {
            panic!("{fault}");
        }
        let Some(tokens) = tokens else { return Some(outcome) };
        self.pair.refreshed.send_modify(|count| *count += 1);
        if arrives {
            self.receive(tokens);
        }
        Some(outcome)
    }

    fn receive(&mut self, tokens: Tokens) {
        let newest = self.newest();
        if tokens.generation == newest.generation {
            assert_eq!(tokens.refresh, newest.refresh, "a generation is one token");
        }
        // A late answer never takes the place of a newer one.
        if tokens.generation > newest.generation {
            self.received.push(tokens);
            let old = self.received.len().saturating_sub(4);
            self.received.drain(..old);
        }
    }
}
