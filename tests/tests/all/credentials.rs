//! Credentials for Google: where they are found, how tokens are got and renewed, and that none is ever shown.

use serde_json::{Value, json};

use crate::{
    bigquery::Cloud,
    support::{
        google::{
            bigquery::{Method, error},
            identity::IdentityDouble,
        },
        http::Reply,
        say,
    },
};

const TOKEN: &str = "ya29.s3cret";

#[test]
fn credentials_are_found_renewed_and_never_shown() {
    // A token that is rejected is replaced by a new one, once.
    let cloud = Cloud::new();
    cloud.bigquery.answer_next(Method::DryRun, [error(401, "authError", "Invalid Credentials")]);
    assert_eq!(cloud.check("phase2-raw").code, 0);
    assert_eq!(cloud.identity.given(), 2);
    cloud.bigquery.answer_next(Method::DryRun, vec![error(401, "authError", "Invalid Credentials"); 2]);
    let error = cloud.error();
    assert!(error.contains("Invalid Credentials") && error.contains("the metadata server 127.0.0.1:"), "{error}");

    cloud.configure("[google]\nkey_file = \"key.json\"\n");
    for (text, expected) in [
        (
            format!("{{\"type\": \"service_account\", \"private_key\": {{\"x\": \"{TOKEN}\"}}}}"),
            "a field is missing or of a wrong type",
        ),
        (TOKEN.to_owned(), "it is not JSON"),
        (format!("{{\"type\": \"{TOKEN}\"}}"), "it is of an unknown type"),
    ] {
        std::fs::write(cloud.sample.path().join("key.json"), text).unwrap();
        let ended = cloud.check("phase2-raw");
        let shown = format!("{ended:?}");
        assert!(shown.contains(expected) && !shown.contains(TOKEN), "{shown}");
    }

    // No tokens are issued.
    cloud.configure("");
    cloud.identity.refuse(Reply::Answer(404, "no service account".to_owned()));
    let error = cloud.error();
    assert!(
        error.contains("no access token: the metadata server has none")
            && error.contains("since GOOGLE_APPLICATION_CREDENTIALS is not set"),
        "{error}"
    );
}

/// A key of a service account, made here, signs what it asks a token with.
#[test]
fn a_service_account_signs_for_itself() {
    let cloud = Cloud::new();
    let key = std::process::Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-quiet"]).output();
    let Ok(key) = key.map(|key| String::from_utf8_lossy(&key.stdout).into_owned()) else {
        return say("no openssl here: the key of a service account is not tried");
    };
    let file = json!({
        "type": "service_account", "client_email": "host@p.iam.gserviceaccount.com", "private_key_id": "k1",
        "private_key": key, "project_id": "p", "universe_domain": "googleapis.com",
        "token_uri": format!("{}/token", cloud.identity.address.url()),
    });
    cloud.write("account.json", &file);
    cloud.configure("[google]\nkey_file = \"account.json\"\n");
    assert_eq!(cloud.check("phase2-raw").code, 0);
    let [asked] = cloud.identity.asked().try_into().unwrap();
    let assertion = asked.body.split('&').find_map(|part| part.strip_prefix("assertion=")).unwrap();
    assert_eq!(assertion.split('.').count(), 3, "a signed assertion: {asked:?}");
    assert_eq!(cloud.bigquery.asked(Method::Insert)[0].header("authorization"), "Bearer token-1");

    cloud
        .identity
        .refuse(Reply::Answer(400, json!({ "error": "invalid_grant", "error_description": TOKEN }).to_string()));
    let error = cloud.error();
    assert!(error.contains("rejected: invalid_grant") && error.contains("account.json (google.key_file)"), "{error}");
    assert!(!error.contains(TOKEN), "{error}");
}

