//! Who is connected: a limited number of connections, of which one address has a part. A new client always finds room,
//! because the one that sends nothing or reads nothing for longest loses its place first; liveness probes and gates find room beside pages.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{Extension, Request},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::task::AbortHandle;

use super::api::refused;

/// Connections.
const ALL: usize = 256;
/// Connections of one address.
const OF_ONE: usize = 64;
/// Requests of one address that are answered at once, besides liveness probes and gates.
const PAGES_OF_ONE: usize = 48;
/// The same for all addresses.
const PAGES: usize = 192;

/// The connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// Counts what happens: a new connection, an answer that is ready.
    next: u64,
    seats: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    address: IpAddr,
    phase: Phase,
    /// When its client began to hold it up, by `Taken::next`.
    since: u64,
    task: Option<AbortHandle>,
}

/// What happens on a connection: one request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its request has not arrived, or its answer is being sent: only the client holds it up.
    Client,
    /// The host answers.
    Page,
    /// The host answers a liveness probe or a gate.
    Urgent,
}

/// The place of one connection, until it is dropped.
#[derive(Debug, Clone)]
pub(super) struct Place(Arc<Own>);

#[derive(Debug)]
struct Own {
    seats: Seats,
    number: u64,
}

impl Seats {
    /// A place for a client; `None` if the host works for all who could give up theirs.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut taken = self.lock();
        while taken.of(address) >= OF_ONE {
            taken.free(|of| of == address)?;
        }
        while taken.seats.len() >= ALL {
            taken.free_of_the_most()?;
        }
        let number = taken.count();
        taken.seats.insert(number, Seat { address, phase: Phase::Client, since: number, task: None });
        Some(Place(Arc::new(Own { seats: self.clone(), number })))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn of(&self, address: IpAddr) -> usize {
        self.seats.values().filter(|seat| seat.address == address).count()
    }

    fn pages(&self, of: impl Fn(IpAddr) -> bool) -> usize {
        self.seats.values().filter(|seat| seat.phase == Phase::Page && of(seat.address)).count()
    }

    /// Of some addresses, ends the connection that only its client holds up, and for longest.
    fn free(&mut self, of: impl Fn(IpAddr) -> bool) -> Option<()> {
        let idle = self.seats.iter().filter(|(_, seat)| seat.phase == Phase::Client && of(seat.address));
        let number = *idle.min_by_key(|(_, seat)| seat.since)?.0;
        if let Some(task) = self.seats.remove(&number).and_then(|seat| seat.task) {
            task.abort();
        }
        Some(())
    }

    /// The same of the address that has the most connections, if it has one to give.
    fn free_of_the_most(&mut self) -> Option<()> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.seats.values() {
            *counts.entry(seat.address).or_default() += 1;
        }
        let idle =
            |address: &IpAddr| self.seats.values().any(|seat| seat.phase == Phase::Client && seat.address == *address);
        let most = counts.iter().filter(|(address, _)| idle(address)).max_by_key(|(_, count)| **count);
        let most = *most?.0;
        self.free(|address| address == most)
    }
}

