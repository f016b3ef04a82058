//! A proxy for HTTPS, as companies have: it takes `CONNECT`, and answers in the place of the servers behind it, with a
//! certificate for their names that openssl makes here.

use std::{
    io::{BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::super::http::{Reply, Request, read, reply};

/// The proxy.
pub struct Proxy {
    /// `http://127.0.0.1:1234`, for `HTTPS_PROXY`.
    pub url: String,
    /// The certificate to trust, for `SSL_CERT_FILE`.
    pub certificate: PathBuf,
}

/// Starts a proxy that answers for these names; `None` without openssl. It serves until the process ends.
pub fn proxy(
    directory: &Path,
    names: &[&str],
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Result<Option<Proxy>> {
    let (key, certificate) = (directory.join("proxy-key.pem"), directory.join("proxy.pem"));
    let alternatives: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=proxy", "-keyout"]);
    openssl.arg(&key).arg("-out").arg(&certificate);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext"]);
    let Ok(made) = openssl.arg(format!("subjectAltName={}", alternatives.join(","))).output() else {
        return Ok(None);
    };
    ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from_pem_file(&certificate)?], PrivateKeyDer::from_pem_file(&key)?)?;
    let (config, answer) = (Arc::new(config), Arc::new(answer));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, answer) = (config.clone(), answer.clone());
            std::thread::spawn(move || {
                // Ignore clients that go away.
                let _ = converse(stream, config, answer.as_ref());
            });
        }
    });
    Ok(Some(Proxy { url, certificate }))
}

fn converse(mut stream: TcpStream, config: Arc<ServerConfig>, answer: &dyn Fn(&Request) -> Reply) -> Result<()> {
    // Unbuffered, since TLS begins right behind the request.
    let connect = read(&mut BufReader::with_capacity(1, &stream))?.context("a request")?;
    ensure!(connect.method == "CONNECT", "{connect:?}");
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut inside = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    while let Some(request) = read(&mut inside)? {
        let Reply::Answer(status, body) = answer(&request) else { break };
        reply(inside.get_mut(), status, "", &body)?;
    }
    Ok(())
}
