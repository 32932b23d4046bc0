//! Who is connected: how many in all and how many from each network, so that nobody takes all there is. Asked once for each
//! connection, when it is accepted and when it is over; requests do not come here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::ConnectionRefusal;

/// How often it is told that there is no room for a network, or for anybody.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// Networks that are remembered before those that have gone are looked for.
const FEW: usize = 1024;

/// All connections of a process.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    total: usize,
    told: Option<Instant>,
    networks: HashMap<IpAddr, Network>,
    sweep_at: usize,
}

#[derive(Debug, Default)]
struct Network {
    connections: usize,
    told: Option<Instant>,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) total: usize,
    /// From one network; `None` for a proxy that brings along those of others.
    pub(super) per_network: Option<usize>,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) why: ConnectionRefusal,
    /// Whether the log is to say so now.
    pub(super) tell: bool,
}

/// A connection that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Present {
    crowd: Arc<Crowd>,
    network: Option<IpAddr>,
}

impl Crowd {
    /// Counts a connection of `peer` in.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, room: Room, now: Instant) -> Result<Present, Full> {
        let mut state = self.lock();
        if state.total >= room.total {
            let tell = is_to_be_told(&mut state.told, now);
            return Err(Full { why: ConnectionRefusal::Total, tell });
        }
        let network = room.per_network.map(|most| (network(peer), most));
        if let Some((network, most)) = network {
            state.sweep(now);
            let here = state.networks.entry(network).or_default();
            if here.connections >= most {
                let tell = is_to_be_told(&mut here.told, now);
                return Err(Full { why: ConnectionRefusal::PerAddress, tell });
            }
            here.connections += 1;
        }
        state.total += 1;
        Ok(Present { crowd: Arc::clone(self), network: network.map(|(network, _)| network) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets networks that have gone, but for those of which something was told lately: now and then, so that it costs
    /// little for each connection.
    fn sweep(&mut self, now: Instant) {
        if self.networks.len() < self.sweep_at.max(FEW) {
            return;
        }
        let is_recent = |told: Instant| now.saturating_duration_since(told) < TOLD_EVERY;
        self.networks.retain(|_, network| network.connections > 0 || network.told.is_some_and(is_recent));
        self.sweep_at = self.networks.len() * 2;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.total -= 1;
        let Some(network) = self.network else { return };
        let Some(here) = state.networks.get_mut(&network) else { return };
        here.connections -= 1;
        if here.connections == 0 && here.told.is_none() {
            state.networks.remove(&network);
        }
    }
}

fn is_to_be_told(told: &mut Option<Instant>, now: Instant) -> bool {
    let due = told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
    if due {
        *told = Some(now);
    }
    due
}

/// An address, an IPv6 one without its host part: one customer has a whole /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(crowd: &Arc<Crowd>, peer: &str, room: (usize, Option<usize>)) -> Result<Present, Full> {
        enter_at(crowd, peer, room, Instant::now())
    }

    fn enter_at(
        crowd: &Arc<Crowd>,
        peer: &str,
        (total, per_network): (usize, Option<usize>),
        now: Instant,
    ) -> Result<Present, Full> {
        crowd.enter(peer.parse().unwrap(), Room { total, per_network }, now)
    }

    const TOTAL: Full = Full { why: ConnectionRefusal::Total, tell: true };
    const PER_ADDRESS: Full = Full { why: ConnectionRefusal::PerAddress, tell: true };

    #[test]
    fn who_goes_makes_room() {
        let crowd = Arc::new(Crowd::default());
        let room = (2, Some(2));
        let one = enter(&crowd, "192.0.2.1", room).unwrap();
        let _two = enter(&crowd, "192.0.2.2", room).unwrap();
        assert_eq!(enter(&crowd, "192.0.2.3", room).unwrap_err(), TOTAL);
        drop(one);
        let _three = enter(&crowd, "192.0.2.3", room).unwrap();
        assert_eq!(enter(&crowd, "192.0.2.1", room).unwrap_err(), Full { tell: false, ..TOTAL });
    }

    #[test]
    fn one_address_takes_no_more_than_its_part() {
        let crowd = Arc::new(Crowd::default());
        let room = (100, Some(2));
        let mut one =
            vec![enter(&crowd, "192.0.2.1", room).unwrap(), enter(&crowd, "192.0.2.1", room).unwrap()];
        assert_eq!(enter(&crowd, "192.0.2.1", room).unwrap_err(), PER_ADDRESS);
        let _other = enter(&crowd, "192.0.2.2", room).unwrap();
        one.pop();
        one.push(enter(&crowd, "192.0.2.1", room).unwrap());
        assert!(enter(&crowd, "192.0.2.1", room).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let crowd = Arc::new(Crowd::default());
        let _one = enter(&crowd, "2001:db8:0:1::1", (100, Some(1))).unwrap();
        assert_eq!(enter(&crowd, "2001:db8:0:1:ffff::2", (100, Some(1))).unwrap_err(), PER_ADDRESS);
        assert!(enter(&crowd, "2001:db8:0:2::1", (100, Some(1))).is_ok());
    }

    #[test]
    fn a_proxy_counts_in_total_only() {
        let crowd = Arc::new(Crowd::default());
        let all: Vec<_> = (0..3).map(|_| enter(&crowd, "10.0.0.1", (3, None)).unwrap()).collect();
        assert_eq!(enter(&crowd, "10.0.0.1", (3, None)).unwrap_err(), TOTAL);
        drop(all);
        assert!(enter(&crowd, "10.0.0.1", (3, None)).is_ok());
    }

    #[test]
    fn it_is_told_once_a_minute_for_an_address_even_if_it_goes_in_between() {
        let (crowd, start) = (Arc::new(Crowd::default()), Instant::now());
        let tells = |peer: &str, seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let held = enter_at(&crowd, peer, (100, Some(1)), now).unwrap();
            let refused = enter_at(&crowd, peer, (100, Some(1)), now).unwrap_err();
            drop(held);
            refused.tell
        };
        assert!(tells("192.0.2.1", 0) && !tells("192.0.2.1", 59) && tells("192.0.2.2", 59));
        assert!(tells("192.0.2.1", 60) && !tells("192.0.2.1", 61));
    }

    #[test]
    fn networks_that_have_gone_are_forgotten() {
        let (crowd, start) = (Arc::new(Crowd::default()), Instant::now());
        for number in 0..20_000_u32 {
            let peer = format!("2001:db8:{:x}:{:x}::1", number >> 16, number & 0xffff);
            drop(enter_at(&crowd, &peer, (9, Some(9)), start).unwrap());
        }
        assert_eq!(crowd.lock().networks.len(), 0);
        let now = |number: u32| start + TOLD_EVERY * number / 1000;
        for number in 0..20_000_u32 {
            let peer = format!("2001:db8:{number:x}:1::1");
            let _held = enter_at(&crowd, &peer, (9, Some(1)), now(number)).unwrap();
            assert!(enter_at(&crowd, &peer, (9, Some(1)), now(number)).is_err());
        }
        let kept = crowd.lock().networks.len();
        assert!(kept < 4 * 1000, "those of the last minute, and as many again: {kept}");
    }
}
