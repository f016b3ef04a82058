#!/usr/bin/env python3
"""Reads YAML, and prints its documents as JSON.

    read.py FILE…              as they are
    read.py --validate FILE…   manifests of Kubernetes: a property that the API does not know, or a wrong type, is an error

kubernetes-validate has the schemas, so nothing is asked of a cluster."""

import json
import sys

import kubernetes_validate
import yaml

# The oldest with all that deploy/kubernetes uses, and the newest there is.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]

validated = sys.argv[1] == "--validate"
documents = []
for path in sys.argv[1 + validated :]:
    with open(path) as file:
        documents += [document for document in yaml.safe_load_all(file) if document is not None]
for document in documents if validated else []:
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path)
            sys.exit(f"{document['kind']} {document['metadata']['name']}: {where}: {error.message} (Kubernetes {version})")
json.dump(documents, sys.stdout)
