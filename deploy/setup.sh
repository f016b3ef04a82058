#!/usr/bin/env bash
# Sets up the pipeline's watch on Google Cloud, or removes it again. You can run it at any time: it updates what exists.
#   deploy/setup.sh                  do it
#   deploy/setup.sh --dry-run        show each command; run only those that read
#   deploy/setup.sh --undo           remove what it made, except the secrets and the record
#   deploy/setup.sh --undo --purge   remove those too
# deploy/settings.sh says what, and RECORD in it where the record lives; docs/google-cloud.md walks through it.
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=false undo=false purge=false
for argument in "$@"; do
    case $argument in
    --dry-run) dry_run=true ;;
    --undo) undo=true ;;
    --purge) purge=true ;;
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' deploy/setup.sh
        exit 0
        ;;
    *)
        echo "setup.sh: $argument is not known; see --help" >&2
        exit 64
        ;;
    esac
done
if $purge && ! $undo; then
    echo "setup.sh: --purge goes with --undo" >&2
    exit 64
fi
command -v gcloud >/dev/null && command -v bq >/dev/null || {
    echo "setup.sh: gcloud and its bq are needed: https://cloud.google.com/sdk/docs/install" >&2
    exit 69
}

# shellcheck source=settings.sh
source "${SETTINGS:-deploy/settings.sh}"
case $RECORD in
disk | bucket) ;;
database)
    needs() {
        grep -Eq "^ *$1 *= *\"$2\"" deploy/host.toml || {
            printf 'setup.sh: RECORD=database needs this line in deploy/host.toml: %s = "%s"\n' "$1" "$2" >&2
            exit 64
        }
    }
    case $CLOUD_SQL in
    *:*:*) ;;
    *)
        echo "setup.sh: CLOUD_SQL=$CLOUD_SQL in deploy/settings.sh is not PROJECT:REGION:INSTANCE" >&2
        exit 64
        ;;
    esac
    needs url_env HOST_STATE_URL
    # Cloud Run asks the service whether it is alive.
    [ "$HOSTS" = 0 ] || needs listen 0.0.0.0:8080
    ;;
*)
    echo "setup.sh: RECORD=$RECORD in deploy/settings.sh is not disk, bucket or database" >&2
    exit 64
    ;;
esac
# Whether the layers are jobs.
layered=false
if [ "$RECORD" = bucket ] || { [ "$RECORD" = database ] && [ "$HOSTS" = 0 ]; }; then layered=true; fi

image=$REGION-docker.pkg.dev/$PROJECT/$NAME/host:latest
# Empty without git.
commit=$(git describe --always --dirty --abbrev=7 --exclude='*' 2>/dev/null || true)
watcher=$NAME@$PROJECT.iam.gserviceaccount.com
trigger=$NAME-trigger@$PROJECT.iam.gserviceaccount.com
builder=$NAME-build@$PROJECT.iam.gserviceaccount.com
# Ranks configurations: what was set up last holds, also if it is older.
revision=$(date +%s)
# Secrets: the address of the database, and the token of the page.
state_url=$NAME-state-url token=$NAME-token
made=0
# What an API that is switched off means: that its things cannot be seen, or that there are none.
off=unknown

step() { printf '▸ %s\n' "$*"; }

# Shows a command that changes something, and runs it unless this is a dry run.
change() {
    made=$((made + 1))
    printf '  gcloud'
    printf ' %q' "$@"
    printf '\n'
    $dry_run || gcloud "$@" --project="$PROJECT" --quiet
}

# Removes something that may be gone already, as after an undo that was interrupted.
without() {
    local said
    made=$((made + 1))
    if said=$("$@" 2>&1); then
        printf '%s\n' "$said"
        return
    fi
    printf '%s\n' "$said"
    case $said in
    *"not found in location"*)
        echo "setup.sh: that dataset is not in DATA_LOCATION ($DATA_LOCATION)" >&2
        exit 1
        ;;
    *NOT_FOUND* | *"not found"* | *"Not found"* | *"does not exist"*) echo "  it is gone already" ;;
    *)
        echo "setup.sh: it could not be removed" >&2
        exit 1
        ;;
    esac
}

# Rights on a dataset are given in SQL: https://cloud.google.com/bigquery/docs/control-access-to-resources-iam
statement() {
    made=$((made + 1))
    printf '  bq query --use_legacy_sql=false %q\n' "$1"
    $dry_run || bq --project_id="$PROJECT" --location="$DATA_LOCATION" query --quiet --use_legacy_sql=false "$1"
}

