//! Memory that many connections have taken goes back to the system when they have gone.

use std::time::Duration;

/// How often is looked. Short enough that nobody calls it a leak, and nothing beside a second's requests.
const EVERY: Duration = Duration::from_secs(10);
/// What may lie free without being worth the work.
const WORTH: usize = 16 * 1024 * 1024;

/// Looks for ever.
pub(super) async fn give_back() {
    let mut kept = Kept::default();
    loop {
        tokio::time::sleep(EVERY).await;
        // It waits for other threads' allocations.
        let looked = tokio::task::spawn_blocking(move || {
            if kept.is_worth_it(portcullis_heap::free_bytes()) {
                portcullis_heap::give_back();
            }
            kept
        });
        match looked.await {
            Ok(after) => kept = after,
            Err(_) => return,
        }
    }
}

/// The least that was free since something was given back: what lies free beyond that was in use meanwhile, and is resident.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    least: usize,
}

impl Kept {
    fn is_worth_it(&mut self, free: usize) -> bool {
        self.least = self.least.min(free);
        let worth = free - self.least > WORTH;
        if worth {
            self.least = free;
        }
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;

    #[test]
    fn it_is_worth_it_only_after_much_was_freed_that_was_in_use() {
        let mut kept = Kept::default();
        let told: Vec<bool> =
            [2, 10, 17, 300, 300, 310, 20, 30, 200, 200].map(|free| kept.is_worth_it(free * MB)).into();
        assert_eq!(told, [false, false, true, true, false, false, false, false, true, false]);
    }
}
