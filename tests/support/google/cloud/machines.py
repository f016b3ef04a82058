"""The APIs of what runs: Cloud Run (Knative's), Cloud Scheduler v1, Compute Engine v1. Shapes as in apis.py."""

from state import NOW, NUMBER, PARENT, THING, Refused, account_name


# ---- run v1: Knative's API


def check_container(cloud, project, spec):
    cloud.get(account_name(spec["serviceAccountName"]))
    for variable in spec["containers"][0].get("env", []):
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            cloud.get(f"secretmanager/projects/{project}/secrets/{reference['name']}")


def make_service(cloud, request, project):
    service = request.json
    name = service["metadata"]["name"]
    check_container(cloud, project, service["spec"]["template"]["spec"])
    created = service["metadata"].get("generation", 0)
    service["metadata"].update(
        generation=created + 1, resourceVersion=f"AAA{created}", uid="u-1", creationTimestamp=NOW, namespace=NUMBER
    )
    done = {"status": "True", "lastTransitionTime": NOW}
    revision = f"{name}-0000{created + 1}-abc"
    service["status"] = {
        "observedGeneration": created + 1,
        "conditions": [{"type": kind, **done} for kind in ("Ready", "ConfigurationsReady", "RoutesReady")],
        "latestReadyRevisionName": revision,
        "latestCreatedRevisionName": revision,
        "traffic": [{"revisionName": revision, "percent": 100, "latestRevision": True}],
        "url": f"https://{name}-abc-wl.a.run.app",
    }
    if request.method == "POST":
        return cloud.create(f"service/{name}", service)
    cloud.get(f"service/{name}")
    cloud.things[f"service/{name}"] = service
    return service


def service(cloud, request, project, name):
    if request.method == "DELETE":
        cloud.delete(f"service/{name}")
        return {"status": "Success"}
    if request.method == "PUT":
        return make_service(cloud, request, project)
    return cloud.get(f"service/{name}")


def make_job(cloud, request, project):
    job = request.json
    name = job["metadata"]["name"]
    spec = job["spec"]["template"]["spec"]["template"]["spec"]
    check_container(cloud, project, spec)
    for volume in spec.get("volumes", []):
        options = volume["csi"]["volumeAttributes"].get("mountOptions", "")
        if "uid=10001" not in options:
            raise Refused(400, "INVALID_ARGUMENT", "the container's user cannot write the volume")
    created = job["metadata"].get("generation", 0)
    job["metadata"].update(generation=created + 1, resourceVersion=f"AAA{created}", uid="u-1", creationTimestamp=NOW, namespace=NUMBER)
    job["status"] = {
        "observedGeneration": created + 1,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}],
    }
    if request.method == "POST":
        return cloud.create(f"run/{name}", job)
    cloud.get(f"run/{name}")
    cloud.things[f"run/{name}"] = job
    return job


def job(cloud, request, project, name):
    if request.method == "DELETE":
        cloud.delete(f"run/{name}")
        return {"status": "Success"}
    if request.method == "PUT":
        return make_job(cloud, request, project)
    return cloud.get(f"run/{name}")


def run_job(cloud, request, project, name):
    """It runs nothing, so that nobody takes it for a test of the job."""
    cloud.get(f"run/{name}")
    raise Refused(400, "INVALID_ARGUMENT", "this double runs nothing")


def executions(cloud, request, project):
    return {"apiVersion": "run.googleapis.com/v1", "kind": "ExecutionList", "metadata": {}, "items": []}


def job_policy(cloud, request, name, verb):
    name = "run/" + name.rpartition("/")[2]
    cloud.get(name)
    return cloud.policy(name, request.json["policy"] if verb == "set" else None)


# ---- cloudscheduler v1


def triggers(cloud, request, parent):
    job = request.json
    check_trigger(cloud, job)
    return cloud.create(f"cloudscheduler/{job['name']}", {**job, "state": "ENABLED", "userUpdateTime": NOW})


def check_trigger(cloud, job):
    if len(job["schedule"].split()) != 5:
        raise Refused(400, "INVALID_ARGUMENT", f"Schedule or time zone is invalid: {job['schedule']}")
    cloud.get(account_name(job["httpTarget"]["oauthToken"]["serviceAccountEmail"]))


def trigger(cloud, request, name):
    held = cloud.get(f"cloudscheduler/{name}")
    if request.method == "DELETE":
        cloud.delete(f"cloudscheduler/{name}")
        return {}
    if request.method == "PATCH":
        held.update(request.json)
        check_trigger(cloud, held)
    return held


def start_trigger(cloud, request, name):
    return cloud.get(f"cloudscheduler/{name}")


def locations(cloud, request, parent):
    return {"locations": [{"name": f"{parent}/locations/us-west2", "locationId": "us-west2"}]}


# ---- compute v1