# Looks whether something is there. What cannot be seen for another reason must not be taken for missing.
there() {
    local said
    # Quiet: nobody would see a question.
    if said=$(gcloud "$@" --project="$PROJECT" --format='value(name)' --quiet 2>&1); then
        return 0
    fi
    case $said in
    *SERVICE_DISABLED* | *"has not been used in project"* | *"not enabled on project"*)
        # Its API is switched on by the first command that a dry run shows.
        if [ $off = none ] || { $dry_run && ! $undo; }; then return 1; fi
        printf 'setup.sh: gcloud %s: its API is not enabled yet; that takes a few minutes: run this again\n' "$*" >&2
        exit 1
        ;;
    *NOT_FOUND* | *"not found"* | *"Not found"* | *"could not be found"* | *"does not exist"* | *"Cannot find"*) return 1 ;;
    esac
    printf 'setup.sh: gcloud %s: %s\n' "$*" "$said" >&2
    exit 1
}

secrets() {
    for channel in $CHANNELS; do echo "slack-webhook-$channel"; done
    if [ -n "$GIT_TOKEN_SECRET" ]; then echo "$GIT_TOKEN_SECRET"; fi
    if [ "$RECORD" = database ]; then
        echo "$state_url"
        $layered || echo "$token"
    fi
}

set_up() {
    step "the APIs that are used"
    local apis=(artifactregistry bigquery cloudbuild iam logging run secretmanager storage)
    if [ "$RECORD" = disk ]; then apis+=(compute); fi
    if [ "$RECORD" = database ]; then apis+=(sql-component sqladmin); fi
    if $layered; then apis+=(cloudscheduler); fi
    change services enable "${apis[@]/%/.googleapis.com}"

    step "who runs the checks and who builds the image: no key is made for either"
    there iam service-accounts describe "$watcher" ||
        change iam service-accounts create "$NAME" --display-name="Watches the pipeline: reads data, deployments, webhooks"
    there iam service-accounts describe "$builder" ||
        change iam service-accounts create "$NAME-build" --display-name="Builds the image of the pipeline's watch"

    step "what the checks may do: run queries, read these datasets, see what is deployed"
    for role in roles/bigquery.jobUser roles/run.viewer; do
        change projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$watcher" --role="$role" --condition=None
    done
    for dataset in $DATASETS; do
        statement "GRANT \`roles/bigquery.dataViewer\` ON SCHEMA \`$PROJECT\`.$dataset TO \"serviceAccount:$watcher\""
    done

    step "webhooks and other secrets"
    for secret in $(secrets); do
        there secrets describe "$secret" || change secrets create "$secret" --replication-policy=automatic
        change secrets add-iam-policy-binding "$secret" \
            --member="serviceAccount:$watcher" --role=roles/secretmanager.secretAccessor
        add_version "$secret"
    done

    step "the image, built by an account of its own: a new project's default account has no roles"
    there artifacts repositories describe "$NAME" --location="$REGION" ||
        change artifacts repositories create "$NAME" --location="$REGION" --repository-format=docker
    there storage buckets describe "gs://$SOURCES" ||
        change storage buckets create "gs://$SOURCES" --location="$REGION" --uniform-bucket-level-access --public-access-prevention
    change projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$builder" --role=roles/logging.logWriter --condition=None
    change storage buckets add-iam-policy-binding "gs://$SOURCES" \
        --member="serviceAccount:$builder" --role=roles/storage.objectViewer
    change artifacts repositories add-iam-policy-binding "$NAME" --location="$REGION" \
        --member="serviceAccount:$builder" --role=roles/artifactregistry.writer
    change builds submit --config=deploy/cloudbuild.yaml --substitutions="_IMAGE=$image,_COMMIT=$commit" \
        --service-account="projects/$PROJECT/serviceAccounts/$builder" --gcs-source-staging-dir="gs://$SOURCES/source" .

    # Only one of these runs: two would tell everything twice.
    off=none
    if [ "$RECORD" = disk ]; then
        no_jobs
        no_service
        off=unknown
        machine
        return
    fi
    no_machine
    if $layered; then no_service; else no_jobs; fi
    off=unknown
    if [ "$RECORD" = database ]; then
        step "the database: they may connect to it"
        change projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$watcher" --role=roles/cloudsql.client --condition=None
    fi
    if $layered; then jobs; else service; fi
}

