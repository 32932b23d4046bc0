//! The planted thief: who has one refresh token of somebody else's, and uses it an hour later.

use std::time::{Duration, Instant};

use crate::customer::{Customer, Tokens};
use crate::oracle::Outcome;
use crate::pair::Pair;

/// Someone whose old refresh token a thief has.
pub(crate) struct Victim {
    pub(crate) customer: Customer,
    stolen: Tokens,
    newest: Tokens,
}

/// The thief has a refresh token; its owner goes on, and uses what came.
pub(crate) async fn rob(pair: &Pair, mut customer: Customer) -> Victim {
    let stolen = customer.newest();
    customer.refresh().await;
    let newest = customer.newest();
    customer.admitted(0, &newest).await;
    pair.within(Duration::from_secs(10), async || customer.read().await.then_some(())).await;
    Victim { customer, stolen, newest }
}

/// The thief is caught at one process, and what was stolen is worth nothing at either.
pub(crate) async fn catch(pair: &Pair, victim: Victim, which: usize) {
    let Victim { mut customer, stolen, newest } = victim;
    for process in [0, 1] {
        customer.admitted(process, &newest).await;
    }
    assert_eq!(customer.possible(&stolen), [Outcome::Theft]);
    assert_eq!(customer.outcome(which, &stolen).await, Outcome::Theft);
    let caught = Instant::now();
    for token in [&newest, &stolen] {
        assert_eq!(customer.status(which, token).await, 401, "refused here at once");
    }
    let refused = async || (customer.status(1 - which, &newest).await == 401).then_some(());
    pair.within(Duration::from_secs(2), refused).await;
    println!("refused at the other process after {:?}", caught.elapsed());
}
