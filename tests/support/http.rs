//! A small HTTP server on a free port of this machine: it passes each request to a function, and sends its reply.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

/// A request that was read.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the `?`.
    pub query: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// The reply.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status and a body.
    Answer(u16, String),
    /// The same with further headers, each ended by `\r\n`.
    With(u16, String, String),
    /// A status and a body, after a while.
    Late(Duration, u16, String),
    /// Nothing, and the connection stays open.
    Hang,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// The answer ends before its length.
    CutOff(String),
    /// Status 200 and this byte again and again, without end: as fast as it is read, or one after each pause.
    Endless(u8, Duration),
}

/// Where a server is.
#[derive(Debug, Clone, Copy)]
pub struct Address(u16);

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Reply {
    /// A JSON reply with status 200.
    pub fn ok(json: &Value) -> Self {
        Self::Answer(200, json.to_string())
    }
}

impl Address {
    /// `http://127.0.0.1:1234`
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.0)
    }

    /// `127.0.0.1:1234`
    pub fn host(self) -> String {
        format!("127.0.0.1:{}", self.0)
    }
}

/// Sends JSON to a port of this machine, and returns the body of the answer.
pub fn post(port: u16, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // HTTP/1.0: the answer ends with the connection.
    let head = format!(
        "POST {path} HTTP/1.0\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Serves until the process ends.
pub fn serve(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Result<Address> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                // Ignore clients that go away.
                let _ = converse(&stream, answer.as_ref());
            });
        }
    });
    Ok(Address(port))
}

fn converse(stream: &TcpStream, answer: &(dyn Fn(&Request) -> Reply + Sync)) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        match answer(&request) {
            Reply::Answer(status, body) => reply(&mut &*stream, status, "", &body)?,
            Reply::With(status, headers, body) => reply(&mut &*stream, status, &headers, &body)?,
            Reply::Late(wait, status, body) => {
                std::thread::sleep(wait);
                reply(&mut &*stream, status, "", &body)?;
            }
            Reply::Hang => {
                // Until the other side gives up.
                let _ = reader.read(&mut [0; 1]);
                return Ok(());
            }
            Reply::Reset => {
                (&mut &*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
                // Closing with a linger time of zero sends a reset instead of an end.
                return Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?);
            }
            Reply::Endless(byte, pause) => {
                let mut client = stream;
                client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")?;
                let part = if pause.is_zero() { vec![byte; 64 << 10] } else { vec![byte] };
                loop {
                    client.write_all(&part)?;
                    std::thread::sleep(pause);
                }
            }
            Reply::CutOff(body) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 1);
                (&mut &*stream).write_all((head + &body).as_bytes())?;
                stream.shutdown(std::net::Shutdown::Both)?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a request; `None` at the end of the connection.
pub fn read(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let (method, target) = words.next().zip(words.next()).context("a request line")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.split_once(':') {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.and_then(|(_, length)| length.parse().ok()).unwrap_or_default()];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::from_utf8(body)?,
    }))
}

/// Writes a reply.
pub fn reply(stream: &mut impl Write, status: u16, headers: &str, body: &str) -> Result<()> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Ok(stream.write_all((head + body).as_bytes())?)
}