# One host that stays, on a machine of its own. Its record is on a disk that outlives the machine.
machine() {
    step "the machine: it pulls the image and writes its log"
    change artifacts repositories add-iam-policy-binding "$NAME" --location="$REGION" \
        --member="serviceAccount:$watcher" --role=roles/artifactregistry.reader
    change projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$watcher" --role=roles/logging.logWriter --condition=None
    there compute disks describe "$NAME-record" --zone="$ZONE" ||
        change compute disks create "$NAME-record" --zone="$ZONE" --size=10GB --type=pd-balanced
    local metadata=google-logging-enabled=true,image=$image,repository=$REPOSITORY,git-token-secret=$GIT_TOKEN_SECRET
    if there compute instances describe "$NAME" --zone="$ZONE"; then
        # It reads all of this when it starts.
        change compute instances stop "$NAME" --zone="$ZONE"
        change compute instances add-metadata "$NAME" --zone="$ZONE" \
            --metadata="$metadata" --metadata-from-file=startup-script=deploy/machine.sh
        change compute instances start "$NAME" --zone="$ZONE"
    else
        change compute instances create "$NAME" --zone="$ZONE" --machine-type="$MACHINE" --subnet="$SUBNET" \
            --image-family=cos-stable --image-project=cos-cloud --boot-disk-size=10GB --boot-disk-type=pd-standard \
            --disk="name=$NAME-record,device-name=record" --service-account="$watcher" --scopes=cloud-platform \
            --shielded-secure-boot --metadata="$metadata" --metadata-from-file=startup-script=deploy/machine.sh
    fi
}

# Several hosts that stay, on one record. Their number is fixed: what they do does not come in requests.
service() {
    step "the service: $HOSTS hosts"
    local from=HOST_STATE_URL=$state_url:latest,HOST_TOKEN=$token:latest
    if [ -n "$GIT_TOKEN_SECRET" ]; then from+=,GIT_TOKEN=$GIT_TOKEN_SECRET:latest; fi
    change run deploy "$NAME" --region="$REGION" --image="$image" --args=all --service-account="$watcher" \
        --min-instances="$HOSTS" --max-instances="$HOSTS" --no-cpu-throttling --cpu=1 --memory=1Gi --port=8080 \
        --ingress=internal --no-allow-unauthenticated --set-cloudsql-instances="$CLOUD_SQL" --set-secrets="$from" \
        --set-env-vars="REPOSITORY=$REPOSITORY,HOST_REVISION=$revision" \
        --startup-probe=httpGet.path=/healthz,httpGet.port=8080,periodSeconds=5,timeoutSeconds=5,failureThreshold=40 \
        --liveness-probe=httpGet.path=/healthz,httpGet.port=8080,periodSeconds=10,timeoutSeconds=5,failureThreshold=6
}

# What a job has of its record: a bucket, from which it copies it and back, or the database.
bucket() {
    step "the record: a bucket"
    cat >&2 <<'WARNING'
setup.sh: warning: with RECORD=bucket a record can be lost. A job that is killed loses its run, and what it sent is sent
  again. Of two executions of a layer at once (Cloud Scheduler can start a job twice) only one keeps its record.
  RECORD=disk has neither risk: docs/google-cloud.md, "Where the record lives".
WARNING
    there storage buckets describe "gs://$BUCKET" ||
        change storage buckets create "gs://$BUCKET" --location="$REGION" --uniform-bucket-level-access --public-access-prevention
    change storage buckets add-iam-policy-binding "gs://$BUCKET" \
        --member="serviceAccount:$watcher" --role=roles/storage.objectUser
}

# A job for each layer.
jobs() {
    if [ "$RECORD" = bucket ]; then bucket; fi
    step "who starts the jobs"
    there iam service-accounts describe "$trigger" ||
        change iam service-accounts create "$NAME-trigger" --display-name="Starts the pipeline's watch"
    while IFS='|' read -r layer schedule zone; do
        step "$layer: a job, and when it starts ($schedule, $zone)"
        local job=$NAME-$layer
        local secrets='' variables=REPOSITORY=$REPOSITORY record=() track=()
        if [ "$layer" = drift ] && [ -n "$GIT_TOKEN_SECRET" ]; then secrets=GIT_TOKEN=$GIT_TOKEN_SECRET:latest; fi
        if [ "$RECORD" = database ]; then
            secrets=HOST_STATE_URL=$state_url:latest${secrets:+,$secrets}
            variables+=,HOST_REVISION=$revision
            record=(--set-cloudsql-instances="$CLOUD_SQL")
        else
            # The image's user is 10001, and a mount belongs to root unless it says otherwise: that is in beta.
            track=(beta)
            record=(
                --add-volume="name=record,type=cloud-storage,bucket=$BUCKET,mount-options=uid=10001;gid=10001"
                --add-volume-mount="volume=record,mount-path=/record"
            )
        fi
        if [ -n "$secrets" ]; then record=(--set-secrets="$secrets" "${record[@]}"); fi
        # No retries: the next start tells what this one could not, and a retry would ask everything again.
        change ${track[@]+"${track[@]}"} run jobs deploy "$job" --region="$REGION" --image="$image" --args="$layer" \
            --service-account="$watcher" --max-retries=0 --task-timeout=10m --parallelism=1 --cpu=1 --memory=512Mi \
            --set-env-vars="$variables" "${record[@]}"
        change run jobs add-iam-policy-binding "$job" --region="$REGION" \
            --member="serviceAccount:$trigger" --role=roles/run.invoker
        local verb=create
        if there scheduler jobs describe "$job" --location="$REGION"; then verb=update; fi
        change scheduler jobs "$verb" http "$job" --location="$REGION" --schedule="$schedule" --time-zone="$zone" \
            --uri="https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$job:run" --http-method=POST \
            --oauth-service-account-email="$trigger" --attempt-deadline=180s
    done <<<"$LAYERS"
}

