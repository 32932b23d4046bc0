//! What glibc's malloc holds that nobody uses, and giving that back to the system. glibc keeps what is freed below the top of an
//! arena for ever: after 5,000 streams have ended, a process stays as large as it was with them. Elsewhere both do nothing.

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

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Resident bytes of this process.
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
    }

    #[test]
    fn what_was_freed_between_what_is_used_goes_back_to_the_system() {
        const SIZE: usize = 16 * 1024;
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
}
