//! Credentials for a registry, from Docker's configuration: from the file or from a helper.

use std::path::PathBuf;

use anyhow::{Result, bail};
use docker_credential::{CredentialRetrievalError as Problem, DockerCredential, get_credential};
use oci_client::secrets::RegistryAuth;

/// The name under which Docker keeps the credentials of its own registry.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The credentials of a registry; anonymous when none are configured.
pub(super) fn of(registry: &str) -> Result<RegistryAuth> {
    let server = if registry == "docker.io" { DOCKER_HUB } else { registry };
    match get_credential(server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(RegistryAuth::Basic(user, password)),
        Ok(DockerCredential::IdentityToken(_)) => bail!(
            "{registry}: the host cannot use the identity token in Docker's configuration; log in with a password or an access token"
        ),
        Err(Problem::ConfigNotFound | Problem::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        // The file does not exist, or cannot be read.
        Err(Problem::ConfigReadError) if !configured() => Ok(RegistryAuth::Anonymous),
        // The output of a helper may hold a secret.
        Err(Problem::HelperFailure { helper, .. }) => {
            bail!("{registry}: the credential helper {helper} failed; try `docker login {registry}`")
        }
        Err(problem) => bail!(
            "{registry}: the credentials in Docker's configuration cannot be used: {problem}; set them again with `docker login {registry}`"
        ),
    }
}

/// Whether Docker's configuration has credentials for a registry.
pub fn is_known_to(registry: &str) -> Result<bool> {
    Ok(!matches!(of(registry)?, RegistryAuth::Anonymous))
}

/// Whether Docker's configuration exists: <https://docs.docker.com/reference/cli/docker/#environment-variables>
fn configured() -> bool {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    directory.is_some_and(|directory| directory.join("config.json").exists())
}
