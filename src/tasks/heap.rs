//! Memory that many connections have taken goes back to the system when they have gone.

use std::time::Duration;

/// How often is looked. Short enough that nobody calls it a leak, and nothing beside a second's requests.
const EVERY: Duration = Duration::from_secs(10);
/// What may lie free without being worth the work.
const WORTH: usize = 16 * 1024 * 1024;
/// The same for so many looks after it was: what many have left behind comes free in the course of a minute.
const THEN: (usize, u8) = (1024 * 1024, 5);

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
    /// Looks at which little is worth it.
    looks: u8,
}

impl Kept {
    fn is_worth_it(&mut self, free: usize) -> bool {
        self.least = self.least.min(free);
        let more = free - self.least;
        let worth = more > WORTH || (self.looks > 0 && more > THEN.0);
        self.looks = if more > WORTH { THEN.1 } else { self.looks.saturating_sub(1) };
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

    fn told<const LOOKS: usize>(free: [usize; LOOKS]) -> [bool; LOOKS] {
        let mut kept = Kept::default();
        free.map(|free| kept.is_worth_it(free * MB))
    }

    #[test]
    fn it_is_worth_it_only_after_much_was_freed_that_was_in_use() {
        assert_eq!(told([2, 10, 16, 17]), [false, false, false, true]);
        assert_eq!(
            told([300, 300, 301, 20, 20, 20, 20, 30]),
            [true, false, false, false, false, false, false, false]
        );
        assert_eq!(told([2, 300, 20, 200]), [false, true, false, true]);
    }

    #[test]
    fn for_a_minute_after_that_little_is_worth_it_too() {
        assert_eq!(told([300, 303, 303, 306, 306, 309, 312]), [true, true, false, true, false, true, false]);
    }
}
