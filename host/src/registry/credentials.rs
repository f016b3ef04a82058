//! Who the host is to a registry: what Docker's configuration has, be it in the file or with a helper.

use std::path::PathBuf;

use anyhow::{Result, bail};
use docker_credential::{CredentialRetrievalError as Problem, DockerCredential, get_credential};
use oci_client::secrets::RegistryAuth;

/// Under which name Docker keeps those of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Nobody, when nothing is configured for it.
pub(super) fn of(registry: &str) -> Result<RegistryAuth> {
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    match get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => bail!(
            "{registry}: Docker's configuration has an identity token for it, which this host cannot use; log in with a password or an access token"
        ),
        Err(Problem::ConfigNotFound | Problem::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // No such file, or one that cannot be read.
        Err(Problem::ConfigReadError) if !configured() => Ok(RegistryAuth::Anonymous),
        // What a helper printed may be a secret.
        Err(Problem::HelperFailure { helper, .. }) => {
            bail!("{registry}: the credential helper {helper} failed; try `docker login {registry}`")
        }
        Err(problem) => bail!(
            "{registry}: the credentials in Docker's configuration cannot be used: {problem}; `docker login {registry}` writes them anew"
        ),
    }
}

/// Whether Docker's configuration has something for a registry.
pub fn is_known_to(registry: &str) -> Result<bool> {
    Ok(!matches!(of(registry)?, RegistryAuth::Anonymous))
}

/// Whether there is a configuration of Docker's: <https://docs.docker.com/reference/cli/docker/#environment-variables>
fn configured() -> bool {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    directory.is_some_and(|directory| directory.join("config.json").exists())
}