no_machine() {
    step "no machine"
    ! there compute instances describe "$NAME" --zone="$ZONE" || change compute instances delete "$NAME" --zone="$ZONE"
}

no_service() {
    step "no service"
    ! there run services describe "$NAME" --region="$REGION" || change run services delete "$NAME" --region="$REGION"
}

no_jobs() {
    step "no jobs"
    while IFS='|' read -r layer _; do
        local job=$NAME-$layer
        ! there scheduler jobs describe "$job" --location="$REGION" || change scheduler jobs delete "$job" --location="$REGION"
        ! there run jobs describe "$job" --region="$REGION" || change run jobs delete "$job" --region="$REGION"
    done <<<"$LAYERS"
}

# A webhook comes from the environment and goes in by standard input: it is on no command line.
add_version() {
    local secret=$1 variable value
    variable=$(printf 'SLACK_WEBHOOK_URL_%s' "${secret#slack-webhook-}" | tr 'a-z-' 'A-Z_')
    case $secret in
    "$GIT_TOKEN_SECRET") variable=GIT_TOKEN ;;
    "$state_url") variable=HOST_STATE_URL ;;
    "$token") variable=HOST_TOKEN ;;
    esac
    value=${!variable:-}
    if [ -n "$value" ]; then
        printf '  gcloud secrets versions add %s --data-file=-  # from %s\n' "$secret" "$variable"
        made=$((made + 1))
        $dry_run || printf '%s' "$value" | gcloud secrets versions add "$secret" --data-file=- --project="$PROJECT" --quiet
    elif ! there secrets versions describe latest --secret="$secret"; then
        printf '  ! %s is empty. Set %s and run this again, or: gcloud secrets versions add %s --data-file=-\n' \
            "$secret" "$variable" "$secret"
    fi
}

take_away() {
    # What was set up with the other RECORD is removed too.
    no_service
    $layered || off=none
    no_jobs
    if [ "$RECORD" = disk ]; then off=unknown; else off=none; fi
    no_machine
    off=unknown
    step "the image"
    ! there artifacts repositories describe "$NAME" --location="$REGION" ||
        change artifacts repositories delete "$NAME" --location="$REGION"
    step "what the service accounts may do, and they themselves"
    if there iam service-accounts describe "$watcher"; then
        for role in roles/bigquery.jobUser roles/run.viewer roles/logging.logWriter roles/cloudsql.client; do
            without change projects remove-iam-policy-binding "$PROJECT" --member="serviceAccount:$watcher" --role="$role" --condition=None
        done
        for dataset in $DATASETS; do
            without statement "REVOKE \`roles/bigquery.dataViewer\` ON SCHEMA \`$PROJECT\`.$dataset FROM \"serviceAccount:$watcher\""
        done
        change iam service-accounts delete "$watcher"
    fi
    if there iam service-accounts describe "$builder"; then
        without change projects remove-iam-policy-binding "$PROJECT" \
            --member="serviceAccount:$builder" --role=roles/logging.logWriter --condition=None
        change iam service-accounts delete "$builder"
    fi
    ! there storage buckets describe "gs://$SOURCES" || change storage rm --recursive "gs://$SOURCES"
    ! there iam service-accounts describe "$trigger" || change iam service-accounts delete "$trigger"
    if ! $purge; then
        step "kept: the secrets, and the record on the disk $NAME-record or in gs://$BUCKET; --undo --purge removes them too"
        if [ "$RECORD" = database ]; then step "kept in any case: the database, which is not of this script's making"; fi
        return
    fi
    step "the secrets and the record"
    for secret in $(secrets); do
        ! there secrets describe "$secret" || change secrets delete "$secret"
    done
    ! there storage buckets describe "gs://$BUCKET" || change storage rm --recursive "gs://$BUCKET"
    if [ "$RECORD" != disk ]; then off=none; fi
    ! there compute disks describe "$NAME-record" --zone="$ZONE" || change compute disks delete "$NAME-record" --zone="$ZONE"
}

if $undo; then take_away; else set_up; fi
if $dry_run; then
    echo "nothing was changed; $made commands would be run"
else
    echo "done: $made commands"
fi