def compute(cloud, request, project, zone, collection):
    thing = request.json
    name = f"compute/{zone}/{collection}/{thing['name']}"
    if name in cloud.things:
        raise Refused(409, "ALREADY_EXISTS", f"The resource 'projects/{project}/zones/{zone}/{collection}/{thing['name']}' already exists")
    link = f"https://compute.googleapis.com/compute/v1/projects/{project}/zones/{zone}/{collection}/{thing['name']}"
    if collection == "instances":
        cloud.get(account_name(thing["serviceAccounts"][0]["email"]))
        for disk in thing["disks"]:
            if "source" in disk:
                cloud.get(f"compute/{zone}/disks/{disk['source'].rpartition('/')[2]}")
                if disk.get("autoDelete"):
                    raise Refused(400, "INVALID_ARGUMENT", "the record would be deleted with its machine")
    state = {"status": "RUNNING" if collection == "instances" else "READY", "selfLink": link, "zone": zone_link(project, zone)}
    cloud.things[name] = {**thing, **state, "id": "1", "creationTimestamp": NOW}
    return operation(project, zone, "insert", link)


def zone_link(project, zone):
    return f"https://compute.googleapis.com/compute/v1/projects/{project}/zones/{zone}"


def operation(project, zone, kind, target):
    return {
        "kind": "compute#operation",
        "id": "1",
        "name": "operation-1",
        "operationType": kind,
        "targetLink": target,
        "targetId": "1",
        "status": "DONE",
        "progress": 100,
        "zone": zone_link(project, zone),
        "selfLink": f"{zone_link(project, zone)}/operations/operation-1",
        "insertTime": NOW,
    }


def compute_thing(cloud, request, project, zone, collection, thing, verb=None):
    name = f"compute/{zone}/{collection}/{thing}"
    if name not in cloud.things:
        raise Refused(404, "NOT_FOUND", f"The resource 'projects/{project}/zones/{zone}/{collection}/{thing}' was not found")
    held = cloud.things[name]
    link = held["selfLink"]
    if request.method == "DELETE":
        used = [other for other in cloud.things.values() if any(disk.get("source") == link for disk in other.get("disks", []))]
        if used:
            raise Refused(400, "INVALID_ARGUMENT", f"The disk resource '{thing}' is already being used by '{used[0]['name']}'")
        cloud.delete(name)
        return operation(project, zone, "delete", link)
    if verb == "setMetadata":
        held["metadata"] = request.json
    elif verb in ("start", "stop"):
        held["status"] = "RUNNING" if verb == "start" else "TERMINATED"
    elif verb:
        raise Refused(400, "INVALID_ARGUMENT", f"{verb} is not known to this double")
    else:
        return held
    return operation(project, zone, verb, link)


def compute_operation(cloud, request, project, zone, *_):
    return operation(project, zone, "insert", zone_link(project, zone))


def compute_project(cloud, request, project):
    return {"kind": "compute#project", "name": project, "id": NUMBER, "commonInstanceMetadata": {}, "defaultServiceAccount": ""}


def compute_zone(cloud, request, project, zone):
    return {"kind": "compute#zone", "name": zone, "status": "UP", "region": "", "selfLink": zone_link(project, zone)}


ROUTES = {
    "run": [
        (r"POST /apis/serving.knative.dev/v1/namespaces/([^/]+)/services", make_service),
        (r"(?:GET|PUT|DELETE) /apis/serving.knative.dev/v1/namespaces/([^/]+)/services/([^/:]+)", service),
        (r"POST /apis/run.googleapis.com/v1/namespaces/([^/]+)/jobs", make_job),
        (r"(?:GET|PUT|DELETE) /apis/run.googleapis.com/v1/namespaces/([^/]+)/jobs/([^/:]+)", job),
        (r"POST /apis/run.googleapis.com/v1/namespaces/([^/]+)/jobs/([^/:]+):run", run_job),
        (r"GET /apis/run.googleapis.com/v1/namespaces/([^/]+)/executions", executions),
        (rf"(?:GET|POST) /v1/{THING}:(get|set)IamPolicy", job_policy),
    ],
    "cloudscheduler": [
        (rf"POST /v1/{PARENT}/jobs", triggers),
        (rf"(?:GET|DELETE|PATCH) /v1/{THING}", trigger),
        (rf"POST /v1/{THING}:run", start_trigger),
        (r"GET /v1/(projects/[^/]+)/locations", locations),
    ],
    "compute": [
        (r"GET /compute/v1/projects/([^/]+)", compute_project),
        (r"GET /compute/v1/projects/([^/]+)/zones/([^/]+)", compute_zone),
        (r"POST /compute/v1/projects/([^/]+)/zones/([^/]+)/(instances|disks)", compute),
        (r"(?:GET|DELETE) /compute/v1/projects/([^/]+)/zones/([^/]+)/(instances|disks)/([^/]+)", compute_thing),
        (r"POST /compute/v1/projects/([^/]+)/zones/([^/]+)/(instances)/([^/]+)/([a-zA-Z]+)", compute_thing),
        (r"(?:GET|POST) /compute/v1/projects/([^/]+)/zones/([^/]+)/operations/([^/]+)(/wait)?", compute_operation),
    ],
}
