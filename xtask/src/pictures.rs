//! The README's pictures: a Slack message and the page, drawn from what the host prints and serves for the sample
//! pipeline. Everything has fixed times, so the same code gives the same files.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{
    build::{HOST, SAMPLE, built, plugins},
    run::{Result, cargo, root, run, step, target},
    tools,
};

/// The rounds of the pictures; the sample's data is that of the day before.
const ROUNDS: [&str; 3] = ["2026-02-06T10:30:00Z", "2026-02-06T11:00:00Z", "2026-02-06T11:30:00Z"];
const FAULT: &str = "null-names";
/// What is added to the sample's host.toml: the page, and nothing that happens by itself.
const SERVICE: &str =
    "\n[web]\nlisten = \"127.0.0.1:0\"\nurl = \"https://host.example.com\"\n\n[scheduler]\nmissed = \"skip\"\n";

/// Width of both pictures, in pixels.
const WIDTH: usize = 960;
/// The page's height: the checks that are not well, and some of the others.
const PAGE_HEIGHT: usize = 660;

/// Writes `docs/pictures/slack.svg` and `docs/pictures/page.svg`.
pub(super) fn pictures() -> Result<()> {
    tools::prerequisites()?;
    step("building the sample, the host and the plugins");
    cargo(&SAMPLE)?;
    cargo(&HOST)?;
    plugins()?;

    step("running the sample pipeline");
    let pipeline = target().join("pictures").join("pipeline");
    // A record that is there already would know the messages.
    if pipeline.exists() {
        fs::remove_dir_all(&pipeline).map_err(|error| format!("{}: {error}", pipeline.display()))?;
    }
    let [first, .., last] = ROUNDS;
    run(Command::new(binary("sample")).arg(&pipeline).args(["--fault", FAULT, "--at", last]))?;
    let toml = pipeline.join("host.toml");
    let text = read(&toml)?.replace("keep = \"90d\"", "keep = \"36500d\"");
    write(&toml, &format!("validate_schedule = \"never\"\n{text}{SERVICE}"))?;
    let mut message = String::new();
    for at in ROUNDS {
        let printed = host(&toml)?.args(["--once", "--at", at]).output().map_err(|error| error.to_string())?;
        if at == first {
            message = message_in(&String::from_utf8_lossy(&printed.stderr))?;
        }
    }
    let directory = root().join("docs").join("pictures");
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    write(&directory.join("slack.svg"), &slack(&message))?;
    write(&directory.join("page.svg"), &page(&toml)?)
}

