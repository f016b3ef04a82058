//! A stand-in for Slack: it answers as told, and keeps the messages. `workspace` is its Web API.

mod workspace;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use workspace::Workspace;
pub use workspace::{Post, TOKEN};

/// The reply to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A status, further headers, a body.
    Answer(u16, &'static str, &'static str),
    /// `ok`, after a while.
    Slow(Duration),
    /// A status and a body, after a while.
    Late(Duration, u16, &'static str),
    /// Nothing, and the connection stays open.
    Hang,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// The answer ends before its length.
    Truncated,
    /// The request is not even read.
    Unread,
}

/// Slack's answer to an accepted message.
pub const OK: Reply = Reply::Answer(200, "", "ok");

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Request {
    /// The last part of the webhook, or the name of the channel that the bot posts to.
    pub channel: String,
    /// The method of the Web API; empty for a webhook.
    pub method: String,
    /// The bot's token.
    pub token: String,
    /// The message's id.
    pub id: String,
    /// The message.
    pub message: Value,
    /// The reply.
    pub reply: Reply,
    /// When it was read.
    pub at: Instant,
}

/// Accepts posted messages.
pub struct SlackDouble {
    port: u16,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    received: Vec<Request>,
    /// Replies to the next requests, before the usual one.
    next: Vec<Reply>,
    usual: Option<Reply>,
    /// Replies to the next requests of a method, before any other.
    methods: BTreeMap<String, Vec<Reply>>,
    workspace: Workspace,
    connections: usize,
}

/// The words of a message, as a reader sees them, without their layout.
pub fn words(message: &Value) -> String {
    let mut texts = Vec::new();
    for block in message["blocks"].as_array().into_iter().flatten() {
        let fields = [&block["fields"], &block["elements"]].into_iter().filter_map(Value::as_array).flatten();
        let all = std::iter::once(&block["text"]).chain(fields);
        texts.extend(all.filter_map(|text| text["text"].as_str()));
    }
    let plain: String = texts.join(" ").chars().filter(|character| !matches!(character, '*' | '`')).collect();
    let plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl SlackDouble {
    /// On a free port of this machine.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let desk = Arc::<Desk>::default();
        let shared = desk.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let desk = shared.clone();
                std::thread::spawn(move || desk.serve(stream));
            }
        });
        Ok(Self { port, desk })
    }

    /// The webhook of a channel.
    pub fn webhook(&self, channel: &str) -> String {
        format!("http://127.0.0.1:{}/services/T000/B000/{channel}", self.port)
    }

    /// The address of the Web API.
    pub fn api(&self) -> String {
        format!("http://127.0.0.1:{}/api", self.port)
    }

    /// Answers the next requests of a method with these, in order; later ones as usual.
    pub fn answer_method(&self, method: &str, replies: &[Reply]) {
        self.desk.lock().methods.insert(method.to_owned(), replies.iter().rev().copied().collect());
    }

    /// The messages of the bot, in order.
    pub fn posts(&self) -> Vec<Post> {
        self.desk.lock().workspace.posts.clone()
    }

    /// Changes the workspace.
    pub fn workspace(&self, change: impl FnOnce(&mut Workspace)) {
        change(&mut self.desk.lock().workspace);
    }

    /// Answers everything with this from now on.
    pub fn answer(&self, reply: Reply) {
        let mut state = self.desk.lock();
        state.next.clear();
        state.usual = Some(reply);
    }

    /// Answers the next requests with these, in order; later ones are accepted.
    pub fn answer_next(&self, replies: &[Reply]) {
        let mut state = self.desk.lock();
        state.next = replies.iter().rev().copied().collect();
        state.usual = None;
    }

    /// The messages that arrived, each with its channel (the last part of the webhook). Sorted by channel.
    pub fn received(&self) -> Vec<(String, Value)> {
        let mut received: Vec<(String, Value)> =
            self.requests().into_iter().map(|request| (request.channel, request.message)).collect();
        received.sort_by(|(a, _), (b, _)| a.cmp(b));
        received
    }

    /// The requests, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.desk.lock().received.clone()
    }

    /// Forgets the requests.
    pub fn clear(&self) {
        let mut state = self.desk.lock();
        state.received.clear();
        state.connections = 0;
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.desk.lock().connections
    }

    /// Waits until a number of requests were read.
    pub fn wait_for(&self, requests: usize) -> Result<()> {
        self.desk.wait(|state| state.received.len() >= requests)
    }

    /// Waits until a number of connections were made.
    pub fn wait_for_connections(&self, connections: usize) -> Result<()> {
        self.desk.wait(|state| state.connections >= connections)
    }
}