impl Place {
    /// Sets the task that ends when the place is given to another client.
    pub(super) fn held_by(number: u64, seats: &Seats, task: AbortHandle) {
        if let Some(seat) = seats.lock().seats.get_mut(&number) {
            seat.task = Some(task);
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether the host may answer its request now.
    fn begin(&self, phase: Phase) -> bool {
        let mut taken = self.0.seats.lock();
        let Some(address) = taken.seats.get(&self.0.number).map(|seat| seat.address) else { return true };
        let crowded = taken.pages(|of| of == address) >= PAGES_OF_ONE || taken.pages(|_| true) >= PAGES;
        if phase == Phase::Page && crowded {
            return false;
        }
        if let Some(seat) = taken.seats.get_mut(&self.0.number) {
            seat.phase = phase;
        }
        true
    }

    fn end(&self) {
        let mut taken = self.0.seats.lock();
        let since = taken.count();
        if let Some(seat) = taken.seats.get_mut(&self.0.number) {
            // An answer that took long to make has as much time to be sent as any other.
            (seat.phase, seat.since) = (Phase::Client, since);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.seats.lock().seats.remove(&self.number);
    }
}

/// Notes which connections the host works for, and refuses pages when there are too many at once.
pub(super) async fn seated(place: Extension<Place>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let urgent = matches!(path, "/healthz" | "/readyz") || path.starts_with("/api/v1/gates/");
    if !place.begin(if urgent { Phase::Urgent } else { Phase::Page }) {
        let text = "too many requests at once; try again";
        return ([(header::RETRY_AFTER, "1")], refused(StatusCode::SERVICE_UNAVAILABLE, text)).into_response();
    }
    let answer = next.run(request).await;
    place.end();
    answer
}

/// The network of one client: an IPv6 client has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn counted(seats: &Seats, of: u8) -> (usize, usize, usize) {
        let taken = seats.lock();
        (taken.of(address(of)), taken.pages(|_| true), taken.seats.len())
    }

    fn is_there(place: &Place) -> bool {
        place.0.seats.lock().seats.contains_key(&place.0.number)
    }

    #[test]
    fn one_address_loses_its_own_oldest_idle_place() {
        let seats = Seats::default();
        let other = seats.take(address(2)).expect("a place");
        let places: Vec<Place> = (0..OF_ONE).map(|_| seats.take(address(1)).expect("a place")).collect();
        assert!(places[0].begin(Phase::Page));
        let late = seats.take(address(1)).expect("a place");
        let there: Vec<bool> = [&places[0], &places[1], &places[2], &other, &late].map(is_there).to_vec();
        assert_eq!(there, [true, false, true, true, true]);
        assert_eq!(counted(&seats, 1), (OF_ONE, 1, OF_ONE + 1));
        drop(places);
        assert_eq!(counted(&seats, 1), (1, 0, 2), "ended connections free theirs");
    }

    #[test]
    fn an_answer_that_is_ready_does_not_lose_its_place_to_the_next_client() {
        let seats = Seats::default();
        let places: Vec<Place> = (0..OF_ONE).map(|_| seats.take(address(1)).expect("a place")).collect();
        assert!(places[0].begin(Phase::Page));
        places[0].end();
        let _late = seats.take(address(1)).expect("a place");
        assert_eq!([&places[0], &places[1]].map(is_there), [true, false]);
    }

    #[test]
    fn probes_and_gates_have_room_beside_pages_and_idle_clients() {
        let seats = Seats::default();
        // Four addresses take everything, with as many pages as they may.
        let mut places = Vec::new();
        for at in 0..ALL {
            let place = seats.take(address(u8::try_from(at % 4).expect("small"))).expect("a place");
            place.begin(Phase::Page);
            places.push(place);
        }
        assert_eq!(counted(&seats, 0), (OF_ONE, PAGES, ALL));
        for at in [0, 9] {
            let place = seats.take(address(at)).expect("a place");
            assert!(place.begin(Phase::Urgent), "{at}");
            assert!(!place.begin(Phase::Page), "{at}");
            place.end();
            places.push(place);
        }
        // Nobody's work is cut short for a newcomer.
        for place in &places {
            place.begin(Phase::Urgent);
        }
        assert!(seats.take(address(0)).is_none() && seats.take(address(9)).is_none());
    }

    #[test]
    fn the_address_with_the_most_connections_makes_room() {
        let seats = Seats::default();
        let few = seats.take(address(200)).expect("a place");
        let many: Vec<Place> = (0..ALL - 1)
            .map(|at| seats.take(address(u8::try_from(at / OF_ONE).expect("small"))).expect("a place"))
            .collect();
        let _late = seats.take(address(201)).expect("a place");
        assert!(is_there(&few));
        assert_eq!(many.iter().filter(|place| !is_there(place)).count(), 1);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:10.0.0.1"), address(1));
    }
}
