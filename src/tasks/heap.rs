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
            match kept.look(portcullis_heap::free_bytes()) {
                Worth::Nothing => {}
                Worth::Little => portcullis_heap::give_back(),
                Worth::Much => {
                    portcullis_heap::give_back();
                    // Until the next look, which gives back what that leaves free.
                    portcullis_heap::ask_threads();
                }
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

/// What giving back is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Nothing,
    /// Little, but somebody has just gone.
    Little,
    /// Many have gone.
    Much,
}

impl Kept {
    fn look(&mut self, free: usize) -> Worth {
        self.least = self.least.min(free);
        let more = free - self.least;
        // At the look after much was, what the threads had in their caches is free, and may be all that keeps a page.
        let worth = if more > WORTH {
            Worth::Much
        } else if self.looks == THEN.1 || (self.looks > 0 && more > THEN.0) {
            Worth::Little
        } else {
            Worth::Nothing
        };
        self.looks = if worth == Worth::Much { THEN.1 } else { self.looks.saturating_sub(1) };
        if worth != Worth::Nothing {
            self.least = free;
        }
        worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;

    const NOTHING: Worth = Worth::Nothing;
    const LITTLE: Worth = Worth::Little;
    const MUCH: Worth = Worth::Much;

    fn told<const LOOKS: usize>(free: [usize; LOOKS]) -> [Worth; LOOKS] {
        let mut kept = Kept::default();
        free.map(|free| kept.look(free * MB))
    }

    #[test]
    fn it_is_worth_it_only_after_much_was_freed_that_was_in_use() {
        assert_eq!(told([2, 10, 16, 17]), [NOTHING, NOTHING, NOTHING, MUCH]);
        let expected = [MUCH, LITTLE, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING];
        assert_eq!(told([300, 300, 301, 20, 20, 20, 20, 30]), expected);
        assert_eq!(told([2, 300, 20, 200]), [NOTHING, MUCH, LITTLE, MUCH]);
    }

    #[test]
    fn for_a_minute_after_that_little_is_worth_it_too() {
        let expected = [MUCH, LITTLE, NOTHING, LITTLE, NOTHING, LITTLE, NOTHING];
        assert_eq!(told([300, 303, 303, 306, 306, 309, 312]), expected);
    }
}