impl Desk {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, done: impl Fn(&State) -> bool) -> Result<()> {
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(self.lock(), Duration::from_secs(90), |state| !done(state))
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!timeout.timed_out(), "Slack was not asked");
        Ok(())
    }

    fn serve(&self, stream: TcpStream) {
        let reply = {
            let mut state = self.lock();
            state.connections += 1;
            let usual = state.usual.unwrap_or(OK);
            state.next.pop().unwrap_or(usual)
        };
        self.changed.notify_all();
        if reply == Reply::Unread {
            return hold(stream);
        }
        // A client that hangs up in the middle has sent no request.
        let Ok((stream, mut request)) = read(stream) else { return };
        let (reply, answer) = {
            let mut state = self.lock();
            let own = state.methods.get_mut(&request.method).and_then(Vec::pop);
            let reply = own.unwrap_or(reply);
            request.reply = reply;
            let answer = match reply {
                Reply::Answer(200, "", "ok") | Reply::Slow(_) | Reply::Reset | Reply::Truncated => {
                    state.workspace.answer(&mut request)
                }
                _ => None,
            };
            state.received.push(request);
            (reply, answer)
        };
        self.changed.notify_all();
        let _ = respond(stream, reply, answer.as_ref());
    }
}

/// Until the other side is gone.
fn hold(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).is_ok_and(|read| read > 0) {}
}

fn read(stream: TcpStream) -> Result<(TcpStream, Request)> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut id, mut token) = (0, String::new(), String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let (name, value) = header.split_once(':').unwrap_or(("", ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "idempotency-key" => id = value.trim().to_owned(),
            "authorization" => token = value.trim().trim_start_matches("Bearer ").to_owned(),
            _ if header.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let (channel, method) = if path.starts_with("/api/") { (String::new(), last) } else { (last, String::new()) };
    let message = serde_json::from_slice(&body)?;
    Ok((stream, Request { channel, method, token, id, message, reply: OK, at: Instant::now() }))
}

/// `answer` is that of the Web API, if it is one.
fn respond(mut stream: TcpStream, reply: Reply, answer: Option<&(String, String)>) -> Result<()> {
    let (headers, taken) = answer.map_or(("", "ok"), |(headers, body)| (headers.as_str(), body.as_str()));
    match reply {
        Reply::Answer(200, "", "ok") => write_answer(&mut stream, 200, headers, taken),
        Reply::Answer(status, headers, body) => write_answer(&mut stream, status, headers, body),
        Reply::Slow(wait) => {
            std::thread::sleep(wait);
            write_answer(&mut stream, 200, headers, taken)
        }
        Reply::Late(wait, status, body) => {
            std::thread::sleep(wait);
            write_answer(&mut stream, status, "", body)
        }
        Reply::Hang | Reply::Unread => {
            hold(stream);
            Ok(())
        }
        Reply::Truncated => Ok(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")?),
        Reply::Reset => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?;
            // Closing with a linger time of zero sends a reset instead of an end.
            Ok(rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?)
        }
    }
}

fn write_answer(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> Result<()> {
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    Ok(stream.write_all(answer.as_bytes())?)
}
