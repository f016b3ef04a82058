"""What there is in the double of Google Cloud: what is there already is 409, what is not is 404, and an API that is not
enabled is 403 SERVICE_DISABLED. What it does not know is 400, so that no request passes unnoticed."""

import json
import re

NUMBER = "123456789012"
NOW = "2026-02-06T11:30:00.000000Z"


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, code, status, message, details=()):
        super().__init__(message)
        error = {"code": code, "status": status, "message": message}
        # Storage and BigQuery tell it in the older way, which the others have too.
        error["errors"] = [{"domain": "global", "reason": REASONS.get(status, "backendError"), "message": message}]
        if details:
            error["details"] = list(details)
        self.code, self.body = code, {"error": error}


REASONS = {"NOT_FOUND": "notFound", "ALREADY_EXISTS": "conflict", "PERMISSION_DENIED": "forbidden", "INVALID_ARGUMENT": "invalid"}


class Cloud:
    """What there is: each thing by its API and its path."""

    def __init__(self, routes, apis):
        self.routes = routes
        # These are always on.
        self.apis = {*apis, "serviceusage", "cloudresourcemanager", "bigquery"}
        self.things, self.policies, self.jobs, self.build = {}, {}, {}, {}
        self.asked = 0

    def made(self):
        """What there is, and who may do what."""
        bindings = [
            f"{member} is {binding['role']} on {thing}"
            for thing, policy in self.policies.items()
            for binding in policy.get("bindings", [])
            for member in binding["members"]
        ]
        return {"things": sorted(self.things), "bindings": sorted(bindings)}

    def get(self, name):
        if name not in self.things:
            raise Refused(404, "NOT_FOUND", f"The resource '{name}' was not found")
        return self.things[name]

    def create(self, name, thing):
        if name in self.things:
            raise Refused(409, "ALREADY_EXISTS", f"The resource '{name}' already exists")
        self.things[name] = thing
        return thing

    def delete(self, name):
        thing = self.get(name)
        del self.things[name]
        self.policies.pop(name, None)
        return thing

    def account(self, email):
        """Who does not exist is given nothing."""
        if email.startswith("serviceAccount:"):
            email = email.removeprefix("serviceAccount:")
            if not any(thing.endswith(f"/serviceAccounts/{email}") for thing in self.things):
                raise Refused(400, "INVALID_ARGUMENT", f"Service account {email} does not exist.")

    def policy(self, name, set_to=None):
        if set_to is not None:
            # Removing is allowed for whoever is gone.
            old = json.dumps(self.policies.get(name, {}))
            for binding in set_to.get("bindings", []):
                for member in binding["members"]:
                    if member not in old:
                        self.account(member)
            self.policies[name] = {**set_to, "etag": f"BwX{self.asked:05d}"}
        return {"etag": "ACAB", "version": 1, **self.policies.get(name, {})}

    def answer(self, request):
        self.asked += 1
        api, rest = request.api, request.path
        if api not in self.apis:
            message = (
                f"{api} API has not been used in project {NUMBER} before or it is disabled. Enable it by visiting "
                f"https://console.developers.google.com/apis/api/{api}.googleapis.com/overview?project={NUMBER} then retry. "
                "If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
            )
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {"service": f"{api}.googleapis.com", "consumer": f"projects/{NUMBER}"},
            }
            raise Refused(403, "PERMISSION_DENIED", message, [info])
        for pattern, handler in self.routes.get(api, []):
            found = re.fullmatch(pattern, f"{request.method} {rest}")
            if found:
                return handler(self, request, *found.groups())
        raise Refused(400, "INVALID_ARGUMENT", f"{request.method} {request.host}{rest} is not known to this double")


def account_name(email):
    project = email.split("@")[1].split(".")[0]
    return f"iam/projects/{project}/serviceAccounts/{email}"


PARENT = r"(projects/[^/]+(?:/locations/[^/]+)?)"
THING = r"(projects/[^/]+(?:/locations/[^/]+)?/(?:secrets|repositories|jobs)/[^/:]+)"
