"""The APIs that set-up uses, but for what runs. Shapes as in the discovery documents,
https://www.googleapis.com/discovery/v1/apis, which gcloud's generated clients follow too."""

import json
import re
import urllib.parse

from state import NOW, NUMBER, PARENT, THING, Refused, account_name


def done(parent, response=None):
    """A finished operation of Artifact Registry."""
    kind = "google.protobuf.Empty" if response is None else "google.devtools.artifactregistry.v1.Repository"
    return {
        "name": f"{parent}/operations/1",
        "done": True,
        "response": {"@type": f"type.googleapis.com/{kind}", **(response or {})},
    }


# ---- serviceusage v1, cloudresourcemanager v1, iam v1


def enable(cloud, request, project):
    cloud.apis.update(name.removesuffix(".googleapis.com") for name in request.json["serviceIds"])
    return {"name": "operations/acf.p2-1", "done": True, "response": {"services": []}}


def enable_one(cloud, request, project, name):
    cloud.apis.add(name)
    return {"name": "operations/acf.p2-1", "done": True, "response": {}}


def service(cloud, request, project, name):
    state = "ENABLED" if name in cloud.apis else "DISABLED"
    return {"name": f"projects/{NUMBER}/services/{name}.googleapis.com", "state": state}


def project_policy(cloud, request, project, verb):
    return cloud.policy(f"projects/{project}", request.json["policy"] if verb == "set" else None)


def make_account(cloud, request, project):
    email = f"{request.json['accountId']}@{project}.iam.gserviceaccount.com"
    if not re.fullmatch(r"[a-z](?:[-a-z0-9]{4,28}[a-z0-9])", request.json["accountId"]):
        raise Refused(400, "INVALID_ARGUMENT", f"{request.json['accountId']} does not have the right form")
    name = f"projects/{project}/serviceAccounts/{email}"
    account = {**request.json.get("serviceAccount", {}), "name": name, "email": email, "projectId": project, "uniqueId": "1"}
    return cloud.create(f"iam/{name}", account)


def account(cloud, request, email):
    if request.method == "DELETE":
        cloud.delete(account_name(email))
        return {}
    return cloud.get(account_name(email))


# ---- secretmanager v1, artifactregistry v1


def make_named(parameter):
    def make(cloud, request, parent, collection):
        api = request.api
        name = f"{parent}/{collection}/{request.query[parameter]}"
        thing = cloud.create(f"{api}/{name}", {**request.json, "name": name})
        return done(parent, thing) if api == "artifactregistry" else thing

    return make


def named(cloud, request, name):
    if request.method == "DELETE":
        cloud.delete(f"{request.api}/{name}")
        return done(name.rpartition("/repositories/")[0]) if request.api == "artifactregistry" else {}
    return cloud.get(f"{request.api}/{name}")


def operation_done(cloud, request, parent):
    return done(parent)


def named_policy(cloud, request, name, verb):
    cloud.get(f"{request.api}/{name}")
    return cloud.policy(f"{request.api}/{name}", request.json["policy"] if verb == "set" else None)


def add_version(cloud, request, secret):
    versions = cloud.get(f"secretmanager/{secret}").setdefault("_versions", [])
    payload = request.json["payload"]
    versions.append(payload["data"])
    version = {"name": f"{secret}/versions/{len(versions)}", "state": "ENABLED", "createTime": NOW}
    return {**version, "clientSpecifiedPayloadChecksum": "dataCrc32c" in payload}


def versions(cloud, request, secret):
    held = cloud.get(f"secretmanager/{secret}").get("_versions", [])
    numbers = range(len(held), 0, -1)
    return {"versions": [{"name": f"{secret}/versions/{number}", "state": "ENABLED"} for number in numbers]}


def version(cloud, request, secret, which):
    versions = cloud.get(f"secretmanager/{secret}").get("_versions", [])
    if not versions:
        raise Refused(404, "NOT_FOUND", f"Secret Version [{secret}/versions/{which}] not found.")
    return {"name": f"{secret}/versions/{len(versions)}", "state": "ENABLED", "createTime": NOW}


# ---- storage v1


def buckets(cloud, request):
    if request.method == "GET":
        names = [name for name in cloud.things if re.fullmatch("storage/[^/]+", name)]
        return {"kind": "storage#buckets", "items": [cloud.things[name] for name in names]}
    name = request.json["name"]
    bucket = {"kind": "storage#bucket", "id": name, "projectNumber": NUMBER, "metageneration": "1", **request.json}
    return cloud.create(f"storage/{name}", bucket)