/// A user and an impersonated account are known at addresses of Google's alone; a proxy stands in for these. What a user
/// asks is paid by the user's project.
#[test]
fn a_user_and_an_impersonated_account_get_tokens_through_a_proxy() {
    let cloud = Cloud::new();
    let identity = IdentityDouble::start(3600).unwrap();
    let Some(proxy) = identity.behind_a_proxy(cloud.sample.path()).unwrap() else {
        return say("no openssl here: a user's credentials are not tried");
    };
    let certificate = proxy.certificate.to_str().unwrap();
    let environment = [("HTTPS_PROXY", proxy.url.as_str()), ("SSL_CERT_FILE", certificate)];
    let user = json!({
        "type": "authorized_user", "client_id": "id", "client_secret": TOKEN, "refresh_token": TOKEN,
        "quota_project_id": "who-pays",
    });
    cloud.write("key.json", &user);
    cloud.configure("[google]\nkey_file = \"key.json\"\n");
    let ended = cloud.check_with("phase2-raw", &environment);
    assert_eq!((ended.code, identity.given()), (0, 1), "{ended:?}");
    let paid = |method| {
        cloud.bigquery.asked(method).iter().map(|asked| asked.header("x-goog-user-project").to_owned()).next_back()
    };
    for method in [Method::DryRun, Method::Insert, Method::Results] {
        assert_eq!(paid(method).as_deref(), Some("who-pays"), "{method:?}");
    }
    let ended =
        cloud.check_with("phase2-raw", &[&environment[..], &[("GOOGLE_CLOUD_QUOTA_PROJECT", "another")]].concat());
    assert_eq!((ended.code, paid(Method::Insert).as_deref()), (0, Some("another")));

    cloud.write("key.json", &json!({
        "type": "impersonated_service_account", "source_credentials": user, "delegates": [],
        "service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/host@p.iam.gserviceaccount.com:generateAccessToken",
    }));
    let ended = cloud.check_with("phase2-raw", &environment);
    assert_eq!(ended.code, 0, "{ended:?}");
    let last = identity.asked().pop().unwrap();
    assert!(last.path.ends_with("host@p.iam.gserviceaccount.com:generateAccessToken"), "{last:?}");
    assert_eq!((last.header("authorization"), paid(Method::Insert).as_deref()), ("Bearer token-3", Some("")));

    identity.refuse(Reply::Answer(400, json!({ "error": "invalid_grant", "error_description": TOKEN }).to_string()));
    let ended = cloud.check_with("phase2-raw", &environment);
    let shown = format!("{ended:?}");
    assert!(ended.code == 3 && shown.contains("rejected: invalid_grant") && !shown.contains(TOKEN), "{shown}");
}

/// Workload Identity Federation: a token of the workload is exchanged, and may then stand for a service account.
#[test]
fn a_workload_exchanges_its_own_token() {
    let cloud = Cloud::new();
    let url = cloud.identity.address.url();
    let federated = |source: Value, more: Value| {
        let mut file = json!({
            "type": "external_account", "token_url": format!("{url}/token"), "credential_source": source,
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        });
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cloud.write("federated.json", &file);
    };
    cloud.configure("[google]\nkey_file = \"federated.json\"\n");
    std::fs::write(cloud.sample.path().join("own-token"), "the-workload").unwrap();
    let file = json!({ "file": cloud.sample.path().join("own-token") });
    // As GitHub's action writes it.
    let address = json!({
        "url": format!("{url}/workload"), "headers": { "Authorization": "Bearer workload" },
        "format": { "type": "json", "subject_token_field_name": "value" },
    });
    for source in [&file, &address] {
        federated(source.clone(), json!({}));
        let ended = cloud.check("phase2-raw");
        assert_eq!(ended.code, 0, "{source}: {ended:?}");
        let asked = cloud.identity.asked().pop().unwrap();
        assert!(
            asked.body.contains("subject_token=the-workload") && asked.body.contains("token-exchange"),
            "{asked:?}"
        );
    }
    let account = format!("{url}/v1/projects/-/serviceAccounts/host@p.iam.gserviceaccount.com:generateAccessToken");
    federated(address, json!({ "service_account_impersonation_url": account }));
    assert_eq!(cloud.check("phase2-raw").code, 0);
    assert_eq!(cloud.identity.asked().pop().unwrap().header("authorization"), "Bearer token-3");
    assert_eq!(cloud.bigquery.asked(Method::Insert).pop().unwrap().header("authorization"), "Bearer token-4");

    for (source, expected) in [
        (
            json!({ "file": "own-token", "format": { "type": "json", "subject_token_field_name": "value" } }),
            "a file of JSON",
        ),
        (json!({ "environment_id": "aws1", "region_url": "http://169.254.169.254/" }), "AWS or of an executable"),
        (json!({ "executable": { "command": "/bin/true" } }), "AWS or of an executable"),
        (json!({ "file": "nowhere" }), "a file cannot be read"),
    ] {
        federated(source.clone(), json!({}));
        let error = cloud.error();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

/// An empty variable counts as unset; gcloud's directory may be elsewhere.
#[test]
fn the_environment_says_where_credentials_are() {
    let cloud = Cloud::new();
    let ended = cloud.check_with("phase2-raw", &[("GOOGLE_APPLICATION_CREDENTIALS", "")]);
    assert_eq!((ended.code, cloud.identity.given()), (0, 1), "{ended:?}");
    let at = cloud.sample.path().join("gcloud");
    std::fs::create_dir(&at).unwrap();
    std::fs::write(at.join("application_default_credentials.json"), "{}").unwrap();
    for (variable, value) in
        [("CLOUDSDK_CONFIG", &at), ("GOOGLE_APPLICATION_CREDENTIALS", &at.join("application_default_credentials.json"))]
    {
        let ended = cloud.check_with("phase2-raw", &[(variable, value.to_str().unwrap())]);
        let error = ended.run("phase2-raw")["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            error.contains("gcloud/application_default_credentials.json") && error.contains("of an unknown type"),
            "{ended:?}"
        );
    }
}
