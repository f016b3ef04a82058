//! Signatures: an ed25519 signature over a plugin's name, version and digest, in a file beside the plugin,
//! `NAME.wasm.sig`.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use host_text::{
    hex::{hex, unhex},
    quoted_path,
};
use jiff::civil::Date;
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

use super::{
    digest::Digest,
    file::File,
    key::PublicKey,
    trust::{Keys, Standing, today},
};

/// The beginning of a private key's file; 64 hexadecimal digits follow.
const PRIVATE: &str = "ed25519-private:";

/// A private key, with which a team signs.
pub struct PrivateKey(Ed25519KeyPair);

/// One of the signatures in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    key: PublicKey,
    /// `NAME@VERSION`
    plugin: String,
    digest: Digest,
    /// In hexadecimal digits.
    signature: String,
}

impl Signature {
    /// Why it does not sign `NAME@VERSION` and these bytes, if so.
    fn flaw(&self, plugin: &str, digest: Digest) -> Option<String> {
        let matches = |signature| signed(self.key, &message(plugin, digest), &signature);
        if self.plugin != plugin {
            Some(format!("the signature is for {}", self.plugin))
        } else if self.digest != digest {
            Some(format!("the signature is for {}, but the file is {digest}", self.digest))
        } else if !unhex::<64>(&self.signature).is_some_and(matches) {
            Some(format!("the signature does not match {}", self.key))
        } else {
            None
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signatures {
    signatures: Vec<Signature>,
}

/// Whether the key's owner signed the message.
fn signed(key: PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.0).verify(message, signature).is_ok()
}

/// The message that is signed.
fn message(plugin: &str, digest: Digest) -> Vec<u8> {
    format!("pipeline:check plugin signature v1\n{plugin}\n{digest}\n").into_bytes()
}

/// The path of a component's signature file.
pub fn beside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The text of the signature file beside a component; `None` if there is no such file.
pub fn read_signatures(path: &Path) -> Result<Option<Vec<u8>>> {
    let path = beside(path);
    match fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

/// Adds the signatures of one file to those of another; `None` if it has no others.
pub fn merge_signatures(there: &[u8], added: &[u8]) -> Result<Option<Vec<u8>>> {
    let read = |text: &[u8]| serde_json::from_slice::<Signatures>(text).context("this is not a signature file");
    let (mut all, added) = (read(there)?, read(added)?);
    let before = all.signatures.len();
    for signature in added.signatures {
        if !all.signatures.contains(&signature) {
            all.signatures.push(signature);
        }
    }
    if all.signatures.len() == before {
        return Ok(None);
    }
    Ok(Some((serde_json::to_string_pretty(&all)? + "\n").into_bytes()))
}

/// The keys that have signed a file's name, version and bytes, trusted or not. Rejects a file that no key that is valid
/// today has signed, and says what was expected. Without keys every file is accepted, also if its signatures cannot be
/// read.
pub fn signers(file: &File, keys: &Keys) -> Result<Vec<PublicKey>> {
    let path = beside(&file.path);
    let signatures = match read_signatures(&file.path) {
        Err(_) if keys.is_empty() => None,
        read => read?,
    };
    if !keys.is_empty() {
        let sign = format!("whoever has the key signs it with `host sign {}`", quoted_path(&file.path));
        let absent = format!("there is no {}", path.display());
        let told = Told { shown: path.display().to_string(), absent, sign };
        verify_on(file, signatures.as_deref(), keys, &told, today())?;
    }
    let read = signatures.and_then(|text| serde_json::from_slice::<Signatures>(&text).ok());
    let plugin = format!("{}@{}", file.name, file.version);
    let all = read.unwrap_or_default().signatures;
    Ok(all.iter().filter(|one| one.flaw(&plugin, file.digest).is_none()).map(|one| one.key).collect())
}

/// The same for a fetched file, which is not yet where its signatures would be looked for.
pub(super) fn verify_fetched(file: &File, signatures: Option<&[u8]>, keys: &Keys) -> Result<()> {
    let told = Told {
        shown: "its published signatures".to_owned(),
        absent: "the registry has no signature of it".to_owned(),
        sign: "sign it, and push it again".to_owned(),
    };
    verify_on(file, signatures, keys, &told, today())
}

/// How an error names the signatures.
struct Told {
    shown: String,
    /// What is wrong if there are none.
    absent: String,
    /// What to do then.
    sign: String,
}

fn verify_on(file: &File, signatures: Option<&[u8]>, keys: &Keys, told: &Told, today: Date) -> Result<()> {
    let Told { shown, absent, sign } = told;
    let plugin = format!("{}@{}", file.name, file.version);
    let valid = keys.valid(today).iter().map(PublicKey::to_string).collect::<Vec<_>>().join(", ");
    let wanted = match valid.as_str() {
        "" => "no key of trust.keys in host.toml is valid today".to_owned(),
        valid => format!("trust.keys in host.toml requires a signature by {valid}"),
    };
    let Some(text) = signatures else { bail!("{plugin} is not signed: {absent}; {wanted}; {sign}") };
    let found: Signatures = serde_json::from_slice(text)
        .with_context(|| format!("{plugin} is not signed: {shown} is not a signature file; {wanted}"))?;
    let mut problems = Vec::new();
    for signature in &found.signatures {
        let (key, standing) = (signature.key, keys.standing(&signature.key, today));
        let problem = match standing {
            Standing::Valid => signature.flaw(&plugin, file.digest),
            _ => Some(format!("it is signed by {key}, which is {standing}")),
        };
        match problem {
            Some(problem) => problems.push(problem),
            None => return Ok(()),
        }
    }
    if problems.is_empty() {
        problems.push("it has no signature".to_owned());
    }
    bail!("{plugin} is refused: {} ({shown}); {wanted}", problems.join("; "))
}

impl PrivateKey {
    /// Makes a key and writes it to a file that only its user can read. An existing file is not overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| anyhow::anyhow!("the system has no random numbers"))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("{}: not written", path.display()))?;
        writeln!(file, "{PRIVATE}{}", hex(&seed))?;
        file.sync_all()?;
        Self::new(&seed)
    }

    /// Reads a key's file; an error if other users can read it.
    pub fn read(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).with_context(|| {
            format!("{}: cannot be read; make a key with `host keygen {}`", path.display(), quoted_path(path))
        })?;
        if metadata.permissions().mode() & 0o077 != 0 {
            bail!("{}: others can read this key; run `chmod 600 {}`", path.display(), quoted_path(path));
        }
        let text = fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let seed = text.trim().strip_prefix(PRIVATE).and_then(unhex);
        let advice = "`host keygen --help` shows how to make one";
        Self::new(&seed.with_context(|| format!("{}: not a private key; {advice}", path.display()))?)
    }

    fn new(seed: &[u8; 32]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| anyhow::anyhow!("the key cannot be used"))?;
        Ok(Self(pair))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }

    /// Signs a file: writes the signature beside it, replacing an older one by the same key. Returns the signature's
    /// path.
    pub fn sign(&self, file: &File) -> Result<PathBuf> {
        let path = beside(&file.path);
        let mut all: Signatures = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{}: not a signature file; remove it", path.display()))?,
            Err(_) => Signatures::default(),
        };
        let key = self.public();
        all.signatures.retain(|signature| signature.key != key);
        let plugin = format!("{}@{}", file.name, file.version);
        let signature = hex(self.0.sign(&message(&plugin, file.digest)).as_ref());
        all.signatures.push(Signature { key, plugin, digest: file.digest, signature });
        let text = serde_json::to_string_pretty(&all)? + "\n";
        fs::write(&path, text).with_context(|| format!("{}: not written", path.display()))?;
        Ok(path)
    }
}