def bucket(cloud, request, name):
    name = f"storage/{name}"
    if request.method == "DELETE":
        if any(thing.startswith(f"{name}/") for thing in cloud.things):
            raise Refused(409, "ALREADY_EXISTS", "The bucket you tried to delete is not empty.")
        cloud.delete(name)
        return None
    if name not in cloud.things:
        raise Refused(404, "NOT_FOUND", "The specified bucket does not exist.")
    return cloud.get(name)


def bucket_policy(cloud, request, name):
    cloud.get(f"storage/{name}")
    return {"kind": "storage#policy", **cloud.policy(f"storage/{name}", request.json if request.method == "PUT" else None)}


def layout(cloud, request, name):
    cloud.get(f"storage/{name}")
    return {"kind": "storage#storageLayout", "bucket": name, "location": "US-WEST2", "locationType": "region"}


def no_folders(cloud, request, name):
    cloud.get(f"storage/{name}")
    return {"kind": "storage#managedFolders", "items": []}


def objects(cloud, request, name):
    cloud.get(f"storage/{name}")
    held = [thing for path, thing in cloud.things.items() if path.startswith(f"storage/{name}/")]
    return {"kind": "storage#objects", "items": held}


def one_object(cloud, request, bucket, name):
    path = f"storage/{bucket}/{urllib.parse.unquote(name)}"
    if request.method == "DELETE":
        cloud.delete(path)
        return None
    return cloud.get(path)


def upload(cloud, request, bucket):
    """In one request of two parts: the object's resource and its bytes."""
    cloud.get(f"storage/{bucket}")
    boundary = request.body.split(b"\n", 1)[0].strip()
    parts = [re.split(b"\r?\n\r?\n", part, maxsplit=1)[1] for part in request.body.split(boundary)[1:3]]
    name = request.query.get("name") or json.loads(parts[0])["name"]
    size = len(parts[1].removesuffix(b"\n").removesuffix(b"\r"))
    thing = {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(size), "generation": "1", "updated": NOW}
    cloud.things[f"storage/{bucket}/{name}"] = thing
    return thing


# ---- cloudbuild v1


def make_build(cloud, request, project, region="global"):
    """What it needs: https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts"""
    build = request.json
    account = build.get("serviceAccount", "").rpartition("/")[2]
    if not account:
        raise Refused(400, "INVALID_ARGUMENT", f"{NUMBER}-compute@developer.gserviceaccount.com does not have storage.objects.get access")
    cloud.get(account_name(account))
    if build.get("options", {}).get("logging") not in ("CLOUD_LOGGING_ONLY", "NONE") and not build.get("logsBucket"):
        raise Refused(
            400,
            "INVALID_ARGUMENT",
            "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket', (b) use the "
            "REGIONAL_USER_OWNED_BUCKET build.options.default_logs_bucket_behavior option, or (c) use either "
            "CLOUD_LOGGING_ONLY / NONE logging options",
        )
    for name, value in build.get("substitutions", {}).items():
        if not re.fullmatch(r"_[A-Z0-9_]+", name):
            raise Refused(400, "INVALID_ARGUMENT", f"invalid substitution {name}={value}")
    source = build["source"]["storageSource"]
    cloud.get(f"storage/{source['bucket']}/{source['object']}")
    bindings = json.dumps([cloud.policies.get(name, {}) for name in (f"projects/{project}", f"storage/{source['bucket']}")])
    for role in ("roles/logging.logWriter", "roles/storage.objectViewer"):
        if role not in bindings or f"serviceAccount:{account}" not in bindings:
            raise Refused(403, "PERMISSION_DENIED", f"{account} is not {role}")
    name = f"projects/{NUMBER}/locations/global/builds/b-1"
    build = {**build, "name": name, "id": "b-1", "projectId": project, "status": "SUCCESS", "createTime": NOW}
    build.update(startTime=NOW, finishTime=NOW, logUrl="https://console.cloud.google.com/cloud-build/builds/b-1", results={"images": []})
    cloud.build = build
    metadata = {"@type": "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata", "build": build}
    return {"name": "operations/build/1", "metadata": metadata}


def build(cloud, request, name):
    return cloud.build


# ---- bigquery v2