fn binary(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// `host run` on every plugin, where host.toml is: the commands in a message name no other configuration.
fn host(toml: &Path) -> Result<Command> {
    let mut command = Command::new(binary("host"));
    let directory = toml.parent().ok_or_else(|| format!("{}: no directory", toml.display()))?;
    command.current_dir(directory).arg("run").args(built()?.iter().map(|file| root().join(file)));
    Ok(command)
}

/// The first message that the host prints: its channel, then its lines.
fn message_in(printed: &str) -> Result<String> {
    let frame = printed.split("┌─ ").nth(1).and_then(|rest| rest.split("└─").next());
    let frame = frame.ok_or_else(|| format!("the host printed no message: {printed}"))?;
    let lines =
        frame.lines().map(|line| line.strip_prefix('│').map_or(line, |rest| rest.strip_prefix(' ').unwrap_or(rest)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// A message as Slack shows it: the headline and titles bold, commands in boxes.
fn slack(message: &str) -> String {
    let (channel, lines) = message.split_once('\n').unwrap_or((message, ""));
    let mut body = String::new();
    let mut y = 64;
    for (at, line) in lines.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let is_title = at == 0 || indent == 0 && line.ends_with([':', ')']);
        let (class, left, longest, height) = match indent {
            _ if is_title => ("title", 44, 110, 22),
            4.. => ("code", 76, 112, 18),
            _ => ("text", 44 + indent * 8, 116, 21),
        };
        if line.is_empty() {
            y += 12;
            continue;
        }
        let parts = wrapped(line.trim_start(), longest);
        if class == "code" {
            let (top, tall, wide) = (y - 15, parts.len() * height + 6, WIDTH - 100);
            let _ = writeln!(body, r#"<rect x="68" y="{top}" width="{wide}" height="{tall}" class="box"/>"#);
        }
        for part in parts {
            let _ = writeln!(body, r#"<text x="{left}" y="{y}" class="{class}">{}</text>"#, escaped(&part));
            y += height;
        }
        if class == "code" {
            y += 10;
        }
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">
<style>
text {{ font: 15px "Helvetica Neue", Arial, sans-serif; fill: #1d1c1d; white-space: pre; }}
.title {{ font-weight: 700; }}
.code {{ font: 12.5px "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1d1c1d; }}
.box {{ fill: #f4f4f4; }}
.channel {{ font-weight: 700; fill: #616061; }}
</style>
<rect x="0.5" y="0.5" width="{}" height="{}" rx="8" fill="#ffffff" stroke="#d4d9df"/>
<rect x="24" y="46" width="4" height="{}" rx="2" fill="#b3261e"/>
<text x="24" y="30" class="channel">{}</text>
{body}</svg>
"##,
        WIDTH - 1,
        y + 5,
        y - 60,
        escaped(channel),
        height = y + 6,
    )
}

/// A line in parts of at most so many characters, split at spaces where there are any.
fn wrapped(line: &str, longest: usize) -> Vec<String> {
    let mut parts = vec![];
    let mut part = String::new();
    for word in line.split_inclusive(' ') {
        if !part.is_empty() && part.chars().count() + word.trim_end().chars().count() > longest {
            parts.push(std::mem::take(&mut part).trim_end().to_owned());
        }
        part += word;
    }
    parts.push(part);
    parts
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The list of checks of a running host, with its own style, in an SVG file.
fn page(toml: &Path) -> Result<String> {
    let (service, address) = started(host(toml)?)?;
    let answers = get(&address, "/checks").and_then(|html| Ok((html, get(&address, "/style.css")?)));
    ended(service);
    let (html, style) = answers?;
    let body = html.split("<body>").nth(1).and_then(|rest| rest.split("</body>").next());
    let body = body.ok_or_else(|| format!("{address} did not answer with a page: {html}"))?;
    // What depends on the time of this very look would differ each time: its own time, how long each result has lasted, and
    // the next runs.
    let body = body.split("<footer>").next().unwrap_or_default();
    let body = replaced(body, "next <time", "</time> · ", "");
    let body = replaced(&body, "</time>, ", " · ", "</time> · ");
    let body = xml(&body);
    well_formed(&body)?;
    let style = style.replace("\nhtml {", "\n.page {").replace("\nbody {", "\n.page {");
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{PAGE_HEIGHT}" viewBox="0 0 {WIDTH} {PAGE_HEIGHT}">
<style><![CDATA[
{style}
.check {{ content-visibility: visible; }}
.page {{ min-height: {PAGE_HEIGHT}px; border: 1px solid var(--edge); }}
]]></style>
<foreignObject width="{WIDTH}" height="{PAGE_HEIGHT}">
<div xmlns="http://www.w3.org/1999/xhtml" class="page">{}</div>
</foreignObject>
</svg>
"#,
        body
    ))
}

/// A host that keeps running, and the address of its page.
fn started(mut command: Command) -> Result<(Child, String)> {
    let mut service = command.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let told = service.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    for line in told.map_while(std::result::Result::ok) {
        if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
            let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
            return Ok((service, format!("127.0.0.1:{port}")));
        }
    }
    ended(service);
    Err("the host did not say where its page is".to_owned())
}

fn ended(mut service: Child) {
    let _ = service.kill();
    let _ = service.wait();
}

/// What is at a path; HTTP/1.0, so that the answer ends with the connection.
fn get(address: &str, path: &str) -> Result<String> {
    let failed = |error: std::io::Error| format!("http://{address}{path}: {error}");
    let mut connection = TcpStream::connect(address).map_err(failed)?;
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).map_err(failed)?;
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .ok_or_else(|| format!("http://{address}{path}: {answer}"))
}

/// The text with `new` instead of each part from `begin` to `end`, unless a tag is between them.
fn replaced(text: &str, begin: &str, end: &str, new: &str) -> String {
    let mut parts = text.split(begin);
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(end).filter(|(between, _)| !between.contains('<')) {
            Some((_, rest)) => kept = kept + new + rest,
            None => kept = kept + begin + part,
        }
    }
    kept
}

/// That each element which is opened is closed: a browser shows no drawing that is not XML.
fn well_formed(xml: &str) -> Result<()> {
    let mut open = Vec::new();
    for part in xml.split('<').skip(1) {
        let name: String = part.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        let tag = part.split_once('>').map_or(part, |(tag, _)| tag);
        match (part.starts_with('/'), tag.ends_with('/') || name.is_empty()) {
            (_, true) => {}
            (false, _) => open.push(name),
            (true, _) if open.last() == Some(&name) => drop(open.pop()),
            (true, _) => return Err(format!("</{name}> closes {:?}", open.last())),
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("never closed: {}", open.join(", "))) }
}

/// HTML as XML: elements without content are closed, drawings have their namespace.
fn xml(html: &str) -> String {
    let mut out = String::new();
    for (at, part) in html.split('<').enumerate() {
        if at == 0 {
            out += part;
            continue;
        }
        let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
        out.push('<');
        match part.split_once('>') {
            Some((tag, rest)) if ["input", "br", "hr", "img"].contains(&name.as_str()) => {
                let _ = write!(out, "{tag}/>{rest}");
            }
            _ if name == "svg" => out += &part.replacen("svg", "svg xmlns=\"http://www.w3.org/2000/svg\"", 1),
            _ => out += part,
        }
    }
    out
}
