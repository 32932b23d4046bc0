//! What glibc's malloc holds that nobody uses, and giving that back to the system. glibc keeps what is freed below the top of an
//! arena for ever: after 5,000 streams have ended, a process stays as large as it was with them. Elsewhere both do nothing.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that were freed and are kept, of all arenas; also what [`give_back`] has given back, until it is used again.
#[must_use]
pub fn free_bytes() -> usize {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "there is no safe form of it")]
        // SAFETY: takes nothing and returns numbers by value; it locks each arena by itself (mallinfo(3): MT-Safe).
        let info = unsafe { libc::mallinfo2() };
        info.fordblks
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    0
}

/// Gives every whole page that is free back to the system. Takes some milliseconds for each 100 MB, in which whoever
/// allocates from the same arena waits.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "there is no safe form of it")]
        // SAFETY: takes a number, and frees only pages without a live allocation (malloc_trim(3): MT-Safe).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// How often threads were asked to empty their caches.
static ASKED: AtomicUsize = AtomicUsize::new(0);

/// Asks every thread that has a [`ThreadCache`] to empty it.
pub fn ask_threads() {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// What glibc keeps of freed memory for this thread alone: a few small pieces of each size, which it counts as used, so that after a
/// storm each may keep a page from being given back.
#[derive(Debug, Default)]
pub struct ThreadCache {
    answered: usize,
}

impl ThreadCache {
    /// Empties it if that was asked for since it was last done, so that the pages are free for the next [`give_back`]. Takes some
    /// 50 µs then.
    pub fn empty_if_asked(&mut self) -> bool {
        let asked = ASKED.load(Ordering::Relaxed);
        let is_due = asked != self.answered;
        self.answered = asked;
        if is_due {
            (0..SIZES).for_each(|size| exchange(SMALLEST + size * STEP));
        }
        is_due
    }
}

/// The cache of a thread: as many pieces of each size, from the smallest in steps (malloc/malloc.c: `TCACHE_MAX_BINS`,
/// `TCACHE_FILL_COUNT`).
const PIECES: usize = 7;
const SIZES: usize = 64;
const SMALLEST: usize = 24;
const STEP: usize = 16;

/// Puts other pieces into the cache's place for a size: new ones, which lie together. There is no call for it.
fn exchange(size: usize) {
    let take = || -> Vec<Vec<u8>> { (0..PIECES).map(|_| black_box(Vec::with_capacity(size))).collect() };
    // The first empty the cache, the next come from the heap. Those fill the cache again, and the first go back to the heap.
    let cached = take();
    drop(take());
    drop(cached);
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// One measures at a time.
    static MEASURING: Mutex<()> = Mutex::new(());

    /// Resident bytes of this process.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
    }

    #[test]
    fn what_was_freed_between_what_is_used_goes_back_to_the_system() {
        const SIZE: usize = 16 * 1024;
        let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks: Vec<Vec<u8>> = (0..4_000).map(|_| vec![1; SIZE]).collect();
        let (used, free_before) = (resident(), free_bytes());
        // Every hundredth stays, so that nothing can be cut off at the top.
        let mut number = 0;
        blocks.retain(|_| {
            number += 1;
            number % 100 == 0
        });
        let freed = SIZE * 3_960;
        assert!(free_bytes() - free_before > freed / 10 * 9);
        assert!(resident() + freed / 4 > used, "it would have come back by itself");
        give_back();
        assert!(resident() + freed / 10 * 8 < used, "{} of {used}", resident());
        assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == 1)), "what is used is untouched");
    }

    #[test]
    fn pieces_in_a_thread_s_cache_keep_pages_until_it_is_asked_to_empty_it() {
        let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cache = ThreadCache::default();
        assert!(!cache.empty_if_asked(), "nobody asked");
        // A page or more lies between one small piece and the next.
        let size = |number: usize| SMALLEST + number % SIZES * STEP;
        let pieces = |number: usize| (vec![1_u8; 3 * 4096], vec![1_u8; size(number)]);
        let (wide, small): (Vec<_>, Vec<_>) = (0..SIZES * PIECES).map(pieces).unzip();
        drop((wide, small));
        give_back();
        let kept = resident();
        ask_threads();
        assert!(cache.empty_if_asked() && !cache.empty_if_asked(), "once for each time it is asked");
        give_back();
        assert!(resident() + 1_000_000 < kept, "{} of {kept}", resident());
    }
}
