//! A proxy in front of a server, which delays, cuts and loses answers.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

/// A proxy in front of a server.
pub struct Between {
    /// Where it listens.
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Nothing passes, and no connection is closed: a cable that was pulled.
    is_cut: AtomicBool,
    /// Answers take this much longer, in milliseconds.
    delay: AtomicUsize,
    /// Connections before this number are lost: what they send arrives nowhere, and nobody says so.
    lost_before: AtomicUsize,
    /// How many connections there were.
    connections: AtomicUsize,
    /// Where the server listens.
    server: AtomicU16,
    /// The next commit of a transaction with this statement in it is not answered: the connection is closed.
    lose: Mutex<Option<String>>,
    /// How many answers were lost.
    lost: AtomicUsize,
}

impl Between {
    /// Starts one in front of a port.
    pub fn start(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State { server: AtomicU16::new(server), ..State::default() });
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = shared.server.load(Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { continue };
                let broken = Arc::new(AtomicBool::new(false));
                let (one, other, state) = (broken.clone(), broken, shared.clone());
                let state_back = state.clone();
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || pass(from_client, server, &state, &one, (number, true)));
                std::thread::spawn(move || pass(from_server, client, &state_back, &other, (number, false)));
            }
        });
        Ok(Self { port, state })
    }

    /// Pulls the cable, or puts it back.
    pub fn cut(&self, is_cut: bool) {
        self.state.is_cut.store(is_cut, Ordering::SeqCst);
    }

    /// Loses all connections without a word, as when a machine between is replaced; new ones work.
    pub fn lose_connections(&self) {
        self.state.lost_before.store(self.state.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Leads new connections to another server.
    pub fn lead_to(&self, server: u16) {
        self.state.server.store(server, Ordering::SeqCst);
    }

    /// Delays each answer.
    pub fn delay(&self, by: Duration) {
        self.state.delay.store(by.as_millis().try_into().unwrap_or(usize::MAX), Ordering::SeqCst);
    }

    /// Loses the answer to the next commit of a transaction that has this in it: the server commits, and the connection breaks.
    pub fn lose_commit_of(&self, statement: &str) {
        *self.state.lose.lock().unwrap_or_else(PoisonError::into_inner) = Some(statement.to_owned());
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    state: &State,
    broken: &AtomicBool,
    (number, is_asking): (usize, bool),
) {
    let mut part = [0; 1 << 14];
    let _ = from.set_read_timeout(Some(Duration::from_millis(20)));
    let mut ends = None;
    // Whether the transaction under way is the one whose commit is lost.
    let mut is_meant = false;
    loop {
        let read = match from.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if ends.is_some_and(|ends| Instant::now() > ends) || broken.load(Ordering::SeqCst) && !is_asking {
                    break;
                }
                continue;
            }
            Err(_) => break,
        };
        while state.is_cut.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if number < state.lost_before.load(Ordering::SeqCst) {
            continue;
        }
        let bytes = &part[..read];
        if is_asking {
            let mut lose = state.lose.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = String::from_utf8_lossy(bytes);
            is_meant |= lose.as_ref().is_some_and(|wanted| asked.contains(wanted.as_str()));
            if is_meant && asked.contains("COMMIT") {
                (*lose, is_meant) = (None, false);
                // The server does it; the client will not hear of it.
                broken.store(true, Ordering::SeqCst);
                ends = Some(Instant::now() + Duration::from_millis(300));
                state.lost.fetch_add(1, Ordering::SeqCst);
            }
        } else {
            if broken.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(Duration::from_millis(state.delay.load(Ordering::SeqCst) as u64));
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
