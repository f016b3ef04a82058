//! A pooler in front of a Postgres server that gives each transaction to another connection, as PgBouncer does in its transaction
//! mode. What belongs to a session, such as a prepared statement, is not there for the next transaction.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, bail};

/// Connections to the server.
const CONNECTIONS: usize = 3;
/// How a client asks for TLS: <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const TLS: [u8; 4] = 80_877_103_u32.to_be_bytes();

/// A running pooler.
pub struct Pooler {
    /// Where it listens.
    pub port: u16,
    transactions: Arc<AtomicUsize>,
}

struct Pool {
    free: Mutex<VecDeque<TcpStream>>,
    came_back: Condvar,
    /// What a server says to a client that it let in.
    welcome: Vec<u8>,
    transactions: Arc<AtomicUsize>,
}

impl Pooler {
    /// Starts one for a user and a database of a server that asks for no password.
    pub fn start(server: u16, user: &str, database: &str) -> Result<Self> {
        let (mut free, mut welcome) = (VecDeque::new(), Vec::new());
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(("127.0.0.1", server))?;
            let text = format!("user\0{user}\0database\0{database}\0\0");
            let length = u32::try_from(8 + text.len())?;
            stream.write_all(&[&length.to_be_bytes()[..], &(3_u32 << 16).to_be_bytes(), text.as_bytes()].concat())?;
            welcome.clear();
            loop {
                let (kind, message) = message(&mut stream)?;
                welcome.extend(&message);
                match kind {
                    b'Z' => break,
                    b'E' => bail!("the server refuses: {}", String::from_utf8_lossy(&message)),
                    _ => {}
                }
            }
            free.push_back(stream);
        }
        let transactions = Arc::new(AtomicUsize::new(0));
        let pool =
            Pool { free: Mutex::new(free), came_back: Condvar::new(), welcome, transactions: transactions.clone() };
        let (listener, pool) = (TcpListener::bind("127.0.0.1:0")?, Arc::new(pool));
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let pool = pool.clone();
                std::thread::spawn(move || {
                    let mut held = None;
                    // An end of either side ends the connection, and the transaction of a client that is gone.
                    let _ = serve(client, &pool, &mut held);
                    if let Some(mut server) = held
                        && roll_back(&mut server).is_ok()
                    {
                        pool.give_back(server);
                    }
                });
            }
        });
        Ok(Self { port, transactions })
    }

    /// How many transactions it handed out.
    pub fn transactions(&self) -> usize {
        self.transactions.load(Ordering::SeqCst)
    }
}

fn serve(mut client: TcpStream, pool: &Pool, held: &mut Option<TcpStream>) -> Result<()> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut rest = vec![0; (u32::from_be_bytes(length) as usize).checked_sub(4).context("no length")?];
        client.read_exact(&mut rest)?;
        if !rest.starts_with(&TLS) {
            break;
        }
        client.write_all(b"N")?;
    }
    client.write_all(&pool.welcome)?;
    let mut asked = Vec::new();
    loop {
        let (kind, next) = message(&mut client)?;
        if kind == b'X' {
            return Ok(());
        }
        asked.extend(next);
        // Nothing is answered before one of the two: a query, or the end of a group of messages.
        if !matches!(kind, b'Q' | b'S') {
            assert_ne!(kind, b'H', "a flush needs an answer at once");
            continue;
        }
        let server = held.get_or_insert_with(|| pool.take());
        server.write_all(&std::mem::take(&mut asked))?;
        // Also for a client that is gone, so that the next one gets its own answers.
        let mut passed = Ok(());
        loop {
            let (kind, answer) = message(server)?;
            passed = passed.and_then(|()| client.write_all(&answer));
            match (kind, answer.last()) {
                (b'Z', Some(b'I')) => {
                    if let Some(server) = held.take() {
                        pool.give_back(server);
                    }
                    break;
                }
                (b'Z', _) => break,
                _ => {}
            }
        }
        passed?;
    }
}

/// Ends the transaction of a client that is gone.
fn roll_back(server: &mut TcpStream) -> Result<()> {
    let text = b"ROLLBACK\0";
    server.write_all(&[b"Q", &u32::try_from(4 + text.len())?.to_be_bytes()[..], text].concat())?;
    while message(server)?.0 != b'Z' {}
    Ok(())
}

impl Pool {
    fn take(&self) -> TcpStream {
        self.transactions.fetch_add(1, Ordering::SeqCst);
        let free = self.free.lock().unwrap();
        let mut free = self.came_back.wait_while(free, |free| free.is_empty()).unwrap();
        free.pop_front().unwrap()
    }

    fn give_back(&self, server: TcpStream) {
        self.free.lock().unwrap().push_back(server);
        self.came_back.notify_one();
    }
}

/// The kind of the next message, and all of it.
fn message(from: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut whole = vec![0; 5];
    from.read_exact(&mut whole)?;
    let length = u32::from_be_bytes([whole[1], whole[2], whole[3], whole[4]]) as usize;
    whole.resize(1 + length, 0);
    from.read_exact(&mut whole[5..])?;
    Ok((whole[0], whole))
}