def query(cloud, request, project):
    text = request.json["configuration"]["query"]["query"]
    granted = re.fullmatch(
        r'(GRANT|REVOKE) `(roles/[\w.]+)` ON SCHEMA `[\w-]+`\.(\w+) (TO|FROM) "(serviceAccount:[\w.@-]+)"', text
    )
    if not granted or request.json["configuration"]["query"]["useLegacySql"]:
        raise Refused(400, "INVALID_ARGUMENT", f"Syntax error: {text}")
    verb, role, dataset, _, member = granted.groups()
    cloud.account(member)
    bindings = cloud.policies.setdefault(f"dataset {dataset}", {"bindings": []})["bindings"]
    binding = {"role": role, "members": [member]}
    if verb == "GRANT" and binding not in bindings:
        bindings.append(binding)
    if verb == "REVOKE" and binding in bindings:
        bindings.remove(binding)
    reference = {**request.json["jobReference"], "location": request.json["jobReference"].get("location", "US")}
    job = {
        "kind": "bigquery#job",
        "id": f"{project}:{reference['location']}.{reference['jobId']}",
        "jobReference": reference,
        "configuration": {**request.json["configuration"], "jobType": "QUERY"},
        "status": {"state": "DONE"},
        "statistics": {"creationTime": "1770377400000", "query": {"statementType": verb}},
    }
    cloud.jobs[reference["jobId"]] = job
    return job


def query_jobs(cloud, request, project):
    return {"kind": "bigquery#jobList", "etag": "e", "jobs": []}


def no_entries(cloud, request):
    return {"entries": []}


def query_job(cloud, request, project, name):
    if name not in cloud.jobs:
        raise Refused(404, "NOT_FOUND", f"Not found: Job {project}:{name}")
    return cloud.jobs[name]


def query_results(cloud, request, project, name):
    job = query_job(cloud, request, project, name)
    return {"kind": "bigquery#getQueryResultsResponse", "jobReference": job["jobReference"], "jobComplete": True, "totalRows": "0"}


POLICIES = [(rf"(?:GET|POST) /v1/{THING}:(get|set)IamPolicy", named_policy)]
ROUTES = {
    "logging": [(r"POST /v2/entries:list", no_entries)],
    "serviceusage": [
        (r"POST /v1/projects/([^/]+)/services:batchEnable", enable),
        (r"POST /v1/projects/([^/]+)/services/([a-z-]+)\.googleapis\.com:enable", enable_one),
        (r"GET /v1/projects/([^/]+)/services/([a-z-]+)\.googleapis\.com", service),
    ],
    "cloudresourcemanager": [(r"POST /v1/projects/([^/:]+):(get|set)IamPolicy", project_policy)],
    "iam": [
        (r"POST /v1/projects/([^/]+)/serviceAccounts", make_account),
        (r"(?:GET|DELETE) /v1/projects/[^/]+/serviceAccounts/([^/:]+)", account),
    ],
    "secretmanager": [
        (rf"POST /v1/{PARENT}/(secrets)", make_named("secretId")),
        (rf"(?:GET|DELETE) /v1/{THING}", named),
        *POLICIES,
        (rf"POST /v1/{THING}:addVersion", add_version),
        (rf"GET /v1/{THING}/versions", versions),
        (rf"GET /v1/{THING}/versions/([^/:]+)", version),
    ],
    "artifactregistry": [
        (rf"POST /v1/{PARENT}/(repositories)", make_named("repositoryId")),
        (rf"GET /v1/{PARENT}/operations/1", operation_done),
        (rf"(?:GET|DELETE) /v1/{THING}", named),
        *POLICIES,
    ],
    "storage": [
        (r"(?:GET|POST) /storage/v1/b", buckets),
        (r"(?:GET|DELETE) /storage/v1/b/([^/]+)", bucket),
        (r"(?:GET|PUT) /storage/v1/b/([^/]+)/iam", bucket_policy),
        (r"GET /storage/v1/b/([^/]+)/storageLayout", layout),
        (r"GET /storage/v1/b/([^/]+)/managedFolders", no_folders),
        (r"GET /storage/v1/b/([^/]+)/o", objects),
        (r"(?:GET|DELETE) /storage/v1/b/([^/]+)/o/([^/]+)", one_object),
        (r"POST /(?:resumable/)?upload/storage/v1/b/([^/]+)/o", upload),
    ],
    "cloudbuild": [
        (r"POST /v1/projects/([^/]+)/(?:locations/[^/]+/)?builds", make_build),
        (r"GET /v1/(.*builds/.*)", build),
    ],
    "bigquery": [
        (r"POST /bigquery/v2/projects/([^/]+)/jobs", query),
        (r"GET /bigquery/v2/projects/([^/]+)/jobs", query_jobs),
        (r"GET /bigquery/v2/projects/([^/]+)/jobs/([^/]+)", query_job),
        (r"GET /bigquery/v2/projects/([^/]+)/queries/([^/]+)", query_results),
    ],
}
